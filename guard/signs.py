"""The signs that a seed stands for."""

from hashlib import sha256

import numpy as np
import numpy.typing as npt

from guard.errors import RangeError

OUTPUTS = 256
ROW_VALUES = 1024
BANK = 16
# A trace state as 64-bit words, behind one word that is not part of it (see guard.sketch).
STATE_WORDS = 1 + OUTPUTS * 48 // 64 + 1
SEED_BYTES = 32

_COLUMN_TAG = b"\x10"
_ROW_TAG = b"\x11"


class SeedSigns:
    """16 column sign vectors, and 256 bits for every row. Immutable; the updates of a round share it.

    Attributes:
        seed: 32 bytes.
        row_prefix: What is hashed before the number of a row: 0x11 || seed.
        columns: The bank D, int8, shape (16, 1024), values +1 and -1, read-only.
    """

    __slots__ = ("columns", "row_prefix", "seed")

    def __init__(self, seed: bytes) -> None:
        """Draw the column signs.

        Raises:
            RangeError: The seed has not 32 bytes; fault of the caller.

        Source:
            docs/spec/sketch.md, Signs from the seed.
        """
        if len(seed) != SEED_BYTES:
            raise RangeError("bytes of the seed", len(seed), SEED_BYTES, SEED_BYTES)
        self.seed = bytes(seed)
        self.row_prefix = _ROW_TAG + self.seed
        digests = b"".join(
            sha256(_COLUMN_TAG + self.seed + bytes((i, t))).digest() for i in range(BANK) for t in range(4)
        )
        # Bit s of byte d belongs to column 32 s + d of its quarter.
        bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8), bitorder="little")
        minus = bits.reshape(BANK, 4, 32, 8).transpose(0, 1, 3, 2).reshape(BANK, ROW_VALUES)
        self.columns: npt.NDArray[np.int8] = 1 - 2 * minus.astype(np.int8)
        self.columns.flags.writeable = False

    def row_digests(self, first: int, count: int) -> npt.NDArray[np.uint8]:
        """Give R(b) of consecutive rows.

        Args:
            first: Number of the first row.
            count: How many rows.

        Returns:
            uint8, shape (count, 32): sha256(0x11 || seed || u64be(b)). Bit j of row b's big-endian number is
            1 iff rho_j(b) = -1.
        """
        prefix, digest = self.row_prefix, sha256
        rows = [digest(prefix + b.to_bytes(8, "big")).digest() for b in range(first, first + count)]
        return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(count, 32)
