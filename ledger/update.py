"""Update files and model files: write, read without copying, find their roots, say what is malformed."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from hashlib import sha256
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from ledger.errors import InputError, ProofError
from ledger.merkle import BLOCK_BYTES, Buffer, TreeBuilder, padded_tree_root, tree_depth, tree_root

MAGIC = b"HMRK"
MODEL_MAGIC = b"HMMD"
VERSION = 1
HEADER_BYTES = 96
MODEL_HEADER_BYTES = 48
ROW_VALUES = 1024
SEGMENT_VALUES = BLOCK_BYTES
EXPONENT_MIN = -64
EXPONENT_MAX = 63
LENGTH_MAX = 2**40
FORBIDDEN_VALUE = -128

_HEADER = struct.Struct("<4sBb2sQI20s32sQ16s")
_MODEL_HEADER = struct.Struct("<4sB3sQ32s")
_SCAN_BYTES = 1 << 18


class UpdateInputError(InputError):
    """A field or a value cannot be written in this format."""

    code: ClassVar[str] = "update_input"


class UpdateFormatError(ProofError):
    """Published bytes are no update file, or no model file."""

    code: ClassVar[str] = "update_format"


class UpdateRootError(ProofError):
    """Bytes have another root than they should: they are not that file and count as not delivered.

    Attributes:
        expected_root: The root that was committed.
        actual_root: The root that the bytes have.
    """

    code: ClassVar[str] = "update_root"

    def __init__(self, expected_root: bytes, actual_root: bytes) -> None:
        super().__init__(f"the bytes have root 0x{actual_root.hex()}, not 0x{expected_root.hex()}")
        self.expected_root = expected_root
        self.actual_root = actual_root


class MalformedReason(IntEnum):
    """Why bytes under a committed root are malformed: the number of the rule in docs/spec/update.md."""

    FORMAT = 1
    FOREIGN = 2
    FORBIDDEN_VALUE = 3
    PADDING = 4


def segment_count(length: int) -> int:
    """Give the number of segments of 8,192 values that ``length`` values need."""
    return -(-length // SEGMENT_VALUES)


def update_size(length: int) -> int:
    """Give the size in bytes of the file of an update of ``length`` values."""
    return HEADER_BYTES + SEGMENT_VALUES * segment_count(length)


@dataclass(frozen=True, slots=True)
class UpdateFacts:
    """What everybody knows of an update before it is seen.

    Attributes:
        run: Number of the run, 0..2^64-1.
        round: Number of the round, 0..2^32-1.
        worker: The worker's identity, 20 bytes.
        shape_digest: Digest of names and sizes of the parameters, 32 bytes.
        length: Number of values d, 1..2^40.

    Raises:
        UpdateInputError: A field does not fit; fault of the caller.
    """

    run: int
    round: int
    worker: bytes
    shape_digest: bytes
    length: int

    def __post_init__(self) -> None:
        _check_range("run", self.run, 0, 2**64 - 1)
        _check_range("round", self.round, 0, 2**32 - 1)
        _check_range("length", self.length, 1, LENGTH_MAX)
        _check_size("worker", self.worker, 20)
        _check_size("shape_digest", self.shape_digest, 32)

    @property
    def size_bytes(self) -> int:
        """Size of the file, in bytes."""
        return update_size(self.length)

    @property
    def readable_bytes(self) -> int:
        """Most bytes that are read: what a tree of the expected depth holds; docs/spec/update.md, Root."""
        return HEADER_BYTES + (SEGMENT_VALUES << tree_depth(segment_count(self.length)))

    def header(self, exponent: int) -> "UpdateHeader":
        """Give the header of an update with these facts and this exponent, -64..63."""
        return UpdateHeader(self.run, self.round, self.worker, self.shape_digest, self.length, exponent)


@dataclass(frozen=True, slots=True)
class UpdateHeader(UpdateFacts):
    """The 96 bytes before the values of an update.

    Attributes:
        exponent: e: the values are q * 2^e; -64..63.

    Raises:
        UpdateInputError: A field does not fit; fault of the caller.
    """

    exponent: int

    def __post_init__(self) -> None:
        UpdateFacts.__post_init__(self)
        _check_range("exponent", self.exponent, EXPONENT_MIN, EXPONENT_MAX)

    @property
    def facts(self) -> UpdateFacts:
        """The header without its exponent."""
        return UpdateFacts(*(getattr(self, field.name) for field in fields(UpdateFacts)))

    def pack(self) -> bytes:
        """Give the 96 bytes.

        Source:
            docs/spec/update.md, File.
        """
        return _HEADER.pack(
            MAGIC,
            VERSION,
            self.exponent,
            bytes(2),
            self.run,
            self.round,
            self.worker,
            self.shape_digest,
            self.length,
            bytes(16),
        )

    @classmethod
    def parse(cls, data: Buffer) -> Self:
        """Read the first 96 bytes of a file.

        Args:
            data: The file, or its beginning; any bytes.

        Returns:
            The header.

        Raises:
            UpdateFormatError: It is no header of version 1; fault of who published it.
        """
        if len(data) < HEADER_BYTES:
            raise UpdateFormatError(f"{len(data)} bytes are too few for a header of {HEADER_BYTES}")
        magic, version, exponent, zero2, run, round_number, worker, shape, length, zero16 = (
            _HEADER.unpack_from(data)
        )
        if magic != MAGIC:
            raise UpdateFormatError(f"the magic is {magic!r}, not {MAGIC!r}")
        if version != VERSION:
            raise UpdateFormatError(f"the format version is {version}, not {VERSION}")
        if any(zero2) or any(zero16):
            raise UpdateFormatError("a reserved field is not zero")
        try:
            return cls(run, round_number, worker, shape, length, exponent)
        except UpdateInputError as error:
            raise UpdateFormatError(str(error)) from error


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UpdateInputError(f"{name} is {value}, outside of [{low}, {high}]")


def _check_size(name: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise UpdateInputError(f"{name} has {len(value)} bytes, not {size}")


def encode_update(header: UpdateHeader, values: npt.NDArray[np.int8]) -> bytes:
    """Give the bytes of an update file.

    Args:
        header: Its header.
        values: int8, shape (header.length,), each in [-127, 127].

    Returns:
        ``update_size(header.length)`` bytes, the values padded with zeros to whole segments.

    Raises:
        UpdateInputError: Shape or dtype does not fit, or a value is -128; fault of the caller.

    Source:
        docs/spec/update.md, File.
    """
    if values.dtype != np.int8 or values.shape != (header.length,):
        raise UpdateInputError(f"values are {values.dtype}{values.shape}, not int8({header.length},)")
    payload = np.ascontiguousarray(values)
    if _holds_forbidden(payload):
        raise UpdateInputError("a value is -128; the range is [-127, 127]")
    padding = bytes(header.size_bytes - HEADER_BYTES - header.length)
    return b"".join((header.pack(), payload.data, padding))


class UpdateView:
    """An update file read in place: nothing is copied.

    Attributes:
        header: The parsed header.
        data: The whole file.
    """

    __slots__ = ("data", "header")

    def __init__(self, data: Buffer) -> None:
        """Read the header and check the size; values are not looked at.

        Args:
            data: The file: bytes, a memoryview of bytes, or of a memory map. It must outlive the view.

        Raises:
            UpdateFormatError: It is no update file; fault of who published it.
        """
        self.data = memoryview(data).cast("B")
        self.header = UpdateHeader.parse(self.data)
        if len(self.data) != self.header.size_bytes:
            raise UpdateFormatError(
                f"{self.header.length} values need {self.header.size_bytes} bytes, not {len(self.data)}"
            )

    @property
    def payload(self) -> memoryview:
        """The padded values as bytes, S * 8,192 of them."""
        return self.data[HEADER_BYTES:]

    @property
    def rows(self) -> npt.NDArray[np.int8]:
        """The padded values, int8, shape (8 S, 1024), read-only where the data is."""
        return np.frombuffer(self.payload, dtype=np.int8).reshape(-1, ROW_VALUES)

    @property
    def values(self) -> npt.NDArray[np.int8]:
        """The values, int8, shape (d,)."""
        return np.frombuffer(self.payload, dtype=np.int8)[: self.header.length]


def has_root(size_bytes: int) -> bool:
    """Tell whether bytes of this size have an update root: 96 + 8,192 k, k >= 1."""
    return size_bytes > HEADER_BYTES and (size_bytes - HEADER_BYTES) % SEGMENT_VALUES == 0


def bind_root(header: Buffer, payload_root: bytes) -> bytes:
    """Give the update root: sha256(0x02 || header of 96 bytes || payloadRoot)."""
    return sha256(b"".join((b"\x02", header, payload_root))).digest()


def update_root(data: Buffer) -> bytes:
    """Give the root of an update file, whatever its header says.

    The tree is over the segments that the bytes hold, so malformed bytes have a root too.

    Args:
        data: 96 + 8,192 k bytes, k >= 1, contiguous.

    Returns:
        32 bytes.

    Raises:
        UpdateFormatError: No file has that size, so the bytes have no root; fault of who published them.

    Source:
        docs/spec/update.md, Root.
    """
    view = memoryview(data).cast("B")
    if not has_root(len(view)):
        raise UpdateFormatError(f"{len(view)} bytes are not a header and whole segments")
    return bind_root(view[:HEADER_BYTES], tree_root(view[HEADER_BYTES:]))


def check_root(data: Buffer, expected_root: bytes) -> None:
    """Check that bytes are the update that was committed.

    Raises:
        UpdateRootError: They have another root; fault of who delivered them.
        UpdateFormatError: They have no root; fault of who delivered them.
    """
    actual = update_root(data)
    if actual != expected_root:
        raise UpdateRootError(expected_root, actual)


def check_update(data: Buffer, expected: UpdateFacts) -> MalformedReason | None:
    """Say whether bytes under the committed root are malformed, and by which rule first.

    The root itself is not looked at: see :func:`check_root`.

    Args:
        data: The bytes, contiguous.
        expected: What the header must say.

    Returns:
        The first rule that is broken, in the order of the page, or None for a sound update.

    Source:
        docs/spec/update.md, Malformed.
    """
    view = memoryview(data).cast("B")
    reason = check_header(view[:HEADER_BYTES], len(view), expected)
    if reason is not None:
        return reason
    payload = np.frombuffer(view[HEADER_BYTES:], dtype=np.int8)
    if _holds_forbidden(payload):
        return MalformedReason.FORBIDDEN_VALUE
    return MalformedReason.PADDING if payload[expected.length :].any() else None


def check_header(header: Buffer, size_bytes: int, expected: UpdateFacts) -> MalformedReason | None:
    """Apply rules 1 and 2 of :func:`check_update`, which need only the header and the size of the file."""
    try:
        found = UpdateHeader.parse(header)
    except UpdateFormatError:
        return MalformedReason.FORMAT
    if size_bytes != found.size_bytes:
        return MalformedReason.FORMAT
    return None if found.facts == expected else MalformedReason.FOREIGN


def _holds_forbidden(values: npt.NDArray[np.int8]) -> bool:
    # In pieces that stay in the cache; min() needs no temporary array.
    return any(
        int(values[at : at + _SCAN_BYTES].min()) == FORBIDDEN_VALUE
        for at in range(0, len(values), _SCAN_BYTES)
    )


def shape_digest(parameters: Sequence[tuple[str, tuple[int, ...]]]) -> bytes:
    """Hash the names and sizes of a model's parameters.

    Args:
        parameters: (name, sizes) in the order in which updates hold them; no sizes for a scalar.

    Returns:
        32 bytes.

    Raises:
        UpdateInputError: A name is empty or holds a space or newline, or a size is negative.

    Source:
        docs/spec/update.md, Shape digest.
    """
    lines = ["hallmark.shape.v1\n"]
    for name, sizes in parameters:
        if not name or " " in name or "\n" in name:
            raise UpdateInputError(f"the parameter name {name!r} is empty or holds a space or newline")
        if any(size < 0 for size in sizes):
            raise UpdateInputError(f"parameter {name} has a negative size in {sizes}")
        dims = "x".join(str(int(size)) for size in sizes) or "scalar"
        lines.append(f"{name} {dims}\n")
    return sha256("".join(lines).encode()).digest()


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Parameters and outer momentum of one round, flat, in parameter order.

    Attributes:
        parameters: float32, shape (length,).
        momentum: float32, shape (length,).
        shape_digest: Digest of names and sizes of the parameters, 32 bytes.

    Raises:
        UpdateInputError: Shapes, dtypes or the digest do not fit; fault of the caller.
    """

    parameters: npt.NDArray[np.float32]
    momentum: npt.NDArray[np.float32]
    shape_digest: bytes

    def __post_init__(self) -> None:
        _check_size("shape_digest", self.shape_digest, 32)
        for name, array in (("parameters", self.parameters), ("momentum", self.momentum)):
            if array.dtype != np.float32 or array.ndim != 1 or array.shape != self.parameters.shape:
                raise UpdateInputError(
                    f"{name} are {array.dtype}{array.shape}, not float32 of one common length"
                )
        _check_range("length", len(self.parameters), 1, LENGTH_MAX)

    @property
    def length(self) -> int:
        """Number of parameters."""
        return len(self.parameters)


