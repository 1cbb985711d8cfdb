"""The trace of an update: its running sums after every segment, one hash for each."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from guard.errors import ForbiddenValueError, RowsError
from guard.signs import OUTPUTS, ROW_VALUES, SeedSigns
from guard.sketch import SEGMENT_ROWS, Engine, Sketch

STATE_BYTES = 6 * OUTPUTS + 8
LEAF_BYTES = 32
SEGMENT_BYTES = SEGMENT_ROWS * ROW_VALUES
STATE_0 = bytes(STATE_BYTES)
"""The state before the first segment."""

_LEAF_TAG = b"\x20"
# A line of Sketch.states: 7 bytes unused, the tag, the state.
_LINE_BYTES = 8 + STATE_BYTES
_TAG_AT = 7
# So many segments are worked on at a time: their states stay in the cache, and memory is bounded.
_BATCH_SEGMENTS = 32
_BATCH_BYTES = _BATCH_SEGMENTS * SEGMENT_BYTES


class Tracer:
    """Adds segments to a sketch and keeps the leaf of each: 32 bytes a segment and nothing else.

    Attributes:
        sketch: The sketch; read word and norm from it.
    """

    __slots__ = ("_leaves", "sketch")

    def __init__(self, sketch: Sketch) -> None:
        """Trace a sketch from its start.

        Raises:
            RowsError: The sketch has rows already, whose leaves would be missing; fault of the caller.
        """
        if sketch.rows:
            raise RowsError(f"a trace starts with the first row, not after {sketch.rows}")
        self.sketch = sketch
        self._leaves = bytearray()

    def update(self, segments: bytes | memoryview | npt.NDArray[np.int8]) -> None:
        """Add whole segments; how they are cut into pieces changes nothing.

        Args:
            segments: k * 8,192 values, contiguous: int8 of any shape, or bytes read as int8. Not kept.

        Raises:
            RowsError: These are not whole segments of int8; fault of the caller.
        """
        for lines in _lines(self.sketch, segments):
            self._leaves += _leaves_of(lines)

    def leaves(self) -> bytes:
        """Give leaf_0 || leaf_1 || .. of the segments so far; more may follow.

        Returns:
            32 bytes a segment; their root is the member's trace root.

        Raises:
            ForbiddenValueError: A value was -128; fault of who published the update, which has no trace.

        Source:
            docs/spec/trace.md.
        """
        if self.sketch.has_minus_128:
            raise ForbiddenValueError("the rows hold -128: the update is malformed and has no trace")
        return bytes(self._leaves)


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """Where posted leaves first differ from those of the bytes: what a challenger shows.

    Attributes:
        segment: Number s of the segment.
        state_before: state_s, 1,544 bytes; posted leaf s - 1 is its hash, or s is 0.
    """

    segment: int
    state_before: bytes


def encode_state(sums: npt.NDArray[np.int64], norm2: int) -> bytes:
    """Give a state: A_0 || .. || A_255 as int48be, then norm2 as u64be.

    Args:
        sums: int64, shape (256,), each in [-2^47, 2^47).
        norm2: 0 <= norm2 < 2^64.

    Returns:
        1,544 bytes.

    Source:
        docs/spec/trace.md, State.
    """
    parts = [value.to_bytes(6, "big", signed=True) for value in sums.tolist()]
    return b"".join((*parts, norm2.to_bytes(8, "big")))


def leaf_of(state: bytes) -> bytes:
    """Give the leaf of the segment that ends in this state: sha256(0x20 || state)."""
    return sha256(_LEAF_TAG + state).digest()


def state_before(
    payload: bytes | memoryview, signs: SeedSigns, segment: int, *, engine: Engine = Engine.AUTO
) -> bytes:
    """Compute state_s again from the bytes before segment s.

    Args:
        payload: The padded values, whole segments; those from segment s on are not read.
        signs: The signs of the round's seed.
        segment: s, 0 <= s <= number of segments; with that number, the state that gives word and norm.
        engine: Which code adds up; the integers are the same.

    Returns:
        1,544 bytes.

    Raises:
        RowsError: There are not so many segments; fault of the caller.
        ForbiddenValueError: A value before segment s is -128; fault of who published the update.

    Source:
        docs/spec/trace.md, State.
    """
    view = memoryview(payload).cast("B")
    if not 0 <= segment <= len(view) // SEGMENT_BYTES:
        raise RowsError(f"{len(view)} bytes have no segment {segment}")
    sketch = Sketch(signs, engine=engine, expected_rows=SEGMENT_ROWS * segment)
    for at in range(0, segment * SEGMENT_BYTES, _BATCH_BYTES):
        sketch.update(view[at : min(at + _BATCH_BYTES, segment * SEGMENT_BYTES)])
    return encode_state(sketch.sums(), sketch.norm2)


def first_difference(
    payload: bytes | memoryview, signs: SeedSigns, posted_leaves: bytes, *, engine: Engine = Engine.AUTO
) -> FirstDifference | None:
    """Find the first posted leaf that the bytes do not have, in one pass that ends there.

    Args:
        payload: The padded values, whole segments, S of them.
        signs: The signs of the round's seed.
        posted_leaves: leaf_0 || .. || leaf_{S-1} as posted; the caller has checked that they are under the
            member's trace root.
        engine: Which code adds up; the integers are the same.

    Returns:
        The segment and the state before it, or None if no leaf differs.

    Raises:
        RowsError: There is not one leaf for each segment; fault of the caller.
        ForbiddenValueError: A value is -128 in what was read: the update is malformed, and that is what to
            show instead.

    Source:
        docs/spec/trace.md.
    """
    view = memoryview(payload).cast("B")
    if len(view) % SEGMENT_BYTES or len(posted_leaves) != len(view) // SEGMENT_BYTES * LEAF_BYTES:
        raise RowsError(f"{len(posted_leaves)} bytes of leaves for {len(view)} bytes of segments")
    sketch = Sketch(signs, engine=engine, expected_rows=len(view) // ROW_VALUES)
    before, segment = STATE_0, 0
    for lines in _lines(sketch, view):
        if sketch.has_minus_128:
            raise ForbiddenValueError("the rows hold -128: the update is malformed and has no trace")
        leaves = _leaves_of(lines)
        posted = posted_leaves[segment * LEAF_BYTES :][: len(leaves)]
        if leaves != posted:
            at = next(i for i in range(len(lines)) if _leaf(leaves, i) != _leaf(posted, i))
            return FirstDifference(segment + at, _state(lines[at - 1]) if at else before)
        before = _state(lines[-1])
        segment += len(lines)
    return None


def _lines(
    sketch: Sketch, segments: bytes | memoryview | npt.NDArray[np.int8]
) -> Iterator[npt.NDArray[np.uint8]]:
    """Add segments to a sketch, a batch at a time; give the tagged states of each batch, uint8 (n, 1552)."""
    if isinstance(segments, np.ndarray):
        if segments.dtype != np.int8 or not segments.flags.c_contiguous:
            raise RowsError(f"segments are {segments.dtype}, or not contiguous; they must be contiguous int8")
        segments = segments.reshape(-1).data
    view = memoryview(segments).cast("B")
    if len(view) % SEGMENT_BYTES:
        raise RowsError(f"{len(view)} values are not whole segments of {SEGMENT_BYTES}")
    for at in range(0, len(view), _BATCH_BYTES):
        lines = sketch.states(view[at : at + _BATCH_BYTES])
        lines[:, _TAG_AT] = _LEAF_TAG[0]
        yield lines


def _leaves_of(lines: npt.NDArray[np.uint8]) -> bytes:
    view, digest = lines.reshape(-1).data, sha256
    return b"".join(
        [digest(view[at + _TAG_AT : at + _LINE_BYTES]).digest() for at in range(0, len(view), _LINE_BYTES)]
    )


def _leaf(leaves: bytes, segment: int) -> bytes:
    return leaves[segment * LEAF_BYTES : (segment + 1) * LEAF_BYTES]


def _state(line: npt.NDArray[np.uint8]) -> bytes:
    return line[-STATE_BYTES:].tobytes()
