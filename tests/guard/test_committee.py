"""Several guards: the fast path against the literal spec, and what a lying minority cannot do."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.committee import (
    GUARDS_MAX,
    committee_reading,
    guard_lanes,
    guard_scores,
    merged_guard,
    quorum,
)
from guard.errors import EvidenceShapeError, GuardError, MedianError, PayloadError, QuorumError, RangeError
from guard.gate import (
    ABSENT,
    MALFORMED,
    UNAVAILABLE,
    GateParameters,
    Reading,
    RoundEvidence,
    Status,
    WorkerEvidence,
    judge,
)
from guard.lanes import Lane, pack_lanes, unpack_lanes
from guard.settlement import Settlement, decode_settlement, encode_settlement
from guard.spec import committee as spec
from guard.spec import gate as gate_spec
from guard.spec import merge as merge_spec
from guard.spec.gate import Lane as LiteralLane
from guard.state import GateState
from guard.weights import Q32, CoalitionHistory, merge_weights, norm_q80
from tests.guard import strategies
from tests.vectors.load import (
    Case,
    evidence_of,
    guards_of,
    name_of,
    number,
    parameters_of,
    raw,
    reading_of,
    section,
)

FULL = 2**256 - 1


def sound(code: int, norm2: int = 10**6, exponent: int = 0) -> WorkerEvidence:
    return WorkerEvidence(Status.COMMITTED, Reading(code, norm2, exponent))


def size_of(reading: Reading) -> int:
    """Give norm2 * 4^exponent, times 4^64."""
    return reading.norm2 << 2 * (reading.exponent + 64)


# ---- golden


@pytest.mark.parametrize("case", section("committees"), ids=name_of)
def test_committee_golden(case: Case) -> None:
    guards = guards_of(case)
    if case["reading"] is None:
        with pytest.raises(QuorumError) as caught:
            committee_reading(guards)
        assert caught.value.needed == quorum(len(guards)) > caught.value.sound
        return
    reading = committee_reading(guards)
    assert reading == reading_of(case["reading"])
    assert guard_scores(guards, reading.code) == tuple(case["scores"])
    first = guard_lanes([Lane()] * len(guards), guards, reading.code, 1)
    assert merged_guard(guards, first) == case["mergedGuard"]


@pytest.mark.parametrize("case", section("committeeGates"), ids=name_of)
def test_round_golden(case: Case) -> None:
    evidence = evidence_of(case)
    verdict = judge(parameters_of(case), evidence)
    assert verdict.scores == tuple(case["scores"])
    assert verdict.guard_scores == tuple(case["guardScores"])
    assert verdict.median == case["median"]
    assert verdict.approved == number(case["approved"])
    assert verdict.yardstick == case["yardstickAfter"]
    assert verdict.lane_words == tuple(number(word) for word in case["laneWordsAfter"])
    assert evidence.merged_guard == case["mergedGuard"]
    assert verdict.approved >> len(evidence.workers) == 0


@pytest.mark.parametrize("case", section("committeeGates"), ids=name_of)
def test_payload_golden(case: Case) -> None:
    evidence = evidence_of(case)
    settlement = Settlement(
        anchor=evidence.anchor,
        median=case["median"],
        workers=evidence.workers,
        trace_root=raw(case["traceRoot"]),
        poster=case["poster"],
        guards=evidence.guards,
        seed_prefix=raw(case["seed"])[:20],
    )
    assert encode_settlement(settlement) == raw(case["payload"])
    assert settlement.presence == number(case["presence"])
    assert (
        decode_settlement(
            raw(case["payload"]), number(case["presence"]), len(evidence.workers), len(evidence.guards)
        )
        == settlement
    )


def test_state_and_weights_golden_over_rounds() -> None:
    games: dict[str, GateState] = {}
    for case in section("committeeGates"):
        evidence, parameters = evidence_of(case), parameters_of(case)
        game = case["name"].rsplit(",", 1)[0]
        state = games.get(game) or replace(
            GateState.start(len(evidence.workers), len(evidence.guards)), lane_words=evidence.lane_words
        )
        assert state.lane_words == evidence.lane_words
        assert state.yardstick == evidence.yardstick
        posted = decode_settlement(
            raw(case["payload"]), number(case["presence"]), len(evidence.workers), len(evidence.guards)
        )
        assert state.median(parameters, replace(posted, median=0)) == case["median"]
        decision = state.decide(parameters, case["round"], posted)
        games[game] = decision.after
        assert decision.weights.indices == tuple(case["indices"])
        assert decision.weights.weights == tuple(case["weights"])
        assert decision.weights.anchor == case["anchorWeight"]
        assert decision.weights.preimage(7, case["round"]) == raw(case["weightsPreimage"])
        for i, j, value in case["pairs"]:
            assert decision.after.coalition.pair(i, j) == value


# ---- fast path and spec


@given(strategies.guards())
@settings(max_examples=150)
def test_reading_equals_spec(guards: tuple[WorkerEvidence, ...]) -> None:
    posted = [strategies.posted(guard) for guard in guards]
    try:
        expected = spec.reading(posted)
    except spec.NoQuorum:
        with pytest.raises(QuorumError):
            committee_reading(guards)
        return
    reading = committee_reading(guards)
    assert strategies.posted(reading) == expected
    assert list(guard_scores(guards, reading.code)) == spec.scores(posted, expected.code)
    first = guard_lanes([Lane()] * len(guards), guards, reading.code, 1)
    literal = spec.next_lanes([LiteralLane()] * len(guards), posted, expected.code, 1)
    assert merged_guard(guards, first) == spec.merged_guard(posted, literal)


@given(
    strategies.guards(),
    strategies.words,
    st.lists(strategies.lanes, min_size=15, max_size=15),
    st.integers(1, 2**32 - 1),
)
def test_lanes_equal_spec(
    guards: tuple[WorkerEvidence, ...], code: int, lanes: list[Lane], round_number: int
) -> None:
    before = lanes[: len(guards)]
    after = guard_lanes(before, guards, code, round_number)
    assert [strategies.literal_lane(lane) for lane in after] == spec.next_lanes(
        [strategies.literal_lane(lane) for lane in before],
        [strategies.posted(guard) for guard in guards],
        code,
        round_number,
    )
    for lane, old, guard in zip(after, before, guards, strict=True):
        assert lane.llr == old.llr
        if guard.status == Status.ABSENT:
            assert lane == old


@given(strategies.parameter_sets() | st.just(GateParameters()), strategies.committee_rounds())
@settings(max_examples=150)
def test_judge_equals_spec(parameters: GateParameters, evidence: RoundEvidence) -> None:
    verdict = judge(parameters, evidence)
    expected = strategies.literal_verdict(parameters, evidence)
    posted = [strategies.posted(guard) for guard in evidence.guards]
    before = unpack_lanes(evidence.lane_words, evidence.members)[len(evidence.workers) :]
    of_guards = spec.next_lanes(
        [strategies.literal_lane(lane) for lane in before], posted, evidence.anchor.code, evidence.round
    )
    assert verdict.approved == expected.approved
    assert verdict.yardstick == expected.yardstick
    assert list(verdict.scores) == expected.scores
    assert list(verdict.lane_words) == gate_spec.lane_words([*expected.lanes, *of_guards])
    assert [strategies.literal_lane(lane) for lane in verdict.guard_lanes] == of_guards
    assert len(verdict.lanes) == len(evidence.workers)


@given(strategies.parameter_sets() | st.just(GateParameters()), strategies.committee_rounds())
@settings(max_examples=100)
def test_weights_equal_spec(parameters: GateParameters, evidence: RoundEvidence) -> None:
    g, workers = strategies.literal(parameters), len(evidence.workers)
    verdict = judge(parameters, evidence)
    history = CoalitionHistory(workers).after(parameters, evidence, verdict)
    anchor, posted = strategies.posted(evidence.anchor), [strategies.posted(w) for w in evidence.workers]
    banned = [bool(verdict.banned >> i & 1) for i in range(workers)]
    pairs = merge_spec.coalition(g, {}, anchor, posted, banned)
    guards = [strategies.posted(guard) for guard in evidence.guards]
    before = unpack_lanes(evidence.lane_words, evidence.members)[workers:]
    after = spec.next_lanes(
        [strategies.literal_lane(lane) for lane in before], guards, anchor.code, evidence.round
    )
    merged = guards[spec.merged_guard(guards, after)]
    lanes = [strategies.literal_lane(lane) for lane in verdict.lanes]
    expected = merge_spec.weights(g, pairs, anchor, posted, lanes, verdict.approved, merged)
    given_ = merge_weights(parameters, history, evidence, verdict)
    assert list(given_.indices) == expected.indices
    assert list(given_.weights) == expected.weights
    assert given_.anchor == expected.anchor
    assert sum(given_.weights) <= Q32


# ---- what a minority can do


@st.composite
def lying_committees(draw: st.DrawFn) -> tuple[tuple[WorkerEvidence, ...], list[Reading]]:
    """Guards of which a majority is honest, sound and near to one word; and the honest ones' readings."""
    count = draw(st.sampled_from([3, 5, 7, 9, 11, 13, 15]))
    liars = draw(st.sets(st.integers(0, count - 1), max_size=count - quorum(count)))
    common, noise = draw(strategies.words), draw(st.integers(0, FULL))
    guards = []
    for number_ in range(count):
        if number_ in liars:
            guards.append(draw(strategies.workers(strategies.readings)))
            continue
        # Honest anchors differ, but only where the noise lets them.
        code = common ^ draw(st.integers(0, FULL)) & noise
        guards.append(sound(code, draw(st.integers(1, 2**40)), draw(st.integers(-12, -8))))
    honest = [guard.reading for k, guard in enumerate(guards) if k not in liars and guard.reading]
    return tuple(guards), honest