def model_root(
    parameters: npt.NDArray[np.float32], momentum: npt.NDArray[np.float32], shape_digest: bytes
) -> bytes:
    """Give the root of a model: sha256(0x22 || shapeDigest || u64be(length) || tree || tree).

    Args:
        parameters: float32, shape (length,).
        momentum: float32, shape (length,).
        shape_digest: 32 bytes.

    Returns:
        32 bytes.

    Raises:
        UpdateInputError: Shapes, dtypes or the digest do not fit; fault of the caller.

    Source:
        docs/spec/merge.md, Model root.
    """
    model = Model(parameters, momentum, shape_digest)
    return sha256(
        b"\x22"
        + shape_digest
        + model.length.to_bytes(8, "big")
        + padded_tree_root(_little_endian(parameters))
        + padded_tree_root(_little_endian(momentum))
    ).digest()


def _little_endian(array: npt.NDArray[np.float32]) -> memoryview:
    # A copy only on big-endian machines and for strided arrays.
    return np.ascontiguousarray(array.astype("<f4", copy=False)).data.cast("B")


def encode_model(model: Model) -> bytes:
    """Give the bytes of a model file.

    Source:
        docs/spec/merge.md, Model file.
    """
    header = _MODEL_HEADER.pack(MODEL_MAGIC, VERSION, bytes(3), model.length, model.shape_digest)
    return b"".join((header, _little_endian(model.parameters), _little_endian(model.momentum)))


