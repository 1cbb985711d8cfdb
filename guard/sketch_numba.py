"""Sums of sketch S6, compiled: the same integers as :mod:`guard.sketch_numpy`, many times as fast.

Importing this module compiles it (one to two seconds). Nothing is cached on disk: a cache would be a file of
machine code beside the code that decides, for anybody to exchange.

Every array that the compiled code walks has its shape checked before; the code itself checks no bounds.
"""

from collections.abc import Callable
from math import isqrt

import numpy as np
import numpy.typing as npt
from numba import int8, int16, int32, int64, njit, types, uint32, uint64

from guard.errors import RowsError
from guard.signs import OUTPUTS, ROW_VALUES, STATE_WORDS, SeedSigns

_LOW_48 = np.uint64((1 << 48) - 1)
_NO_STATES = np.empty((0, STATE_WORDS), dtype=np.uint64)
# Rows whose signs are drawn together: sixteen hashes advance side by side in one vector register.
_BLOCK_ROWS = 256


def _first_primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root(value: int) -> int:
    """Give floor(value ** (1/3)), by Newton's method from above."""
    root = 1 << -(-value.bit_length() // 3)
    while True:
        closer = (2 * root + value // root**2) // 3
        if closer >= root:
            return root
        root = closer


def _byte_masks() -> npt.NDArray[np.int32]:
    """Give for every byte eight masks, -1 where its bit is set: (v ^ mask) - mask negates v there."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return -bits.astype(np.int32)


# FIPS 180-4, 4.2.2 and 5.3.3: the first 32 bits of the fractions of cube and square roots of primes.
_ROUND_CONSTANTS = np.array([_cube_root(p << 96) & 0xFFFFFFFF for p in _first_primes(64)], dtype=np.uint32)
_INITIAL_STATE = np.array([isqrt(p << 64) & 0xFFFFFFFF for p in _first_primes(8)], dtype=np.uint32)
_BYTE_MASKS = _byte_masks()


def _readonly(dtype: types.Type, dimensions: int) -> types.Array:
    return types.Array(dtype, dimensions, "C", readonly=True)


def _rotate_right(x, n):  # type: ignore[no-untyped-def]
    return uint32(x >> uint32(n)) | uint32(x << uint32(32 - n))


rotate_right = njit(inline="always")(_rotate_right)


def _hash_rows(message, first, state, schedule):  # type: ignore[no-untyped-def]
    """Leave sha256(0x11 || seed || u64be(first + lane)) in state, uint32 (8, lanes).

    One block per row: message, uint32 (16,), is the padded block with the row number zero.
    """
    lanes = state.shape[1]
    for i in range(16):
        for lane in range(lanes):
            schedule[i, lane] = message[i]
    for lane in range(lanes):
        # The number is bytes 33 to 40 of the block: it straddles words 8, 9 and 10.
        number = uint64(first + lane)
        schedule[8, lane] = message[8] | uint32((number >> uint64(40)) & uint64(0xFFFFFF))
        schedule[9, lane] = uint32((number >> uint64(8)) & uint64(0xFFFFFFFF))
        schedule[10, lane] = message[10] | uint32((number & uint64(0xFF)) << uint64(24))
    for i in range(8):
        for lane in range(lanes):
            state[i, lane] = _INITIAL_STATE[i]
    for i in range(64):
        # The eight working variables rotate through the rows of state instead of being moved.
        a, b, c, d = state[-i & 7], state[1 - i & 7], state[2 - i & 7], state[3 - i & 7]
        e, f, g, h = state[4 - i & 7], state[5 - i & 7], state[6 - i & 7], state[7 - i & 7]
        word = schedule[i & 15]
        if i >= 16:
            back15, back7, back2 = schedule[i + 1 & 15], schedule[i + 9 & 15], schedule[i + 14 & 15]
            for lane in range(lanes):
                x, y = back15[lane], back2[lane]
                small0 = rotate_right(x, 7) ^ rotate_right(x, 18) ^ uint32(x >> uint32(3))
                small1 = rotate_right(y, 17) ^ rotate_right(y, 19) ^ uint32(y >> uint32(10))
                word[lane] = uint32(word[lane] + back7[lane] + small0 + small1)
        constant = _ROUND_CONSTANTS[i]
        for lane in range(lanes):
            ev, av = e[lane], a[lane]
            large1 = rotate_right(ev, 6) ^ rotate_right(ev, 11) ^ rotate_right(ev, 25)
            choice = g[lane] ^ (ev & (f[lane] ^ g[lane]))
            added = uint32(h[lane] + large1 + choice + constant + word[lane])
            large0 = rotate_right(av, 2) ^ rotate_right(av, 13) ^ rotate_right(av, 22)
            majority = (av & b[lane]) | (c[lane] & (av | b[lane]))
            d[lane] = uint32(d[lane] + added)
            h[lane] = uint32(added + large0 + majority)
    for i in range(8):
        for lane in range(lanes):
            state[i, lane] = uint32(state[i, lane] + _INITIAL_STATE[i])


hash_rows = njit(
    types.void(_readonly(uint32, 1), int64, types.Array(uint32, 2, "C"), types.Array(uint32, 2, "C")),
    nogil=True,
)(_hash_rows)


def _add_rows(rows, masks, counts, message, first, sums, norm2, states):  # type: ignore[no-untyped-def]
    """Add rows to sums; give norm2 plus the sum of squares, and the smallest value.

    states, uint64 (segments, 194), gets the packed state after each 8 rows; without a line it gets nothing.
    """
    state = np.empty((8, _BLOCK_ROWS), np.uint32)
    schedule = np.empty((16, _BLOCK_ROWS), np.uint32)
    x = np.empty(OUTPUTS, np.int16)
    y = np.empty(OUTPUTS, np.int16)
    z = np.empty(OUTPUTS, np.int32)
    total = np.zeros(OUTPUTS, np.int32)
    low = int8(0)
    traced = states.shape[0] > 0
    for r in range(rows.shape[0]):
        lane = r % _BLOCK_ROWS
        if lane == 0:
            hash_rows(message, first + r, state, schedule)
            # |row| < 2^17 and 2^8 of them fit in int32.
            for k in range(OUTPUTS):
                sums[k] += total[k]
                total[k] = 0
        row = rows[r]

        squares = int32(0)
        for i in range(ROW_VALUES):
            value = int32(row[i])
            squares += value * value
            low = min(low, row[i])
        norm2 += squares

        # v ^ mask is v or -v - 1; counts makes up for the ones. |fold| <= 508.
        mask, count = masks[first + r & 15], counts[first + r & 15]
        for k in range(256):
            x[k] = int16(
                int16(row[k] ^ mask[k])
                + int16(row[256 + k] ^ mask[256 + k])
                + int16(row[512 + k] ^ mask[512 + k])
                + int16(row[768 + k] ^ mask[768 + k])
                + count[k]
            )

        # H256 in eight equal steps: each transforms the highest bit of the index and moves it to the lowest
        # place, so after eight steps every bit is where it was. Six steps fit in int16.
        for _ in range(3):
            for k in range(128):
                a, b = x[k], x[k + 128]
                y[2 * k] = a + b
                y[2 * k + 1] = a - b
            for k in range(128):
                a, b = y[k], y[k + 128]
                x[2 * k] = a + b
                x[2 * k + 1] = a - b
        for k in range(128):
            c, d = int32(x[k]), int32(x[k + 128])
            z[2 * k] = c + d
            z[2 * k + 1] = c - d
        # The last step, the row signs (bit j of the big-endian hash) and the sum in one.
        for group in range(32):
            byte = (state[7 - (group >> 2), lane] >> uint32(8 * (group & 3))) & uint32(0xFF)
            signs = _BYTE_MASKS[byte]
            for k in range(4):
                c, d = z[4 * group + k], z[4 * group + k + 128]
                total[8 * group + 2 * k] += ((c + d) ^ signs[2 * k]) - signs[2 * k]
                total[8 * group + 2 * k + 1] += ((c - d) ^ signs[2 * k + 1]) - signs[2 * k + 1]

        if traced and r & 7 == 7:
            words = states[r >> 3]
            for k in range(OUTPUTS):
                sums[k] += total[k]
                total[k] = 0
            # Four sums of 48 bits fill three words.
            for k in range(OUTPUTS // 4):
                a, b = uint64(sums[4 * k]), uint64(sums[4 * k + 1]) & _LOW_48
                c, d = uint64(sums[4 * k + 2]) & _LOW_48, uint64(sums[4 * k + 3]) & _LOW_48
                words[3 * k + 1] = (a << uint64(16)) | (b >> uint64(32))
                words[3 * k + 2] = (b << uint64(32)) | (c >> uint64(16))
                words[3 * k + 3] = (c << uint64(48)) | d
            words[STATE_WORDS - 1] = uint64(norm2)
    for k in range(OUTPUTS):
        sums[k] += total[k]
    return norm2, int64(low)


_Kernel = Callable[
    [
        npt.NDArray[np.int8],
        npt.NDArray[np.int8],
        npt.NDArray[np.int16],
        npt.NDArray[np.uint32],
        int,
        npt.NDArray[np.int64],
        int,
        npt.NDArray[np.uint64],
    ],
    tuple[int, int],
]
add_rows: _Kernel = njit(
    types.UniTuple(int64, 2)(  # type: ignore[no-untyped-call]
        _readonly(int8, 2),
        _readonly(int8, 2),
        _readonly(int16, 2),
        _readonly(uint32, 1),
        int64,
        types.Array(int64, 1, "C"),
        int64,
        types.Array(uint64, 2, "C"),
    ),
    nogil=True,
)(_add_rows)


class NumbaSums:
    """Adds rows to 256 sums, compiled; runs without the interpreter lock."""

    __slots__ = ("_counts", "_masks", "_message")

    def __init__(self, signs: SeedSigns) -> None:
        minus = signs.columns < 0
        self._masks: npt.NDArray[np.int8] = -minus.astype(np.int8)
        self._counts: npt.NDArray[np.int16] = minus.reshape(-1, 4, OUTPUTS).sum(axis=1, dtype=np.int16)
        size = len(signs.row_prefix) + 8
        block = signs.row_prefix.ljust(size, b"\0") + b"\x80"
        block = block.ljust(56, b"\0") + (8 * size).to_bytes(8, "big")
        self._message: npt.NDArray[np.uint32] = np.frombuffer(block, dtype=">u4").astype(np.uint32)

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
            rows: int8, shape (n, 1024), C-contiguous. Where a value is -128 the sums mean nothing.
            first: Number of the first row, 0 <= first < 2^62.
            sums: int64, shape (256,), contiguous; added to in place.
            norm2: Sum of the squares so far.
            states: uint64, shape (n / 8, 194), C-contiguous, or None. Line s gets what there is after row
                8 s + 7 of these rows: the sums in words 1..192, four of 48 bits in three words, and norm2 in
                word 193. Word 0 is left alone.

        Returns:
            norm2 plus the squares of these rows, and their smallest value (at most 0).

        Raises:
            RowsError: A shape does not fit; fault of the caller.
        """
        if rows.ndim != 2 or rows.shape[1] != ROW_VALUES or sums.shape != (OUTPUTS,):
            raise RowsError(f"rows of shape {rows.shape} and sums of shape {sums.shape}")
        if states is not None and (8 * len(states), states.shape[1:]) != (len(rows), (STATE_WORDS,)):
            raise RowsError(f"{len(rows)} rows and states of shape {states.shape}")
        into = _NO_STATES if states is None else states
        return add_rows(rows, self._masks, self._counts, self._message, first, sums, norm2, into)
