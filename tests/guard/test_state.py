"""What is left of a decision when contributions are overturned before the merge."""

import random

import pytest

from guard.errors import RangeError
from guard.gate import GateParameters, Reading, Status, WorkerEvidence
from guard.lanes import put_back, unpack_lanes
from guard.settlement import Settlement
from guard.state import Decision, GateState

PARAMETERS = GateParameters()
WORKERS = 6


def decided(rng: random.Random, state: GateState, round_: int) -> Decision:
    anchor = Reading(rng.getrandbits(256), 2**36, -12)
    workers = tuple(
        WorkerEvidence(
            Status.COMMITTED,
            Reading(anchor.code ^ sum((rng.random() < 0.25) << bit for bit in range(256)), 2**36, -12),
        )
        for _ in range(WORKERS)
    )
    draft = Settlement(anchor, 0, workers)
    return state.decide(PARAMETERS, round_, Settlement(anchor, state.median(PARAMETERS, draft), workers))


def test_overturned_have_no_weight_and_their_old_lane() -> None:
    rng = random.Random(5)
    state = GateState.start(WORKERS)
    state = decided(rng, state, 1).after
    whole = decided(rng, state, 2)
    overturned = 0b100101
    left = whole.without(PARAMETERS, overturned)
    before, after = unpack_lanes(state.lane_words, WORKERS), whole.verdict.lanes
    assert before != after
    for index, lane in enumerate(unpack_lanes(left.after.lane_words, WORKERS)):
        assert lane == (before if overturned >> index & 1 else after)[index]
    assert left.weights.indices == (1, 3, 4)
    assert left.weights.indices == tuple(i for i in whole.weights.indices if not overturned >> i & 1)
    assert (left.verdict, left.evidence) == (whole.verdict, whole.evidence)
    assert left.after.yardstick == whole.after.yardstick
    assert left.after.coalition == whole.after.coalition
    assert whole.without(PARAMETERS, 0) is whole
    assert left.without(PARAMETERS, overturned) == left
    nothing = whole.without(PARAMETERS, 0b111111)
    assert nothing.weights == type(nothing.weights)((), (), 0)
    assert nothing.after.lane_words == state.lane_words
    for wrong in (1 << WORKERS, -1):
        with pytest.raises(RangeError):
            whole.without(PARAMETERS, wrong)


def test_put_back_moves_single_lanes() -> None:
    words = (int("11" * 8 + "22" * 8 + "33" * 8 + "44" * 8, 16), 5)
    assert put_back(words, (0, 0), 0b0010) == (int("11" * 8 + "22" * 8 + "00" * 8 + "44" * 8, 16), 5)
    assert put_back(words, (0, 9), 1 << 4) == (words[0], 9)
    assert put_back(words, (7, 7), 0) == words
