"""From approved updates and integer weights to the next model, the same bytes on every IEEE-754 machine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.errors import InputError

FloatArray = NDArray[np.float32]

DEFAULT_BLOCK = 1 << 16
"""Values merged at a time: the working set stays in cache and the updates may be memory maps."""


@dataclass(frozen=True, slots=True)
class Weighted:
    """One term of the merge.

    Attributes:
        values: int8 [d]; an array or a memory map, read block by block.
        exponent: The update's exponent, in [-64, 63].
        weight_q32: Its weight, in 1/2**32, an integer of at most 41 bits.
    """

    values: NDArray[np.int8]
    exponent: int
    weight_q32: int


def merge(
    theta: FloatArray,
    momentum: FloatArray,
    terms: Sequence[Weighted],
    *,
    outer_lr_micro: int,
    outer_momentum_micro: int,
    block: int = DEFAULT_BLOCK,
) -> tuple[FloatArray, FloatArray]:
    """Take one outer step: Nesterov SGD on the weighted sum of updates.

    Per element, each operation rounded by itself:
    `acc = sum of weight * 2**(e - 32) * q` in float64, in the order of terms; `delta = float32(acc)`;
    `v = mu * v + delta`; `theta = theta - lr * (delta + mu * v)` in float32.

    Args:
        theta: Parameters, float32 [d]; not changed.
        momentum: Outer momentum v, float32 [d]; not changed.
        terms: The approved updates in cohort order, then the anchor. Empty: nothing was approved.
        outer_lr_micro: Outer learning rate, in 1e-6.
        outer_momentum_micro: Outer momentum, in 1e-6.
        block: Values per block; the result does not depend on it.

    Returns:
        New parameters and momentum; copies of the old ones if there are no terms.

    Raises:
        InputError: Shapes, types, a weight or an exponent out of range.

    Source:
        docs/spec/merge.md, "Merge"; DiLoCo: Douillard et al. 2023, algorithm 1, with torch's form of
        Nesterov.
    """
    _check(theta, momentum, terms, block)
    new_theta, new_momentum = theta.copy(), momentum.copy()
    if not terms:
        return new_theta, new_momentum
    lr = np.float32(outer_lr_micro / 1e6)
    mu = np.float32(outer_momentum_micro / 1e6)
    factors = [math.ldexp(float(term.weight_q32), term.exponent - 32) for term in terms]
    for start in range(0, len(theta), block):
        part = slice(start, min(start + block, len(theta)))
        acc = np.zeros(part.stop - part.start, dtype=np.float64)
        for factor, term in zip(factors, terms, strict=True):
            acc += factor * term.values[part].astype(np.float64)
        delta = acc.astype(np.float32)
        v = mu * momentum[part] + delta
        new_momentum[part] = v
        new_theta[part] = theta[part] - lr * (delta + mu * v)
    return new_theta, new_momentum


def _check(theta: FloatArray, momentum: FloatArray, terms: Sequence[Weighted], block: int) -> None:
    for name, array in (("theta", theta), ("momentum", momentum)):
        if array.dtype != np.float32 or array.shape != (len(theta),):
            raise InputError(f"{name} must be float32 [{len(theta)}], got {array.dtype} {array.shape}")
    for place, term in enumerate(terms):
        if term.values.dtype != np.int8 or term.values.shape != theta.shape:
            raise InputError(f"term {place}: values must be int8 [{len(theta)}], got {term.values.shape}")
        if not 0 <= term.weight_q32 < 1 << 41 or not -64 <= term.exponent <= 63:
            raise InputError(
                f"term {place}: weight {term.weight_q32} or exponent {term.exponent} out of range"
            )
    if block < 1:
        raise InputError("block must be at least 1")
