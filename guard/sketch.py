"""Sketch S6: from an update and a seed to 256 integers, one word and a norm, in one pass."""

import sys
from enum import StrEnum
from importlib.util import find_spec
from typing import Protocol

import numpy as np
import numpy.typing as npt

from guard.errors import ForbiddenValueError, RowsError
from guard.signs import OUTPUTS, ROW_VALUES, STATE_WORDS, SeedSigns
from guard.sketch_numpy import NumpySums

SEGMENT_ROWS = 8
ATOMS = 8

_COMPILED = "guard.sketch_numba"
# From so many rows on, 2^25 values, an update takes long enough that a run with a few dozen of them gains.
_COMPILE_FROM_ROWS = 1 << 15


class Engine(StrEnum):
    """Which code adds up the rows; the integers are the same."""

    AUTO = "auto"
    NUMPY = "numpy"
    NUMBA = "numba"


class _RowSums(Protocol):
    def add(
        self,
        rows: npt.NDArray[np.int8],
        first: int,
        sums: npt.NDArray[np.int64],
        norm2: int,
        states: npt.NDArray[np.uint64] | None = None,
    ) -> tuple[int, int]: ...


class Sketch:
    """The running sums of one update under one seed; rows are added in order.

    Every number is exact, and neither the engine nor how the rows are cut into pieces changes it. The sums
    may be read at any time, and rows may follow.

    Attributes:
        signs: The signs in use.
        rows: Rows added so far.
        norm2: Sum of the squares of all values so far.
        has_minus_128: Whether a value was -128. Such an update is malformed and has no sketch.
    """

    __slots__ = ("_adder", "_engine", "_sums", "has_minus_128", "norm2", "rows", "signs")

    def __init__(
        self, seed: bytes | SeedSigns, *, engine: Engine = Engine.AUTO, expected_rows: int = 0
    ) -> None:
        """Start at zero.

        Args:
            seed: 32 bytes, or the signs already drawn from them (updates of one round share them).
            engine: AUTO takes the compiled code when it is loaded already or when the rows are so many that
                compiling it (one to two seconds) pays, and plain numpy otherwise.
            expected_rows: How many rows will come, for AUTO; 0 if that is not known.

        Raises:
            RangeError: The seed has not 32 bytes; fault of the caller.
        """
        self.signs = seed if isinstance(seed, SeedSigns) else SeedSigns(seed)
        if engine == Engine.AUTO:
            engine = _cheapest(expected_rows)
        self._adder = _row_sums(engine, self.signs)
        self._engine = engine
        self._sums: npt.NDArray[np.int64] = np.zeros(OUTPUTS, dtype=np.int64)
        self.rows = 0
        self.norm2 = 0
        self.has_minus_128 = False

    @property
    def engine(self) -> Engine:
        """Which code is in use: NUMPY or NUMBA."""
        return self._engine

    def update(self, rows: bytes | memoryview | npt.NDArray[np.int8]) -> None:
        """Add whole rows.

        Args:
            rows: k * 1,024 values, contiguous: int8 of any shape, or bytes that are read as int8. Not kept.

        Raises:
            RowsError: These are not whole rows of int8; fault of the caller.
        """
        self._add(_as_rows(rows), None)

    def states(self, rows: bytes | memoryview | npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
        """Add whole segments, and give the state after each of them: what a trace is made of.

        Args:
            rows: k * 8,192 values, as in :meth:`update`; the rows so far must be whole segments too.

        Returns:
            uint8, shape (k, 1552), writable: 8 zero bytes, where the caller may put a tag to hash, and the
            1,544 bytes of the state. They mean nothing once has_minus_128 is set.

        Raises:
            RowsError: These are not whole segments of int8, or the rows so far are not; fault of the caller.

        Source:
            docs/spec/trace.md, State.
        """
        values = _as_rows(rows)
        if self.rows % SEGMENT_ROWS or len(values) % SEGMENT_ROWS:
            raise RowsError(f"{len(values)} rows after {self.rows} are not whole segments of {SEGMENT_ROWS}")
        words = np.zeros((len(values) // SEGMENT_ROWS, STATE_WORDS), dtype=np.uint64)
        self._add(values, words)
        return words.astype(">u8").view(np.uint8)

    def sums(self) -> npt.NDArray[np.int64]:
        """Give A so far: 8 atoms of 32 dimensions.

        Returns:
            int64, shape (256,), entry 32 k + d for atom k, dimension d; a copy.

        Raises:
            ForbiddenValueError: A value was -128; fault of who published the update.

        Source:
            docs/spec/sketch.md, Update to the word.
        """
        if self.has_minus_128:
            raise ForbiddenValueError("the rows hold -128: the update is malformed and has no sketch")
        return self._sums.copy()

    def atoms(self) -> npt.NDArray[np.int64]:
        """Give A so far as 8 semantic atoms, int64, shape (8, 32); a copy.

        Raises:
            ForbiddenValueError: A value was -128; fault of who published the update.
        """
        return self.sums().reshape(ATOMS, OUTPUTS // ATOMS)

    def code(self) -> int:
        """Give the word: bit j is 1 iff A_j >= 0, so of no rows at all it is 2^256 - 1.

        Returns:
            0 <= code < 2^256.

        Raises:
            ForbiddenValueError: A value was -128; fault of who published the update.
        """
        return code_of(self.sums())

    def _add(self, values: npt.NDArray[np.int8], states: npt.NDArray[np.uint64] | None) -> None:
        self.norm2, low = self._adder.add(values, self.rows, self._sums, self.norm2, states)
        self.has_minus_128 |= low == -128
        self.rows += len(values)


def _cheapest(expected_rows: int) -> Engine:
    pays = _COMPILED in sys.modules or (
        expected_rows >= _COMPILE_FROM_ROWS and find_spec("numba") is not None
    )
    return Engine.NUMBA if pays else Engine.NUMPY


def _row_sums(engine: Engine, signs: SeedSigns) -> _RowSums:
    if engine == Engine.NUMPY:
        return NumpySums(signs)
    # Imported late: this compiles, which short commands need not wait for.
    from guard.sketch_numba import NumbaSums

    return NumbaSums(signs)


def code_of(sums: npt.NDArray[np.int64]) -> int:
    """Give the word of 256 integers: bit j is 1 iff A_j >= 0.

    Args:
        sums: int64, shape (256,).

    Returns:
        0 <= code < 2^256.
    """
    return int.from_bytes(np.packbits(sums >= 0, bitorder="little").tobytes(), "little")


def _as_rows(rows: bytes | memoryview | npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Give int8, shape (k, 1024), without copying."""
    if isinstance(rows, np.ndarray):
        if rows.dtype != np.int8 or not rows.flags.c_contiguous:
            raise RowsError(f"rows are {rows.dtype}, or not contiguous; they must be contiguous int8")
        values = rows.reshape(-1)
    else:
        values = np.frombuffer(rows, dtype=np.int8)
    if values.size % ROW_VALUES:
        raise RowsError(f"{values.size} values are not whole rows of {ROW_VALUES}")
    return values.reshape(-1, ROW_VALUES)