def decode_model(data: Buffer) -> Model:
    """Read a model file; the arrays are views of the data where the machine is little-endian.

    Args:
        data: The file; any bytes.

    Returns:
        The model, its arrays read-only where the data is. Its root is not checked.

    Raises:
        UpdateFormatError: It is no model file of version 1; fault of who published it.
    """
    view = memoryview(data).cast("B")
    if len(view) < MODEL_HEADER_BYTES:
        raise UpdateFormatError(f"{len(view)} bytes are too few for a model header of {MODEL_HEADER_BYTES}")
    magic, version, zero, length, digest = _MODEL_HEADER.unpack_from(view)
    if magic != MODEL_MAGIC or version != VERSION or any(zero):
        raise UpdateFormatError("this is no model file of version 1")
    if not 1 <= length <= LENGTH_MAX or len(view) != MODEL_HEADER_BYTES + 8 * length:
        raise UpdateFormatError(f"a model file of {length} parameters does not have {len(view)} bytes")
    floats = np.frombuffer(view[MODEL_HEADER_BYTES:], dtype="<f4").astype(np.float32, copy=False)
    return Model(floats[:length], floats[length:], digest)


__all__ = [
    "HEADER_BYTES",
    "MalformedReason",
    "Model",
    "TreeBuilder",
    "UpdateFacts",
    "UpdateFormatError",
    "UpdateHeader",
    "UpdateInputError",
    "UpdateRootError",
    "UpdateView",
    "bind_root",
    "check_header",
    "check_root",
    "check_update",
    "decode_model",
    "encode_model",
    "encode_update",
    "has_root",
    "model_root",
    "segment_count",
    "shape_digest",
    "update_root",
    "update_size",
]
