import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.errors import RangeError
from guard.score import is_upper_median, score, upper_median
from guard.spec import gate as spec
from tests.guard.strategies import words
from tests.vectors.load import Case, section

FULL = 2**256 - 1


@given(words, words)
def test_score_equals_spec(code: int, anchor: int) -> None:
    s = score(code, anchor)
    assert s == spec.score(code, anchor) == score(anchor, code) == -score(code ^ FULL, anchor)
    assert s % 2 == 0
    assert -256 <= s <= 256


def test_score_of_equal_and_opposite_words() -> None:
    assert (score(7, 7), score(7, 7 ^ FULL)) == (256, -256)


@pytest.mark.parametrize(("code", "anchor"), [(-1, 0), (0, 2**256)])
def test_score_of_too_wide_word_is_refused(code: int, anchor: int) -> None:
    with pytest.raises(RangeError):
        score(code, anchor)


@pytest.mark.parametrize("case", section("medians"), ids=str)
def test_median_golden(case: Case) -> None:
    assert is_upper_median(case["x"], case["scores"]) == case["isMedian"]


@given(st.lists(st.integers(-256, 256)), st.integers(-256, 256))
def test_median_has_one_value(values: list[int], x: int) -> None:
    assert is_upper_median(upper_median(values), values)
    assert is_upper_median(x, values) == (x == upper_median(values)) == spec.is_median(x, values)