@given(lying_committees())
@settings(max_examples=150)
def test_a_minority_moves_no_bit_on_which_the_honest_agree(
    case: tuple[tuple[WorkerEvidence, ...], list[Reading]],
) -> None:
    guards, honest = case
    reading = committee_reading(guards)
    all_set, any_set = FULL, 0
    for one in honest:
        all_set, any_set = all_set & one.code, any_set | one.code
    agreed = all_set | ~any_set & FULL
    assert (reading.code ^ honest[0].code) & agreed == 0


@given(lying_committees())
@settings(max_examples=150)
def test_a_minority_cannot_push_the_norm_out_of_the_honest_ones(
    case: tuple[tuple[WorkerEvidence, ...], list[Reading]],
) -> None:
    guards, honest = case
    sizes = sorted(size_of(one) for one in honest)
    assert sizes[0] <= size_of(committee_reading(guards)) <= sizes[-1]


def test_a_lying_majority_does_move_the_word() -> None:
    """What the two tests above rest on: at exactly half of the guards it is over."""
    guards = (sound(0), sound(FULL), sound(FULL))
    assert committee_reading(guards).code == FULL
    assert committee_reading((sound(0), sound(FULL), ABSENT)).code == FULL
    assert committee_reading((sound(0), sound(FULL), sound(0))).code == 0


