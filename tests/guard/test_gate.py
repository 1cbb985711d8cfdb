from dataclasses import replace
from itertools import combinations

import pytest
from eth_hash.auto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from guard import gate
from guard.errors import (
    EvidenceShapeError,
    GuardError,
    InputError,
    MedianError,
    ParametersRefusedError,
    RangeError,
)
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
from guard.spec import gate as spec
from tests.guard import strategies
from tests.vectors.load import Case, evidence_of, name_of, number, parameters_of, raw, section

CODE = (2**256 - 1) // 5
FULL = 2**256 - 1


def committed(code: int, norm2: int = 10**6, exponent: int = 0) -> WorkerEvidence:
    return WorkerEvidence(Status.COMMITTED, Reading(code, norm2, exponent))


@pytest.mark.parametrize("case", section("gates"), ids=name_of)
def test_judge_golden(case: Case) -> None:
    verdict = judge(parameters_of(case), evidence_of(case))
    assert verdict.scores == tuple(case["scores"])
    assert verdict.median == case["median"]
    assert verdict.approved == number(case["approved"])
    assert verdict.yardstick == case["yardstickAfter"]
    assert verdict.lane_words == tuple(number(word) for word in case["laneWordsAfter"])


@pytest.mark.parametrize("case", section("specs"), ids=lambda case: case["digest"][:10])
def test_parameters_golden(case: Case) -> None:
    if not case["accepted"]:
        with pytest.raises(InputError):
            parameters_of(case)
        return
    assert parameters_of(case).preimage() == raw(case["preimage"])


def test_spec_tag_is_keccak_of_its_name() -> None:
    assert keccak(b"hallmark.spec.v1") == gate.SPEC_TAG == spec.SPEC_TAG


def test_parameters_default_equals_spec() -> None:
    assert GateParameters().as_tuple() == tuple(spec.GateSpec())


def test_parameters_names_equal_spec() -> None:
    def camel(name: str) -> str:
        first, *rest = name.split("_")
        return first + "".join(word.capitalize() for word in rest)

    assert [camel(name) for name in GateParameters.__slots__] == list(spec.GateSpec._fields)


@given(
    st.integers(0, len(GateParameters.__slots__) - 1),
    st.sampled_from([-(2**31) - 1, -8193, -1, 0, 1, 8192, 10_001, 2**16 + 1, 2**32 - 1, 2**32]),
)
def test_parameters_are_refused_as_in_spec(field: int, value: int) -> None:
    values = list(GateParameters().as_tuple())
    values[field] = value
    is_accepted = True
    try:
        GateParameters(*values)
    except (RangeError, ParametersRefusedError):
        is_accepted = False
    assert is_accepted == spec.is_accepted_spec(spec.GateSpec(*values))


@given(strategies.parameter_sets() | st.just(GateParameters()), strategies.rounds())
@settings(max_examples=300)
def test_judge_equals_spec(parameters: GateParameters, evidence: RoundEvidence) -> None:
    verdict = judge(parameters, evidence)
    expected = strategies.literal_verdict(parameters, evidence)
    assert verdict.approved == expected.approved
    assert verdict.yardstick == expected.yardstick
    assert verdict.median == expected.median
    assert list(verdict.scores) == expected.scores
    assert [strategies.literal_lane(lane) for lane in verdict.lanes] == expected.lanes
    assert list(verdict.lane_words) == spec.lane_words([*expected.lanes, spec.Lane()])
    assert spec.is_median(verdict.median, _counted(parameters, evidence, verdict.banned))


def _counted(parameters: GateParameters, evidence: RoundEvidence, banned: int) -> list[int]:
    """Give the scores of J': of every pair of copies the later one is struck out."""
    codes = {
        i: worker.reading.code
        for i, worker in enumerate(evidence.workers)
        if worker.reading is not None and not banned >> i & 1
    }
    copies = {
        max(i, j)
        for i, j in combinations(codes, 2)
        if (codes[i] ^ codes[j]).bit_count() <= parameters.duplicate_bits
    }
    return [spec.score(code, evidence.anchor.code) for i, code in codes.items() if i not in copies]


def _round_of(codes: list[int], anchor: int, **members: WorkerEvidence) -> RoundEvidence:
    workers = [committed(code) for code in codes]
    for place, member in members.items():
        workers[int(place[1:])] = member
    return RoundEvidence(
        1, Reading(anchor, 10**6, 0), tuple(workers), pack_lanes([Lane()] * (len(workers) + 1))
    )


