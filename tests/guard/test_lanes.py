import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.errors import EvidenceShapeError, RangeError
from guard.lanes import Lane, pack_lanes, unpack_lanes
from guard.spec import gate as spec
from tests.guard.strategies import lanes, literal_lane
from tests.vectors.load import Case, number, section


@pytest.mark.parametrize("case", section("lanes"), ids=lambda case: case["packed"])
def test_lane_golden(case: Case) -> None:
    lane = Lane(*case["lane"].values())
    assert lane.pack() == number(case["packed"])
    assert Lane.unpack(number(case["packed"])) == lane


@given(st.integers(0, 2**64 - 1))
def test_every_64_bits_are_a_lane(value: int) -> None:
    lane = Lane.unpack(value)
    assert lane.pack() == value == spec.pack_lane(literal_lane(lane))
    assert literal_lane(lane) == spec.unpack_lane(value)


@given(st.lists(lanes, max_size=11))
def test_words_round_trip(members: list[Lane]) -> None:
    words = pack_lanes(members)
    assert list(words) == spec.lane_words([literal_lane(lane) for lane in members])
    assert unpack_lanes(words, len(members)) == tuple(members)


def test_first_lane_is_lowest() -> None:
    assert pack_lanes([Lane(ema=1), Lane(ema=2), Lane(), Lane(), Lane(ema=3)]) == (1 | 2 << 64, 3)


@pytest.mark.parametrize(
    "fields",
    [
        {"ema": 16384},
        {"ema": -16385},
        {"llr": 8192},
        {"accepted": 8192},
        {"refused": 2048},
        {"last_round": -1},
    ],
)
def test_lane_out_of_range_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(RangeError) as caught:
        Lane(**fields)
    assert caught.value.field in fields


def test_unpack_refuses_too_few_words_and_too_wide_lanes() -> None:
    with pytest.raises(EvidenceShapeError):
        unpack_lanes((0,), 5)
    with pytest.raises(RangeError):
        Lane.unpack(2**64)
