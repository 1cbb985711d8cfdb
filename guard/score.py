"""Scores and their median."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from guard.errors import RangeError

CODE_BITS = 256
_CODE_MAX = 2**CODE_BITS - 1


def score(code: int, anchor_code: int) -> int:
    """Give the semantic consistency score of one code against the anchor.

    score = 256 - 2 * (number of bits in which the two words differ), so equal words score 256, opposite
    words -256, unrelated ones about 0 +- 24.

    Args:
        code: Sign bits of the 8 x 32 atom entries, bit 32k+d for atom k, dimension d; 0 <= code < 2**256.
        anchor_code: The same for the anchor update of the round.

    Returns:
        The score, an even integer in [-256, 256].

    Raises:
        RangeError: A word does not fit in 256 bits; fault of the caller.

    Source:
        docs/spec/gate.md; Charikar 2002, "Similarity estimation techniques from rounding algorithms", for the
        sign-random-projection estimate.
    """
    for name, word in (("code", code), ("anchor_code", anchor_code)):
        if not 0 <= word <= _CODE_MAX:
            raise RangeError(name, word, 0, _CODE_MAX)
    return CODE_BITS - 2 * (code ^ anchor_code).bit_count()


def pairwise_distances(codes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Give the number of differing bits of every pair of words.

    Args:
        codes: n words, each 0 <= code < 2**256.

    Returns:
        int64, shape (n, n), symmetric, zero on the diagonal.
    """
    words = np.frombuffer(b"".join(code.to_bytes(32, "big") for code in codes), dtype=np.uint64).reshape(
        -1, 4
    )
    counts = np.bitwise_count(words[:, None, :] ^ words[None, :, :])
    distances: npt.NDArray[np.int64] = counts.sum(axis=2, dtype=np.int64)
    return distances


def first_of_copies(codes: Sequence[int], bits: int) -> list[bool]:
    """Tell which words are no copies: no earlier word differs in so few bits.

    A word is a copy because of any earlier one, also of one that is a copy itself.

    Args:
        codes: n words, each 0 <= code < 2**256.
        bits: In so many bits copies may differ, 0..256; with 256 all but the first word are copies.

    Returns:
        n booleans.

    Source:
        docs/spec/gate.md, One round; ADR 16.
    """
    if not codes:
        return []
    near = pairwise_distances(codes) <= bits
    return [twins == 0 for twins in np.tril(near, -1).sum(axis=1).tolist()]


def lower_median(values: Sequence[int]) -> int:
    """Give the lower median: of n sorted values the one at floor((n - 1) / 2), 0 if there is none.

    Args:
        values: Integers in any order.

    Returns:
        One of the values, or 0.
    """
    return sorted(values)[(len(values) - 1) // 2] if values else 0


def upper_quartile(values: Sequence[int]) -> int:
    """Give the upper quartile: of n sorted values the one at floor(3 (n - 1) / 4), 0 if there is none.

    Args:
        values: Integers in any order.

    Returns:
        One of the values, or 0.
    """
    return sorted(values)[3 * (len(values) - 1) // 4] if values else 0


def upper_median(values: Sequence[int]) -> int:
    """Give the upper median: of n sorted values the one at floor(n / 2), 0 if there is none.

    Args:
        values: Integers in any order.

    Returns:
        One of the values, or 0.
    """
    return sorted(values)[len(values) // 2] if values else 0


def is_upper_median(median: int, values: Sequence[int]) -> bool:
    """Check a median by counting, as the contract does.

    Some value equals it, and count(v < x) <= floor(n / 2) < count(v <= x); of nothing it is 0.

    Args:
        median: The median that was posted.
        values: Integers in any order.

    Returns:
        Whether it is the upper median.

    Source:
        docs/spec/gate.md, One round.
    """
    if not values:
        return median == 0
    below = sum(value < median for value in values)
    up_to = sum(value <= median for value in values)
    return median in values and below <= len(values) // 2 < up_to