@pytest.mark.parametrize(
    ("masks", "counted"),
    [
        ([0, 0, 0, 0], [0]),
        ([0, 2**16 - 1], [0]),
        ([0, 2**17 - 1], [0, 1]),
        ([0, 2**16 - 1, 2**32 - 1], [0]),  # the third is a copy of the second, which is one of the first
        ([2**16 - 1, 0, 2**32 - 1], [0]),
        ([0, 2**32 - 1, 2**16 - 1], [0, 1]),
        ([0, 2**64 - 1, 2**128 - 1, 2**64 - 2], [0, 1, 2]),
    ],
)
def test_copies_count_once(masks: list[int], counted: list[int]) -> None:
    evidence = _round_of([CODE ^ mask for mask in masks], 0)
    scores = [spec.score(CODE ^ masks[i], 0) for i in counted]
    verdict = judge(GateParameters(), evidence)
    assert verdict.median == sorted(scores)[len(scores) // 2]
    # Everybody is judged.
    assert verdict.scores == tuple(spec.score(CODE ^ mask, 0) for mask in masks)
    assert all(lane.last_round == 1 for lane in verdict.lanes)


def test_who_is_not_judged_is_nobodys_twin() -> None:
    """The copies' score is high and the others' low: which one the upper median is hangs on who counts."""
    high, low = CODE, [CODE ^ 2**200 - 1, CODE ^ (2**200 - 1) << 50]
    codes = [high, high, *low]
    top, bottom = 256, 256 - 2 * 200
    assert judge(GateParameters(), _round_of(codes, CODE)).median == bottom
    # Were the first one a twin, the second would not count.
    for missing in (ABSENT, UNAVAILABLE, MALFORMED):
        evidence = _round_of([high, high, low[0]], CODE, w0=missing)
        assert judge(GateParameters(), evidence).median == top
    banned = replace(
        _round_of([high, high, low[0]], CODE), lane_words=pack_lanes([Lane(llr=8000), *[Lane()] * 3])
    )
    assert judge(GateParameters(), banned).median == top


@given(strategies.rounds(), st.randoms(use_true_random=False))
def test_judge_does_not_depend_on_order(evidence: RoundEvidence, random: object) -> None:
    order = list(range(len(evidence.workers)))
    random.shuffle(order)  # type: ignore[attr-defined]
    lanes = unpack_lanes(evidence.lane_words, len(order))
    shuffled = replace(
        evidence,
        workers=tuple(evidence.workers[i] for i in order),
        lane_words=pack_lanes([*(lanes[i] for i in order), Lane()]),
    )
    # Of words that are near and not equal, which ones are copies does depend on the order.
    parameters = GateParameters(duplicate_bits=0)
    one, other = judge(parameters, evidence), judge(parameters, shuffled)
    assert other.yardstick == one.yardstick
    assert other.lanes == tuple(one.lanes[i] for i in order)
    assert [other.is_approved(k) for k in range(len(order))] == [one.is_approved(i) for i in order]


@given(strategies.rounds(), st.integers(-20, 20))
def test_judge_does_not_depend_on_common_scale(evidence: RoundEvidence, shift: int) -> None:
    def moved(reading: Reading) -> Reading:
        return replace(reading, exponent=max(-64, min(63, reading.exponent + shift)))

    readings = [evidence.anchor, *(worker.reading for worker in evidence.workers if worker.reading)]
    if any(not -64 <= reading.exponent + shift <= 63 for reading in readings):
        return
    scaled = replace(
        evidence,
        anchor=moved(evidence.anchor),
        workers=tuple(
            worker if worker.reading is None else replace(worker, reading=moved(worker.reading))
            for worker in evidence.workers
        ),
    )
    assert judge(GateParameters(), scaled) == judge(GateParameters(), evidence)


@given(strategies.rounds())
def test_absent_and_banned_lanes_stay(evidence: RoundEvidence) -> None:
    before = unpack_lanes(evidence.lane_words, len(evidence.workers))
    verdict = judge(GateParameters(), evidence)
    for index, worker in enumerate(evidence.workers):
        if worker.status == Status.ABSENT or before[index].llr >= GateParameters().ban_from:
            assert verdict.lanes[index] == before[index]
            assert not verdict.is_approved(index)


@given(st.lists(strategies.words, min_size=1, max_size=8), strategies.words)
def test_no_evidence_is_never_guilt(codes: list[int], anchor: int) -> None:
    """While honest scores say nothing, the yardstick is 0 and no score counts against anybody."""
    lanes = pack_lanes([Lane()] * (len(codes) + 1))
    evidence = RoundEvidence(
        1, Reading(anchor, 10**6, 0), tuple(committed(c) for c in codes), lanes, yardstick=1
    )
    verdict = judge(GateParameters(yardstick_gain=0), evidence)
    assert verdict.yardstick == 1
    assert all(lane.llr == 0 for lane in verdict.lanes)


def test_eighty_rounds_without_agreement_ban_nobody() -> None:
    """Scores that scatter around 0 as in a converged model: the evidence fades with the yardstick."""
    parameters, lanes, yardstick = GateParameters(), pack_lanes([Lane()] * 7), 1 + 256 * 100
    noise = [24, -24, 10, -10, 16, -18]
    for number_ in range(1, 81):
        codes = [(1 << (256 - s) // 2) - 1 for s in noise[number_ % 6 :] + noise[: number_ % 6]]
        evidence = RoundEvidence(
            number_, Reading(0, 10**6, 0), tuple(map(committed, codes)), lanes, yardstick
        )
        verdict = judge(parameters, evidence)
        lanes, yardstick = verdict.lane_words, verdict.yardstick
    assert all(lane.llr < parameters.ban_from for lane in verdict.lanes)
    assert yardstick < 256 * 5


def test_without_a_yardstick_disagreement_passes_and_a_mirror_does_not() -> None:
    """Honest scores fall below -64 once a model has learnt its trusted samples by heart."""
    scores = [-126, -100, -66, -128, -130, -256]
    workers = tuple(committed((1 << (256 - s) // 2) - 1) for s in scores)
    lanes = pack_lanes([Lane()] * 7)
    verdict = judge(GateParameters(), RoundEvidence(5, Reading(0, 10**6, 0), workers, lanes, yardstick=1))
    assert list(verdict.scores) == scores
    assert verdict.yardstick == 1
    assert verdict.approved == 0b000111


def test_judge_false_median_is_proof_error() -> None:
    lanes = pack_lanes([Lane()] * 3)
    workers = (committed(CODE), committed(CODE ^ FULL))
    evidence = RoundEvidence(1, Reading(CODE, 10**6, 0), workers, lanes, 0, median=-256)
    with pytest.raises(MedianError) as caught:
        judge(GateParameters(), evidence)
    assert (caught.value.posted, caught.value.actual) == (-256, 256)


@given(strategies.readings, strategies.readings)
def test_is_alive_equals_spec_and_page(reading: Reading, anchor: Reading) -> None:
    parameters = GateParameters()
    alive = gate.is_alive(parameters, reading, anchor)
    g = strategies.literal(parameters)
    assert alive == spec.is_alive(g, reading.norm2, reading.exponent, anchor.norm2, anchor.exponent)
    k = reading.exponent - anchor.exponent
    if k >= 64:
        assert alive == (reading.norm2 > 0)
    if k <= -64:
        assert alive == (reading.norm2 > 0 and anchor.norm2 == 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Reading(2**256, 0, 0),
        lambda: Reading(-1, 0, 0),
        lambda: Reading(0, 2**64, 0),
        lambda: Reading(0, 0, 64),
        lambda: WorkerEvidence(Status.COMMITTED),
        lambda: WorkerEvidence(Status.MALFORMED, Reading(0, 0, 0)),
        lambda: RoundEvidence(1, Reading(0, 0, 0), (ABSENT,) * 256, (0,) * 64),
        lambda: RoundEvidence(1, Reading(0, 0, 0), (ABSENT,) * 4, (0,)),
        lambda: RoundEvidence(2**32, Reading(0, 0, 0), (), (0,)),
        lambda: GateParameters(version=2),
        lambda: GateParameters(yardstick_keep=10),
    ],
)
def test_impossible_input_is_refused(make: object) -> None:
    with pytest.raises(InputError) as caught:
        make()  # type: ignore[operator]
    assert isinstance(caught.value, GuardError)
    assert caught.value.code.startswith("guard_")
    assert isinstance(caught.value, (RangeError, EvidenceShapeError, ParametersRefusedError))
