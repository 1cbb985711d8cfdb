"""docs/spec/update.md: the update file, its root, what is malformed, the shape digest."""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

MAGIC = b"HMRK"
HEADER_BYTES = 96
ROW = 1024
SEGMENT = 8 * ROW


class Header(NamedTuple):
    """The fields of a header that vary; exponent -64..63, length 1..2^40."""

    exponent: int
    run: int
    round: int
    worker: bytes
    shape_digest: bytes
    length: int


class Malformed(Exception):
    """Carries the number of the first rule, 1..4, that the bytes break."""

    def __init__(self, rule: int) -> None:
        super().__init__(rule)
        self.rule = rule


def pack_header(header: Header) -> bytes:
    """Give the 96 bytes of a header."""
    return (
        MAGIC
        + bytes([1])
        + header.exponent.to_bytes(1, "little", signed=True)
        + bytes(2)
        + header.run.to_bytes(8, "little")
        + header.round.to_bytes(4, "little")
        + header.worker
        + header.shape_digest
        + header.length.to_bytes(8, "little")
        + bytes(16)
    )


def parse_header(data: bytes) -> Header:
    """Read the first 96 bytes of a file.

    Raises:
        Malformed: Rule 1 is broken (the size is not looked at here).
    """
    if len(data) < HEADER_BYTES:
        raise Malformed(1)
    header = Header(
        exponent=int.from_bytes(data[5:6], "little", signed=True),
        run=int.from_bytes(data[8:16], "little"),
        round=int.from_bytes(data[16:20], "little"),
        worker=data[20:40],
        shape_digest=data[40:72],
        length=int.from_bytes(data[72:80], "little"),
    )
    if data[0:4] != MAGIC or data[4] != 1 or data[6:8] != bytes(2) or data[80:96] != bytes(16):
        raise Malformed(1)
    if not -64 <= header.exponent <= 63 or not 1 <= header.length <= 2**40:
        raise Malformed(1)
    return header


def segments_of(length: int) -> int:
    """Give S, the number of segments for ``length`` values."""
    return -(-length // SEGMENT)


def encode_update(header: Header, values: Sequence[int]) -> bytes:
    """Give the file of an update; values in [-127, 127], as many as the header says."""
    payload = b"".join(value.to_bytes(1, "little", signed=True) for value in values)
    return pack_header(header) + payload.ljust(SEGMENT * segments_of(header.length), b"\0")


def leaf(segment: bytes) -> bytes:
    """Hash one segment of 8,192 bytes."""
    return sha256(b"\x00" + segment).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into one."""
    return sha256(b"\x01" + left + right).digest()


def tree(leaves: Sequence[bytes]) -> bytes:
    """Give the root of the perfect tree over at least one leaf, filled up with E_0."""
    depth = (len(leaves) - 1).bit_length()
    level = list(leaves) + [bytes(32)] * (2**depth - len(leaves))
    while len(level) > 1:
        level = [node(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def tree_of_blocks(data: bytes) -> bytes:
    """Give the root over whole blocks of 8,192 bytes."""
    return tree([leaf(data[at : at + SEGMENT]) for at in range(0, len(data), SEGMENT)])


def update_root(data: bytes) -> bytes:
    """Give the root of a file of 96 + 8,192 k bytes, k >= 1, whatever its header says."""
    return sha256(b"\x02" + data[:HEADER_BYTES] + tree_of_blocks(data[HEADER_BYTES:])).digest()


def malformed_rule(data: bytes, expected: Header) -> int:
    """Give the first rule that the bytes break, or 0; the expected exponent is not looked at."""
    try:
        header = parse_header(data)
    except Malformed as broken:
        return broken.rule
    if len(data) != HEADER_BYTES + SEGMENT * segments_of(header.length):
        return 1
    if header._replace(exponent=0) != expected._replace(exponent=0):
        return 2
    payload = data[HEADER_BYTES:]
    if 0x80 in payload:
        return 3
    if any(payload[header.length :]):
        return 4
    return 0


def shape_digest(parameters: Sequence[tuple[str, tuple[int, ...]]]) -> bytes:
    """Hash the names and sizes of a model's parameters, in their order."""
    text = "hallmark.shape.v1\n"
    for name, dims in parameters:
        text += name + " " + ("x".join(str(size) for size in dims) or "scalar") + "\n"
    return sha256(text.encode()).digest()