def test_a_mirrored_guard_changes_no_verdict_and_its_lane_shows_it() -> None:
    truth = (2**256 - 1) // 5
    workers = tuple(sound(truth ^ (1 << 20 * i) - 1) for i in range(4))

    def judged(third: WorkerEvidence) -> RoundEvidence:
        guards = (sound(truth), sound(truth), third)
        return RoundEvidence(1, committee_reading(guards), workers, (0, 0), guards=guards)

    honest, lying = (judge(GateParameters(), judged(g)) for g in (sound(truth), sound(truth ^ FULL)))
    assert (lying.approved, lying.median) == (honest.approved, honest.median) == (0b1111, honest.median)
    assert lying.yardstick == honest.yardstick > 1
    assert lying.lanes == honest.lanes
    assert lying.guard_scores == (256, 256, -256)
    assert [(lane.accepted, lane.refused) for lane in lying.guard_lanes] == [(1, 0), (1, 0), (0, 1)]
    assert [lane.ema for lane in lying.guard_lanes] == [4096, 4096, -4096]
    assert all(lane.llr == 0 for lane in lying.guard_lanes)


def test_a_guard_is_never_banned_however_long_it_disagrees() -> None:
    truth = (2**256 - 1) // 3
    lanes: tuple[int, ...] = (0,)
    guards = (sound(truth), sound(truth), sound(truth ^ FULL))
    for round_number in range(1, 60):
        evidence = RoundEvidence(
            round_number, committee_reading(guards), (sound(truth),), lanes, 1, None, guards
        )
        verdict = judge(GateParameters(), evidence)
        lanes = verdict.lane_words
    lane = verdict.guard_lanes[2]
    assert (lane.llr, lane.accepted, lane.refused, lane.last_round) == (0, 0, 59, 59)
    assert verdict.banned == 0


