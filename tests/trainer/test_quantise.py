import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainer.errors import InputError, NumericError
from trainer.quantise import dequantise, quantise

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60)
VECTORS = st.lists(FLOATS, min_size=1, max_size=40).map(lambda xs: np.array(xs, dtype=np.float32))


def f32(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def literal_values(x: NDArray[np.float32], exponent: int) -> list[int]:
    """The rule with exact rationals; Python's round() of a Fraction is half to even."""
    scale = Fraction(2) ** exponent
    return [max(-127, min(127, round(Fraction(float(value)) / scale))) for value in x]


def literal_error(x: NDArray[np.float32], exponent: int) -> Fraction:
    scale = Fraction(2) ** exponent
    rounded = literal_values(x, exponent)
    return sum(((Fraction(float(v)) - q * scale) ** 2 for v, q in zip(x, rounded, strict=True)), Fraction(0))


def literal_exponent(x: NDArray[np.float32]) -> int:
    largest = max(abs(Fraction(float(value))) for value in x)
    exponent = -64
    while largest > 127 * Fraction(2) ** exponent:
        exponent += 1
    return exponent


@settings(deadline=None)
@given(VECTORS)
def test_quantise_of_any_vector_follows_the_rule_literally(x: NDArray[np.float32]) -> None:
    values, exponent, _ = quantise(x)
    if not values.any():
        assert exponent == 0
        return
    largest = literal_exponent(x)
    assert exponent in (largest, largest - 1)
    assert values.tolist() == literal_values(x, exponent)
    other = largest - 1 if exponent == largest else largest
    if other >= -64:
        # The comparison of the two errors is in float64, so a near tie may go either way.
        assert literal_error(x, exponent) <= literal_error(x, other) * (1 + Fraction(1, 10**9))


@settings(deadline=None)
@given(VECTORS)
def test_quantise_residual_is_what_is_missing(x: NDArray[np.float32]) -> None:
    values, exponent, residual = quantise(x)
    exact = x.astype(np.float64) - np.ldexp(values.astype(np.float64), exponent)
    assert np.array_equal(residual, exact.astype(np.float32))


def test_quantise_half_goes_to_even() -> None:
    values, exponent, _ = quantise(f32(127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5))
    assert exponent == 0
    assert values.tolist() == [127, 0, 2, 2, 0, -2, -2]


@pytest.mark.parametrize(
    ("largest", "exponent"), [(127.0, 0), (128.0, 1), (63.5, -1), (254.0, 1), (2.0**-64, -64), (2.0**69, 63)]
)
def test_quantise_takes_the_smallest_exponent_that_fits(largest: float, exponent: int) -> None:
    # Many values at the top: saturating them would cost more than a coarser step does.
    assert quantise(f32(*[largest] * 8)).exponent == exponent


def test_quantise_saturates_when_one_outlier_would_cost_more() -> None:
    x = np.full(10_000, 0.6, dtype=np.float32)
    x[0] = 128.0
    values, exponent, residual = quantise(x)
    assert exponent == 0
    assert values[0] == 127
    assert residual[0] == 1.0


def test_quantise_of_zeros_has_exponent_zero() -> None:
    values, exponent, residual = quantise(np.zeros(5, dtype=np.float32))
    assert (values.any(), exponent, residual.any()) == (np.False_, 0, np.False_)


def test_quantise_of_values_below_the_format_has_exponent_zero_and_keeps_them() -> None:
    x = f32(1e-30, -1e-30)
    values, exponent, residual = quantise(x)
    assert not values.any()
    assert exponent == 0
    assert np.array_equal(residual, x)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_quantise_of_nan_or_infinity_raises(bad: float) -> None:
    with pytest.raises(NumericError):
        quantise(f32(1.0, bad))


def test_quantise_beyond_the_largest_exponent_raises() -> None:
    with pytest.raises(NumericError, match="beyond"):
        quantise(f32(2.0**71))


def test_quantise_refuses_other_types_and_shapes() -> None:
    with pytest.raises(InputError):
        quantise(np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(InputError):
        quantise(np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(InputError):
        quantise(f32(1.0), f32(1.0, 2.0))


def test_error_feedback_pays_back_what_rounding_lost() -> None:
    rng = np.random.default_rng(1)
    total, sent, residual = np.zeros(500), np.zeros(500), None
    for _ in range(50):
        gradient = (rng.standard_normal(500) * 0.01 + 0.002).astype(np.float32)
        values, exponent, residual = quantise(gradient, residual)
        total += gradient
        sent += dequantise(values, exponent)
    assert residual is not None
    assert np.abs(total - sent - residual).max() < 1e-6
    assert np.abs(total - sent).max() < 2**-10
