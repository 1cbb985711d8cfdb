"""Random rounds for hypothesis, and their translation to the literal spec."""

from dataclasses import replace

from hypothesis import strategies as st

from guard.committee import committee_reading
from guard.gate import (
    ABSENT,
    MALFORMED,
    UNAVAILABLE,
    GateParameters,
    Reading,
    RoundEvidence,
    Status,
    WorkerEvidence,
)
from guard.lanes import Lane, pack_lanes, unpack_lanes
from guard.spec import gate as spec

words = st.one_of(
    st.integers(0, 2**256 - 1),
    st.sampled_from([0, 1, 2**255, 2**256 - 1, (2**256 - 1) // 3, (2**256 - 1) // 17]),
)
norms = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 5000), st.sampled_from([0, 1, 2**64 - 1]))
readings = st.builds(Reading, code=words, norm2=norms, exponent=st.integers(-64, 63))
similar_readings = st.builds(
    Reading, code=words, norm2=st.integers(10**6, 4 * 10**6), exponent=st.integers(-5, -4)
)
lanes = st.builds(
    Lane,
    ema=st.integers(-16384, 16383),
    llr=st.one_of(st.integers(-8192, 8191), st.integers(900, 1200), st.integers(7000, 7300)),
    accepted=st.integers(0, 8191),
    refused=st.integers(0, 2047),
    last_round=st.integers(0, 2047),
)
faults = st.sampled_from([ABSENT, UNAVAILABLE, MALFORMED])


def workers(of: st.SearchStrategy[Reading]) -> st.SearchStrategy[WorkerEvidence]:
    return st.one_of(of.map(lambda reading: WorkerEvidence(Status.COMMITTED, reading)), faults)


@st.composite
def near_each_other(draw: st.DrawFn, members: list[WorkerEvidence]) -> tuple[WorkerEvidence, ...]:
    """Make some words differ from an earlier one in few bits, or in none."""
    changed = list(members)
    for index, member in enumerate(members):
        earlier = [other.reading.code for other in changed[:index] if other.reading is not None]
        if member.reading is None or not earlier or not draw(st.booleans()):
            continue
        code = draw(st.sampled_from(earlier))
        for bit in draw(st.sets(st.integers(0, 255), max_size=33)):
            code ^= 1 << bit
        changed[index] = replace(member, reading=replace(member.reading, code=code))
    return tuple(changed)


@st.composite
def rounds(draw: st.DrawFn, max_workers: int = 9) -> RoundEvidence:
    source = draw(st.sampled_from([readings, similar_readings]))
    members = draw(near_each_other(draw(st.lists(workers(source), max_size=max_workers))))
    before = draw(st.lists(lanes, min_size=len(members), max_size=len(members)))
    return RoundEvidence(
        round=draw(st.integers(1, 2**32 - 1)),
        anchor=draw(source),
        workers=members,
        lane_words=pack_lanes([*before, Lane()]),
        yardstick=draw(st.one_of(st.integers(0, 70_000), st.sampled_from([0, 1, 65_537]))),
    )


def guards() -> st.SearchStrategy[tuple[WorkerEvidence, ...]]:
    """Any committee: 3 to 15 guards, sound or not; some have no majority."""
    return st.sampled_from([3, 5, 7, 15]).flatmap(
        lambda count: st.one_of(
            *(
                st.lists(source, min_size=count, max_size=count).map(tuple)
                for source in (workers(readings), readings.map(sound), similar_readings.map(sound))
            )
        )
    )


def sound(reading: Reading) -> WorkerEvidence:
    return WorkerEvidence(Status.COMMITTED, reading)


@st.composite
def committee_rounds(draw: st.DrawFn) -> RoundEvidence:
    """A round of a cohort whose guards have a majority."""
    evidence = draw(rounds(max_workers=6))
    members = draw(guards())
    needed = (len(members) + 1) // 2
    members = (*(sound(draw(similar_readings)) for _ in range(needed)), *members[needed:])
    order = draw(st.permutations(range(len(members))))
    members = tuple(members[k] for k in order)
    before = unpack_lanes(evidence.lane_words, len(evidence.workers))
    of_guards = draw(st.lists(lanes, min_size=len(members), max_size=len(members)))
    return RoundEvidence(
        round=evidence.round,
        anchor=committee_reading(members),
        workers=evidence.workers,
        lane_words=pack_lanes([*before, *of_guards]),
        yardstick=evidence.yardstick,
        guards=members,
    )


@st.composite
def parameter_sets(draw: st.DrawFn) -> GateParameters:
    divisor = draw(st.integers(1, 2**16))
    accept = draw(st.integers(1, 8191))
    return GateParameters(
        yardstick_keep=draw(st.integers(0, divisor - 1)),
        yardstick_gain=draw(st.integers(0, 2**16)),
        yardstick_divisor=divisor,
        yardstick_offset=draw(st.integers(0, 256)),
        evidence_divisor=draw(st.integers(1, 2**31)),
        evidence_min=draw(st.integers(-(2**31), 0)),
        evidence_max=draw(st.integers(0, 2**31 - 1)),
        evidence_floor=draw(st.integers(-8192, 0)),
        fault_evidence=draw(st.integers(0, 2**31 - 1)),
        accept_below=accept,
        ban_from=draw(st.integers(accept, 8191)),
        score_above=draw(st.integers(-(2**31), 2**31 - 1)),
        alive_factor=draw(st.integers(1, 2**16)),
        clip_low_percent=draw(st.integers(0, 100)),
        clip_high_percent=draw(st.integers(100, 1000)),
        duplicate_bits=draw(st.integers(0, 256)),
        coalition_keep_q8=draw(st.integers(0, 256)),
        coalition_threshold_q16=draw(st.integers(0, 2**13) | st.integers(0, 2**32 - 1)),
        coalition_penalty=draw(st.integers(0, 2**32 - 1)),
        group_spared=draw(st.integers(0, 3) | st.integers(0, 256)),
        group_penalty=draw(st.integers(0, 2**32 - 1)),
        vote_offset=draw(st.integers(0, 256)),
        anchor_share_bps=draw(st.integers(0, 10_000)),
    )


def literal(parameters: GateParameters) -> spec.GateSpec:
    return spec.GateSpec(*parameters.as_tuple())


def posted(worker: WorkerEvidence | Reading) -> spec.Posted:
    if isinstance(worker, Reading):
        return spec.Posted(1, worker.code, worker.norm2, worker.exponent)
    if worker.reading is None:
        return spec.Posted(int(worker.status))
    return spec.Posted(1, worker.reading.code, worker.reading.norm2, worker.reading.exponent)


def literal_lane(lane: Lane) -> spec.Lane:
    return spec.Lane(lane.ema, lane.llr, lane.accepted, lane.refused, lane.last_round)


def literal_verdict(parameters: GateParameters, evidence: RoundEvidence) -> spec.Verdict:
    return spec.gate(
        literal(parameters),
        evidence.round,
        posted(evidence.anchor),
        [posted(worker) for worker in evidence.workers],
        [literal_lane(lane) for lane in unpack_lanes(evidence.lane_words, len(evidence.workers))],
        evidence.yardstick,
    )
