"""Sums of sketch S6 in plain numpy: always there, integers only."""

import numpy as np
import numpy.typing as npt

from guard.errors import RowsError
from guard.signs import BANK, OUTPUTS, STATE_WORDS, SeedSigns

# The work on so many rows stays in the cache.
_BLOCK_ROWS = 64
_SEGMENT_ROWS = 8


class NumpySums:
    """Adds rows to 256 sums, with whole-array operations of numpy."""

    __slots__ = ("_columns", "_signs")

    def __init__(self, signs: SeedSigns) -> None:
        self._signs = signs
        # Any _BLOCK_ROWS consecutive rows find their column signs as one slice of this.
        self._columns = np.tile(signs.columns, (_BLOCK_ROWS // BANK + 1, 1))

    def add(
        self,
        rows: npt.NDArray[np.int8],
        first: int,
        sums: npt.NDArray[np.int64],
        norm2: int,
        states: npt.NDArray[np.uint64] | None = None,
    ) -> tuple[int, int]:
        """Add consecutive rows.

        Args:
            rows: int8, shape (n, 1024). Where a value is -128 the sums mean nothing.
            first: Number of the first row.
            sums: int64, shape (256,); added to in place.
            norm2: Sum of the squares so far.
            states: uint64, shape (n / 8, 194), or None. Line s gets what there is after row 8 s + 7 of these
                rows: the sums in words 1..192, four of 48 bits in three words, and norm2 in word 193. Word 0
                is left alone.

        Returns:
            norm2 plus the squares of these rows, and their smallest value; 0 of no rows.

        Raises:
            RowsError: Rows and states do not fit together; fault of the caller.
        """
        if states is not None and (
            len(states) * _SEGMENT_ROWS != len(rows) or states.shape[1:] != (STATE_WORDS,)
        ):
            raise RowsError(f"{len(rows)} rows and states of shape {states.shape}")
        low = 0
        for at in range(0, len(rows), _BLOCK_ROWS):
            block = rows[at : at + _BLOCK_ROWS]
            projected = self._project(block, first + at)
            wide = block.astype(np.int16)
            squares = np.multiply(wide, wide)
            if states is not None:
                lines = states[at // _SEGMENT_ROWS : (at + len(block)) // _SEGMENT_ROWS]
                by_segment = projected.reshape(OUTPUTS, -1, _SEGMENT_ROWS).sum(axis=2, dtype=np.int64)
                _pack(by_segment.T.cumsum(axis=0) + sums, lines)
                lines[:, -1] = squares.reshape(len(lines), -1).sum(axis=1, dtype=np.uint64).cumsum()
                lines[:, -1] += np.uint64(norm2)
            # |row| < 2^17 and at most 2^6 rows: int32 holds their sum.
            sums += projected.sum(axis=1, dtype=np.int32)
            norm2 += int(squares.sum(dtype=np.int64))
            low = min(low, int(block.min()))
        return norm2, low

    def _project(self, block: npt.NDArray[np.int8], first: int) -> npt.NDArray[np.int32]:
        """Give the 256 integers of each row, int32, shape (256, n)."""
        count = len(block)
        signed = block * self._columns[first % BANK : first % BANK + count]
        fold = signed.reshape(count, 4, OUTPUTS).sum(axis=1, dtype=np.int16)
        # Outputs first, rows last: every butterfly then runs over long contiguous lines.
        values = _transform(np.ascontiguousarray(fold.T))
        digests = self._signs.row_digests(first, count)
        minus = np.unpackbits(np.ascontiguousarray(digests[:, ::-1]), axis=1, bitorder="little")
        values *= 1 - 2 * np.ascontiguousarray(minus.T).astype(np.int8)
        return values


def _pack(sums: npt.NDArray[np.int64], lines: npt.NDArray[np.uint64]) -> None:
    """Write sums, int64 (n, 256), to words 1..192 of lines: four sums of 48 bits fill three words."""
    a, b, c, d = (
        (sums.view(np.uint64) & np.uint64((1 << 48) - 1)).reshape(len(sums), -1, 4).transpose(2, 0, 1)
    )
    lines[:, 1:-1:3] = a << np.uint64(16) | b >> np.uint64(32)
    lines[:, 2:-1:3] = b << np.uint64(32) | c >> np.uint64(16)
    lines[:, 3:-1:3] = c << np.uint64(48) | d


def _transform(fold: npt.NDArray[np.int16]) -> npt.NDArray[np.int32]:
    """Multiply by H256 from the left: int16, shape (256, n), |fold| <= 508; gives int32, shape (256, n)."""
    values: npt.NDArray[np.int16] | npt.NDArray[np.int32] = fold
    step = 1
    while step < OUTPUTS:
        # Six doublings of 508 fit in int16, eight do not.
        dtype = np.int16 if step < 64 else np.int32
        pairs = values.reshape(OUTPUTS // (2 * step), 2, step, -1)
        out = np.empty(pairs.shape, dtype=dtype)
        np.add(pairs[:, 0], pairs[:, 1], out=out[:, 0], dtype=dtype)
        np.subtract(pairs[:, 0], pairs[:, 1], out=out[:, 1], dtype=dtype)
        values = out.reshape(OUTPUTS, -1)
        step *= 2
    return values.astype(np.int32, copy=False)
