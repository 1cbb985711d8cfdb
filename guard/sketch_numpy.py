"""Sums of sketch S6 in plain numpy: always there, integers only."""

import numpy as np
import numpy.typing as npt

from guard.signs import BANK, OUTPUTS, SeedSigns

# The work on so many rows stays in the cache.
_BLOCK_ROWS = 64


class NumpySums:
    """Adds rows to 256 sums, with whole-array operations of numpy."""

    __slots__ = ("_columns", "_signs")

    def __init__(self, signs: SeedSigns) -> None:
        self._signs = signs
        # Any _BLOCK_ROWS consecutive rows find their column signs as one slice of this.
        self._columns = np.tile(signs.columns, (_BLOCK_ROWS // BANK + 1, 1))

    def add(self, rows: npt.NDArray[np.int8], first: int, sums: npt.NDArray[np.int64]) -> tuple[int, int]:
        """Add consecutive rows.

        Args:
            rows: int8, shape (n, 1024). Where a value is -128 the sums mean nothing.
            first: Number of the first row.
            sums: int64, shape (256,); added to in place.

        Returns:
            Sum of the squares, and the smallest value, of these rows; (0, 0) of no rows.
        """
        norm2, low = 0, 0
        for at in range(0, len(rows), _BLOCK_ROWS):
            block = rows[at : at + _BLOCK_ROWS]
            sums += self._project(block, first + at)
            wide = block.astype(np.int16)
            norm2 += int(np.multiply(wide, wide).sum(dtype=np.int64))
            low = min(low, int(block.min()))
        return norm2, low

    def _project(self, block: npt.NDArray[np.int8], first: int) -> npt.NDArray[np.int32]:
        count = len(block)
        signed = block * self._columns[first % BANK : first % BANK + count]
        fold = signed.reshape(count, 4, OUTPUTS).sum(axis=1, dtype=np.int16)
        # Outputs first, rows last: every butterfly then runs over long contiguous lines.
        values = _transform(np.ascontiguousarray(fold.T))
        digests = self._signs.row_digests(first, count)
        minus = np.unpackbits(np.ascontiguousarray(digests[:, ::-1]), axis=1, bitorder="little")
        values *= 1 - 2 * np.ascontiguousarray(minus.T).astype(np.int8)
        # |row| < 2^17 and at most 2^6 rows: int32 holds their sum.
        total: npt.NDArray[np.int32] = values.sum(axis=1, dtype=np.int32)
        return total


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
