"""docs/spec/sketch.md: from an update and a seed to 256 integers, one word and a norm."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

OUTPUTS = 256
ROW = 1024
BANK = 16


def column_signs(seed: bytes, i: int) -> list[int]:
    """Give D_i, 1,024 signs; row b uses i = b mod 16."""
    signs = [1] * ROW
    for t in range(4):
        digest = sha256(b"\x10" + seed + bytes([i, t])).digest()
        for s in range(8):
            for d in range(32):
                if digest[d] >> s & 1:
                    signs[256 * t + 32 * s + d] = -1
    return signs


def row_signs(seed: bytes, b: int) -> list[int]:
    """Give rho(b), 256 signs."""
    bits = int.from_bytes(sha256(b"\x11" + seed + b.to_bytes(8, "big")).digest(), "big")
    return [-1 if bits >> j & 1 else 1 for j in range(OUTPUTS)]


def hadamard(j: int, k: int) -> int:
    """Give one entry of the Sylvester-Hadamard matrix H256."""
    return -1 if (j & k).bit_count() & 1 else 1


def transform(fold: Sequence[int]) -> list[int]:
    """Multiply by H256: entry j is the sum over k of H256[j][k] * fold_k, in eight butterfly steps."""
    values = list(fold)
    step = 1
    while step < OUTPUTS:
        for j in range(OUTPUTS):
            if not j & step:
                values[j], values[j + step] = values[j] + values[j + step], values[j] - values[j + step]
        step *= 2
    return values


def project_row(seed: bytes, b: int, row: Sequence[int]) -> list[int]:
    """Give the 256 integers of row b, 1,024 values in [-127, 127]."""
    signs = column_signs(seed, b % BANK)
    fold = [sum(signs[256 * t + k] * row[256 * t + k] for t in range(4)) for k in range(OUTPUTS)]
    return [rho * value for rho, value in zip(row_signs(seed, b), transform(fold), strict=True)]


def project(seed: bytes, payload: bytes, first_row: int = 0) -> list[int]:
    """Give A over whole rows of a payload; ``first_row`` is the number of its first row in the update."""
    total = [0] * OUTPUTS
    for at in range(0, len(payload), ROW):
        row = signed(payload[at : at + ROW])
        for j, value in enumerate(project_row(seed, first_row + at // ROW, row)):
            total[j] += value
    return total


def signed(data: bytes) -> list[int]:
    """Read bytes as int8."""
    return [byte - 256 if byte > 127 else byte for byte in data]


def norm2(payload: bytes) -> int:
    """Give the sum of the squares of all values."""
    return sum(value * value for value in signed(payload))


def code(sums: Iterable[int]) -> int:
    """Give the word: bit j is 1 iff A_j >= 0."""
    return sum(1 << j for j, value in enumerate(sums) if value >= 0)


def atoms(sums: Sequence[int]) -> list[list[int]]:
    """Read the 256 integers as 8 atoms of 32 dimensions, j = 32 k + d."""
    return [list(sums[32 * k : 32 * k + 32]) for k in range(8)]
