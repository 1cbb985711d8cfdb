from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.errors import EvidenceShapeError, RangeError
from guard.gate import GateParameters, Reading, RoundEvidence, RoundVerdict, Status, WorkerEvidence, judge
from guard.lanes import Lane, pack_lanes
from guard.spec import merge as spec
from guard.weights import Q32, CoalitionHistory, MergeWeights, merge_weights
from tests.guard import strategies
from tests.vectors.load import evidence_of, parameters_of, raw, section

EMPTY = MergeWeights((), (), 0)


def test_weights_golden_over_rounds() -> None:
    gates = {case["name"]: case for case in section("gates")}
    history = CoalitionHistory(0)
    for case in section("weights"):
        gate = gates[case["gate"]]
        parameters, evidence = parameters_of(gate), evidence_of(gate)
        if gate["round"] == 1 or case["gate"] == "extreme lanes, round 4294967295":
            history = CoalitionHistory(len(evidence.workers))
        verdict = judge(parameters, evidence)
        history = history.after(parameters, evidence, verdict)
        weights = merge_weights(parameters, history, evidence, verdict)
        assert weights == MergeWeights(tuple(case["indices"]), tuple(case["weights"]), case["anchorWeight"])
        assert weights.preimage(7, evidence.round) == raw(case["preimage"])
        for i, j, value in case["pairs"] or []:
            assert history.pair(i, j) == history.pair(j, i) == value
        assert CoalitionHistory.from_ints(history.workers, history.to_ints()) == history


