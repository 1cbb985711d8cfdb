"""docs/merge-proof.md, literally: the integer merge, its trace and its roots, one value at a time."""

from hashlib import sha256
from typing import NamedTuple

ROW = 1024
SEGMENT = 8192
LOW, HIGH = -(2**31), 2**31 - 1


class Term(NamedTuple):
    """One update with its weight."""

    header: bytes
    payload: bytes
    weight: int


def saturate(x: int) -> int:
    """Give the nearest int32."""
    return min(max(x, LOW), HIGH)


def scale(numerator: int, exponent: int) -> int:
    """Give numerator * 2**exponent to the nearest integer, ties up."""
    if exponent >= 0:
        return numerator << exponent
    divisor = 1 << -exponent
    return (2 * numerator + divisor) // (2 * divisor)


def signed(byte: int) -> int:
    """Read a byte as int8."""
    return byte - 256 if byte > 127 else byte


def q16(micro: int) -> int:
    """Give a number in 10^-6 in 2^-16, to the nearest."""
    return (micro * 65536 + 500_000) // 1_000_000


def sums(terms: list[Term], row: int) -> list[list[int]]:
    """Give the sums of a row after every term."""
    total = [0] * ROW
    found = []
    for term in terms:
        values = term.payload[ROW * row : ROW * (row + 1)]
        exponent = signed(term.header[5])
        total = [
            saturate(a + scale(term.weight * signed(q), exponent - 8))
            for a, q in zip(total, values, strict=True)
        ]
        found.append(total)
    return found


def outer_step(delta: int, theta: int, v: int, lr_micro: int, mu_micro: int) -> tuple[int, int]:
    """Give a parameter and its momentum after the step."""
    lr, mu = q16(lr_micro), q16(mu_micro)
    v = saturate(scale(mu * v, -16) + delta)
    step = saturate(delta + scale(mu * v, -16))
    return saturate(theta - scale(lr * step, -16)), v


def pack(values: list[int]) -> bytes:
    """Give int32, little-endian."""
    return b"".join(value.to_bytes(4, "little", signed=True) for value in values)


def sums_leaf(values: list[int]) -> bytes:
    """Hash the sums of a row."""
    return sha256(b"\x30" + pack(values)).digest()


def model_leaf(theta: list[int], v: list[int]) -> bytes:
    """Hash a row of a model."""
    return sha256(b"\x31" + pack(theta) + pack(v)).digest()


def term_leaf(update_root: bytes, weight: int) -> bytes:
    """Hash a term."""
    return sha256(b"\x33" + update_root + weight.to_bytes(8, "big")).digest()


def tree(leaves: list[bytes], depth: int | None = None) -> bytes:
    """Give the root of the perfect tree over leaves, missing ones being zero."""
    if depth is None:
        depth = (len(leaves) - 1).bit_length()
    if depth == 0:
        return leaves[0] if leaves else bytes(32)
    half = 2 ** (depth - 1)
    return sha256(b"\x01" + tree(leaves[:half], depth - 1) + tree(leaves[half:], depth - 1)).digest()


def trace_root(rows: list[list[bytes]]) -> bytes:
    """Give the root over the leaves of every row, one for each term; i of row r is at r * 2^depth + i."""
    width = 1 << (len(rows[0]) - 1).bit_length()
    flat = [leaf for leaves in rows for leaf in leaves + [bytes(32)] * (width - len(leaves))]
    return tree(flat, (len(rows) - 1).bit_length() + (width - 1).bit_length())


def model_root(rows: list[bytes], shape_digest: bytes, length: int) -> bytes:
    """Give the root of a model from the leaves of its rows."""
    return sha256(b"\x32" + shape_digest + length.to_bytes(8, "big") + tree(rows)).digest()