def test_the_order_of_the_guards_does_not_matter_but_for_equals() -> None:
    guards = tuple(sound(k * 0x123456789ABCDEF, k + 1) for k in range(5))
    assert committee_reading(guards) == committee_reading(guards[::-1])
    # Equal norms: the first of them gives the exponent.
    assert committee_reading((sound(0, 4, 0), sound(0, 1, 1), sound(0, 4, 0))).exponent == 1
    assert committee_reading((sound(0, 1, 1), sound(0, 4, 0), sound(0, 4, 0))).exponent == 0


def test_one_guard_is_its_own_committee() -> None:
    reading = Reading(5, 7, -3)
    assert committee_reading((WorkerEvidence(Status.COMMITTED, reading),)) == reading
    with pytest.raises(QuorumError):
        committee_reading((UNAVAILABLE,))


def test_merge_uses_the_norm_of_the_merged_update() -> None:
    """The band of the clip is the committee's; the clip of the anchor's term is that of what is merged."""
    code = (2**256 - 1) // 7
    guards = (sound(code ^ 1 << 9, 10**6), sound(code, 4 * 10**6), sound(code ^ 1 << 7, 10**6))
    workers = tuple(sound(code ^ (1 << 40) - 1 << 50 * i, 10**6) for i in range(3))
    evidence = RoundEvidence(1, committee_reading(guards), workers, (0, 0), guards=guards)
    assert (evidence.merged_guard, evidence.anchor.norm2) == (1, 10**6)
    assert evidence.merged_reading == guards[1].reading
    verdict = judge(GateParameters(), evidence)
    history = CoalitionHistory(3).after(GateParameters(), evidence, verdict)
    weights = merge_weights(GateParameters(), history, evidence, verdict)
    share = 1500 * Q32 // 10_000
    assert norm_q80(evidence.merged_reading) == 2 * norm_q80(evidence.anchor)
    # Twice the target norm: half of the share.
    assert weights.anchor == share // 2

    nothing = (guards[0], sound(code, 0), guards[2])
    evidence = replace(evidence, guards=nothing, anchor=committee_reading(nothing))
    assert evidence.merged_reading.norm2 == 0 < evidence.anchor.norm2
    assert merge_weights(GateParameters(), history, evidence, verdict).anchor == 0


def test_one_round_does_not_put_a_guard_ahead_that_has_disagreed_before() -> None:
    code = (2**256 - 1) // 7
    guards = (sound(code ^ 0xFF), sound(code ^ 0xFF << 20), sound(code))
    lanes = (Lane(ema=64 * 100), Lane(ema=64 * 120), Lane(ema=-64 * 200))
    words = pack_lanes((Lane(), *lanes))
    evidence = RoundEvidence(9, committee_reading(guards), (sound(code),), words, guards=guards)
    assert guard_scores(guards, evidence.anchor.code) == (240, 240, 256)
    assert evidence.merged_guard == 1
    # Among guards without a past it would be first.
    fresh = replace(evidence, lane_words=pack_lanes((Lane(),) * 4))
    assert fresh.merged_guard == 2


# ---- payloads


@st.composite
def settlements(draw: st.DrawFn) -> Settlement:
    evidence = draw(strategies.committee_rounds())
    return Settlement(
        anchor=evidence.anchor,
        median=draw(st.integers(-256, 256)),
        workers=evidence.workers,
        trace_root=draw(st.binary(min_size=32, max_size=32)),
        poster=draw(st.integers(0, len(evidence.guards) - 1)),
        guards=evidence.guards,
    )


def decoded(payload: bytes, settlement: Settlement) -> Settlement:
    return decode_settlement(payload, settlement.presence, len(settlement.workers), settlement.guard_count)


@given(settlements())
def test_settlement_round_trip_equals_spec(settlement: Settlement) -> None:
    payload = encode_settlement(settlement)
    members = [strategies.posted(member) for member in settlement.entries]
    anchor = strategies.posted(settlement.anchor)
    assert len(payload) == 160 + 41 * settlement.presence.bit_count()
    assert payload == gate_spec.encode_payload(
        anchor, settlement.median, members, settlement.trace_root, settlement.poster
    )
    assert decoded(payload, settlement) == settlement
    assert gate_spec.decode_payload(payload, settlement.presence, len(members)) == (
        anchor,
        settlement.median,
        members,
        settlement.trace_root,
    )
    assert payload[139] == settlement.poster


