"""From a float pseudo-gradient to int8 values with one power-of-two scale, and what is lost for next time."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.errors import InputError, NumericError

FloatArray = NDArray[np.float32]
Float64Array = NDArray[np.float64]

LARGEST = 127
MIN_EXPONENT = -64
MAX_EXPONENT = 63
BLOCK = 1 << 16


class Quantised(NamedTuple):
    """An update's numbers, and the error that the next round pays back.

    Attributes:
        values: int8 [d], in [-127, 127]; value i stands for `values[i] * 2**exponent`.
        exponent: In [-64, 63].
        residual: float32 [d]: what the values do not express.
    """

    values: NDArray[np.int8]
    exponent: int
    residual: NDArray[np.float32]


def quantise(gradient: FloatArray, residual: FloatArray | None = None) -> Quantised:
    """Round `x = gradient + residual` to int8 with one exponent.

    `q = clip(rint(x / 2**e), -127, 127)`, half to even. e is the smallest exponent with `max|x| <= 127 *
    2**e`, or one less (the largest values saturate) when that makes the squared error smaller. Values that
    all round to zero have e = 0.

    Args:
        gradient: The pseudo-gradient, float32 [d].
        residual: Last round's residual, float32 [d]; None for zeros.

    Returns:
        Values, exponent and the new residual `x - q * 2**e` (error feedback).

    Raises:
        InputError: The two arrays differ in shape, or are no flat float32.
        NumericError: NaN or Inf, or a value beyond 127 * 2**63.

    Source:
        docs/spec/update.md, "Quantiser"; error feedback: Seide et al. 2014, "1-bit stochastic gradient
        descent".
    """
    if gradient.dtype != np.float32 or gradient.ndim != 1:
        raise InputError(f"gradient must be flat float32, got {gradient.dtype} {gradient.shape}")
    if residual is not None and (residual.dtype != np.float32 or residual.shape != gradient.shape):
        raise InputError(f"residual {residual.dtype} {residual.shape} does not fit gradient {gradient.shape}")
    largest = 0.0
    for _, exact in _blocks(gradient, residual):
        # max() of Python would lose a NaN.
        largest = float(np.maximum(largest, np.max(np.abs(exact))))
    if not math.isfinite(largest):
        raise NumericError("the pseudo-gradient holds NaN or Inf", hint="lower the inner learning rate")
    exponent = _smallest_exponent(largest)
    if exponent > MIN_EXPONENT:
        coarse, fine = (_squared_error(gradient, residual, e) for e in (exponent, exponent - 1))
        exponent -= fine < coarse
    values = np.empty(gradient.shape, dtype=np.int8)
    rest = np.empty(gradient.shape, dtype=np.float32)
    for part, exact in _blocks(gradient, residual):
        rounded = _rounded(exact, exponent)
        values[part] = rounded
        rest[part] = exact - np.ldexp(rounded, exponent)
    return Quantised(values, exponent if values.any() else 0, rest)


def dequantise(values: NDArray[np.int8], exponent: int) -> NDArray[np.float32]:
    """Give `values * 2**exponent` as float32 [d]; exact for every exponent of the format."""
    return np.ldexp(values.astype(np.float32), exponent).astype(np.float32)


def _smallest_exponent(largest: float) -> int:
    """Give the smallest e >= -64 with `largest <= 127 * 2**e`; the comparison is exact."""
    exponent = max(MIN_EXPONENT, math.frexp(largest)[1] - 8)
    while largest > math.ldexp(LARGEST, exponent):
        exponent += 1
    if exponent > MAX_EXPONENT:
        raise NumericError(f"the pseudo-gradient reaches {largest:.3g}, beyond 127 * 2**63")
    return exponent


def _rounded(exact: Float64Array, exponent: int) -> Float64Array:
    return np.clip(np.rint(np.ldexp(exact, -exponent)), -LARGEST, LARGEST)


def _squared_error(gradient: FloatArray, residual: FloatArray | None, exponent: int) -> float:
    total = 0.0
    for _, exact in _blocks(gradient, residual):
        error = exact - np.ldexp(_rounded(exact, exponent), exponent)
        total += float(error @ error)
    return total


def _blocks(gradient: FloatArray, residual: FloatArray | None) -> Iterator[tuple[slice, Float64Array]]:
    """Give `gradient + residual` exactly, in float64, block by block: a large model needs no large copies."""
    for start in range(0, len(gradient), BLOCK):
        part = slice(start, start + BLOCK)
        exact = gradient[part].astype(np.float64)
        if residual is not None:
            exact += residual[part]
        yield part, exact