@given(
    strategies.parameter_sets() | st.just(GateParameters()),
    st.lists(strategies.rounds(), min_size=3, max_size=3),
    st.integers(0, 6),
)
@settings(max_examples=200)
def test_weights_equal_spec(parameters: GateParameters, rounds: list[RoundEvidence], workers: int) -> None:
    g = strategies.literal(parameters)
    history = CoalitionHistory(workers)
    pairs: spec.Pairs = {}
    for evidence in rounds:
        members = (evidence.workers * 7)[:workers] + (WorkerEvidence(Status.ABSENT),) * 7
        evidence = replace(evidence, workers=members[:workers], lane_words=(0,) * (workers // 4 + 1))
        verdict = judge(parameters, evidence)
        history = history.after(parameters, evidence, verdict)
        anchor, posted = strategies.posted(evidence.anchor), [strategies.posted(w) for w in evidence.workers]
        pairs = spec.coalition(g, pairs, anchor, posted, [False] * workers)
        lanes = [strategies.literal_lane(lane) for lane in verdict.lanes]
        expected = spec.weights(g, pairs, anchor, posted, lanes, verdict.approved)
        given_ = merge_weights(parameters, history, evidence, verdict)
        assert given_ == MergeWeights(tuple(expected.indices), tuple(expected.weights), expected.anchor)
        assert given_.preimage(1, 2) == spec.weights_preimage(1, 2, expected)
        assert sum(given_.weights) <= Q32


def round_of(
    codes: list[int], norms: list[int], anchor_norm2: int = 10**6, emas: tuple[int, ...] = ()
) -> tuple[RoundEvidence, RoundVerdict]:
    workers = tuple(
        WorkerEvidence(Status.COMMITTED, Reading(code, norm2, 0))
        for code, norm2 in zip(codes, norms, strict=True)
    )
    lanes = pack_lanes([*(Lane(ema) for ema in emas or [0] * len(codes)), Lane()])
    evidence = RoundEvidence(1, Reading(0, anchor_norm2, 0), workers, lanes)
    return evidence, judge(GateParameters(score_above=-257), evidence)


def test_equal_workers_share_what_the_anchor_leaves() -> None:
    evidence, verdict = round_of([0xFFFF << 20 * i for i in range(4)], [10**6] * 4)
    weights = merge_weights(GateParameters(duplicate_bits=0), CoalitionHistory(4), evidence, verdict)
    assert weights.anchor == 1500 * Q32 // 10_000
    assert set(weights.weights) == {(Q32 - weights.anchor) // 4}


@pytest.mark.parametrize(
    ("workers", "size", "less"),
    [
        (8, 1, 0),
        (8, 2, 6 * 18_034),
        (8, 3, 6 * 2 * 18_034),
        (8, 4, 6 * 3 * 18_034 + 1_296 * (18_034 // 7)),
        (8, 5, 0),  # ten of 28 pairs are no exception
        (24, 4, 6 * 3 * 18_034 + 1_296 * (18_034 // 23)),  # the same group, a third of the share
        (24, 8, 6 * 7 * 18_034 + 1_296 * (5 * 18_034 // 23)),
    ],
)
def test_two_partners_are_spared_and_a_group_is_not(workers: int, size: int, less: int) -> None:
    """The last ``size`` agree on 20000 beyond the anchor, 18034 more than is usual and allowed."""
    group = range(workers - size, workers)
    pairs = [20_000 * (i in group and j in group) for i in range(workers) for j in range(i + 1, workers)]
    evidence, verdict = round_of([0x3FF << 10 * i for i in range(workers)], [10**6] * workers)
    weights = merge_weights(
        GateParameters(duplicate_bits=0), CoalitionHistory.from_ints(workers, pairs), evidence, verdict
    )
    votes = [Q32] * (workers - size) + [Q32 * 65536 // (65536 + less)] * size
    assert weights.weights == tuple((Q32 - weights.anchor) * vote // sum(votes) for vote in votes)


def test_near_duplicates_share_one_weight() -> None:
    far = (1 << 100) - 1
    evidence, verdict = round_of([far, far ^ 1 ^ 1 << 110, far << 120], [10**6] * 3)
    weights = merge_weights(GateParameters(), CoalitionHistory(3), evidence, verdict)
    assert weights.weights[0] == weights.weights[1]
    assert abs(weights.weights[2] - 2 * weights.weights[0]) <= 2


def test_large_norm_is_clipped() -> None:
    far = (1 << 60) - 1
    evidence, verdict = round_of([far, far << 60, far << 120], [10**6, 10**6, 10**10])
    weights = merge_weights(GateParameters(), CoalitionHistory(3), evidence, verdict)
    assert weights.weights[2] * 99 < weights.weights[0] < weights.weights[2] * 101


def test_vote_is_what_was_agreed_and_a_little() -> None:
    """Score 56 in this round: ema goes from 4096 to 3968, from 0 to 896; both and 12 * 64 are the votes."""
    code = (1 << 100) - 1
    evidence, verdict = round_of([code, code << 120], [10**6] * 2, emas=(4096, 0))
    assert [lane.ema for lane in verdict.lanes] == [3968, 896]
    weights = merge_weights(GateParameters(), CoalitionHistory(2), evidence, verdict).weights
    assert abs(weights[0] * (896 + 768) - weights[1] * (3968 + 768)) <= 2 * 5000


def test_who_disagreed_has_the_same_vote_however_much() -> None:
    code = (1 << 100) - 1
    evidence, verdict = round_of([code, code << 120, code << 60], [10**6] * 3, emas=(-16000, -3000, 13000))
    weights = merge_weights(GateParameters(), CoalitionHistory(3), evidence, verdict).weights
    assert weights[0] == weights[1]
    assert weights[2] * 768 > weights[0] * 10_000


def test_offset_of_zero_leaves_the_round_to_the_anchor_when_nobody_agrees() -> None:
    code = (1 << 140) - 1
    evidence, verdict = round_of([code, code << 110], [10**6] * 2)
    assert verdict.approved == 0b11
    weights = merge_weights(GateParameters(vote_offset=0), CoalitionHistory(2), evidence, verdict)
    assert weights == MergeWeights((0, 1), (0, 0), 1500 * Q32 // 10_000)


def test_nothing_approved_gives_no_weights() -> None:
    evidence, verdict = round_of([], [])
    assert merge_weights(GateParameters(), CoalitionHistory(0), evidence, verdict) == EMPTY


def test_anchor_of_zero_gets_no_share() -> None:
    evidence, verdict = round_of([1 << 200, 7], [10**6] * 2, anchor_norm2=0)
    weights = merge_weights(GateParameters(), CoalitionHistory(2), evidence, verdict)
    assert weights.anchor == 0
    assert sum(weights.weights) in (Q32 - 1, Q32)


def test_history_refuses_what_does_not_fit() -> None:
    evidence, verdict = round_of([1, 2], [10**6] * 2)
    with pytest.raises(EvidenceShapeError):
        CoalitionHistory(3).after(GateParameters(), evidence, verdict)
    with pytest.raises(EvidenceShapeError):
        merge_weights(GateParameters(), CoalitionHistory(3), evidence, verdict)
    with pytest.raises(EvidenceShapeError):
        CoalitionHistory.from_ints(3, (1, 2))
    with pytest.raises(RangeError):
        CoalitionHistory.from_ints(2, (2**17 + 1,))
    with pytest.raises(RangeError):
        CoalitionHistory(256)


def test_history_does_not_change_in_place() -> None:
    evidence, verdict = round_of([1, 3], [10**6] * 2)
    before = CoalitionHistory(2)
    after = before.after(GateParameters(), evidence, verdict)
    assert before.to_ints() == (0,)
    assert after.to_ints() != (0,)
    assert hash(after) == hash(CoalitionHistory.from_ints(2, after.to_ints()))