@given(settlements(), st.data())
@settings(max_examples=150)
def test_settlement_with_other_bytes_is_another_or_refused(
    settlement: Settlement, data: st.DataObject
) -> None:
    payload = bytearray(encode_settlement(settlement))
    at = data.draw(st.one_of(st.integers(0, len(payload) - 1), st.integers(0, 159)))
    payload[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decoded(bytes(payload), settlement)
    except PayloadError:
        return
    assert other != settlement
    assert encode_settlement(other) == bytes(payload)


@given(st.binary(max_size=800), st.integers(0, 2**9 - 1), st.sampled_from([3, 5, 7]))
def test_any_bytes_are_a_settlement_or_refused(payload: bytes, presence: int, guards: int) -> None:
    payload = payload.ljust(160 + 41 * (presence & (1 << 2 + guards) - 1).bit_count(), b"\0")
    try:
        settlement = decode_settlement(payload, presence, 2, guards)
    except PayloadError:
        return
    assert encode_settlement(settlement) == payload


WORKERS = (sound(0x55), ABSENT, MALFORMED)
GUARDS = (sound(0x33, 5), sound(0x3C, 7), sound(0x0F, 6), UNAVAILABLE, ABSENT)
POSTED = Settlement(committee_reading(GUARDS), 12, WORKERS, bytes(range(32)), 3, GUARDS)
# Entries: worker 0, worker 2, guards 3, 4, 5, 6; six of them.


def with_bytes(at: int, new: bytes) -> bytes:
    payload = bytearray(encode_settlement(POSTED))
    payload[at : at + len(new)] = new
    return bytes(payload)


@pytest.mark.parametrize(
    ("payload", "match"),
    [
        (encode_settlement(POSTED)[:-1], "bytes for 6 entries"),
        (encode_settlement(POSTED) + b"\0", "bytes for 6 entries"),
        (b"", "bytes for 6 entries"),
        (with_bytes(139, b"\x05"), "guard 5 is named as the poster"),
        (with_bytes(139, b"\xff"), "guard 255 is named as the poster"),
        (with_bytes(95, b"\xc0"), "absent"),
        (with_bytes(94, b"\1"), "absent"),
        (with_bytes(127, b"\x44"), "overlap"),
        (with_bytes(137, b"\x01\x01"), "median"),
        (with_bytes(137, b"\xfe\xff"), "median"),
        (with_bytes(31, bytes([POSTED.anchor.code & 0xFF ^ 1])), "committee's reading"),
        (with_bytes(135, b"\x07"), "committee's reading"),
        (with_bytes(136, b"\x01"), "committee's reading"),
        (with_bytes(136, b"\x40"), "exponent"),
        (with_bytes(160 + 40 * 6 + 2, b"\xbf"), "exponent"),
        (with_bytes(160 + 32 * 5, b"\1"), "member 6 has no reading"),
        (with_bytes(160 + 32 * 6 + 8 * 5 + 7, b"\1"), "member 6 has no reading"),
        (with_bytes(160 + 40 * 6 + 5, b"\1"), "member 6 has no reading"),
        # A guard's word, norm or exponent is not the one that the header was made of.
        (with_bytes(160 + 32 * 2 + 31, b"\0"), "committee's reading"),
        (with_bytes(160 + 32 * 6 + 8 * 2 + 7, b"\x09"), "committee's reading"),
    ],
)
def test_every_rule_of_the_payload_is_checked(payload: bytes, match: str) -> None:
    assert decoded(encode_settlement(POSTED), POSTED) == POSTED
    with pytest.raises(PayloadError, match=match):
        decoded(payload, POSTED)


def test_payload_without_a_majority_of_sound_guards_is_refused() -> None:
    """The bytes that a poster would need to drop two guards more: a header of the one that is left."""
    left = (GUARDS[0], UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, ABSENT)
    members = [strategies.posted(member) for member in (*WORKERS, *left)]
    payload = gate_spec.encode_payload(members[3], 12, members)
    with pytest.raises(PayloadError, match="1 guards with a sound anchor, 3 are needed"):
        decode_settlement(payload, POSTED.presence, 3, 5)
    with pytest.raises(QuorumError):
        encode_settlement(replace(POSTED, guards=left))


def test_one_guard_posts_as_number_zero_alone() -> None:
    alone = Settlement(Reading(1, 2, 3), 0, (sound(7),))
    payload = bytearray(encode_settlement(alone))
    assert (payload[139], decode_settlement(bytes(payload), 1, 1), alone.guard_count) == (0, alone, 1)
    payload[139] = 1
    with pytest.raises(PayloadError, match="poster"):
        decode_settlement(bytes(payload), 1, 1)


@pytest.mark.parametrize("guards", [-1, 0, 2, 4, 14, 16, 17])
def test_impossible_number_of_guards_is_refused(guards: int) -> None:
    listed = (sound(1),) * max(guards, 2)
    with pytest.raises((RangeError, EvidenceShapeError)):
        quorum(guards)
    with pytest.raises((RangeError, EvidenceShapeError)):
        decode_settlement(bytes(160), 0, 3, guards)
    with pytest.raises((RangeError, EvidenceShapeError)):
        GateState.start(3, guards)
    with pytest.raises((RangeError, EvidenceShapeError)):
        RoundEvidence(1, Reading(1, 10**6, 0), (), (0,) * (-(-len(listed) // 4)), guards=listed)


def test_other_impossible_input_is_refused() -> None:
    assert GUARDS_MAX == 15
    with pytest.raises(RangeError):
        committee_reading(())
    with pytest.raises(QuorumError):
        merged_guard((ABSENT, UNAVAILABLE, MALFORMED), (Lane(),) * 3)
    with pytest.raises(EvidenceShapeError, match="one guard"):
        RoundEvidence(1, Reading(1, 10**6, 0), (), (0,), guards=(sound(1),))
    with pytest.raises(EvidenceShapeError, match="committee's reading"):
        RoundEvidence(1, Reading(2, 10**6, 0), (), (0,), guards=(sound(1),) * 3)
    with pytest.raises(EvidenceShapeError, match="lane words"):
        RoundEvidence(1, Reading(1, 10**6, 0), (ABSENT,) * 2, (0,), guards=(sound(1),) * 3)
    for poster in (-1, 5):
        with pytest.raises(RangeError, match="poster"):
            encode_settlement(replace(POSTED, poster=poster))
    with pytest.raises(EvidenceShapeError, match="committee's reading"):
        encode_settlement(replace(POSTED, anchor=Reading(0, 0, 0)))
    with pytest.raises(EvidenceShapeError, match="258 members"):
        encode_settlement(replace(POSTED, workers=(ABSENT,) * 253))
    with pytest.raises(RangeError):
        decode_settlement(bytes(160), 0, 254, 3)


def test_state_of_several_guards_refuses_what_does_not_fit() -> None:
    parameters, state = GateParameters(), GateState.start(3, 5)
    assert state.lane_words == (0, 0)
    median = state.median(parameters, POSTED)
    decision = state.decide(parameters, 1, replace(POSTED, median=median))
    assert decision.after.lane_words == decision.verdict.lane_words
    with pytest.raises(MedianError):
        state.decide(parameters, 1, replace(POSTED, median=median + 2))
    with pytest.raises(EvidenceShapeError):
        GateState.start(3).decide(parameters, 1, replace(POSTED, median=median))


def test_overturned_worker_does_not_touch_the_lanes_of_guards() -> None:
    parameters, state = GateParameters(), GateState.start(3, 5)
    posted = replace(POSTED, median=state.median(parameters, POSTED))
    decision = state.decide(parameters, 1, posted)
    left = decision.without(parameters, 0b001)
    lanes = unpack_lanes(left.after.lane_words, 8)
    assert lanes[0] == Lane()
    assert lanes[3:] == decision.verdict.guard_lanes
    assert [lane.accepted + lane.refused for lane in lanes[3:]] == [1, 1, 1, 1, 0]
    with pytest.raises(RangeError):
        decision.without(parameters, 0b1000)


def test_errors_name_themselves() -> None:
    error = QuorumError(1, 3)
    assert isinstance(error, GuardError)
    assert (error.code, error.sound, error.needed) == ("guard_quorum", 1, 3)
    assert "voided" in error.hint
