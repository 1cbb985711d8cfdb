"""The gate: what one round's posted words, norms and exponents make of every worker."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from guard.committee import check_guards, guard_lanes, guard_scores, merged_guard
from guard.errors import EvidenceShapeError, MedianError, ParametersRefusedError
from guard.evidence import (
    ABSENT,
    MALFORMED,
    MEMBERS_MAX,
    UNAVAILABLE,
    Reading,
    Status,
    WorkerEvidence,
    check_range,
)
from guard.lanes import LLR_MAX, Lane, pack_lanes, unpack_lanes
from guard.score import first_of_copies, score, upper_median

__all__ = [
    "ABSENT",
    "MALFORMED",
    "MEMBERS_MAX",
    "SPEC_TAG",
    "UNAVAILABLE",
    "GateParameters",
    "Reading",
    "RoundEvidence",
    "RoundVerdict",
    "Status",
    "WorkerEvidence",
    "bitmap",
    "is_alive",
    "judge",
    "lane_word_count",
    "next_llr",
    "next_yardstick",
]

# The keccak256 of "hallmark.spec.v1".
SPEC_TAG = bytes.fromhex("acd3706e05309cfdac1e4b33ded92d746787a54f8ad2c6c3285cb4398fda523f")

_SIGNED_FIELDS = frozenset(
    {
        "evidence_min",
        "evidence_max",
        "evidence_floor",
        "fault_evidence",
        "accept_below",
        "ban_from",
        "score_above",
    }
)


@dataclass(frozen=True, slots=True)
class GateParameters:
    """The constants of a run, immutable once its ``GateSpec`` contract is deployed.

    Names, order, types and meaning are those of the table in docs/spec/gate.md; ``llr`` limits are in
    1/1024 nat, the yardstick is in 1/256.

    Raises:
        RangeError: A field does not fit its type; fault of the caller.
        ParametersRefusedError: The fields contradict each other; fault of the caller.
    """

    version: int = 1
    sketch_version: int = 1
    yardstick_keep: int = 7
    yardstick_gain: int = 576
    yardstick_divisor: int = 10
    yardstick_offset: int = 4
    evidence_divisor: int = 73728
    evidence_min: int = -2191
    evidence_max: int = 2560
    evidence_floor: int = -4710
    fault_evidence: int = 2560
    accept_below: int = 1024
    ban_from: int = 7168
    score_above: int = -128
    alive_factor: int = 256
    challenge_window_s: int = 0
    settle_window_s: int = 3600
    clip_low_percent: int = 75
    clip_high_percent: int = 150
    duplicate_bits: int = 16
    coalition_keep_q8: int = 218
    coalition_threshold_q16: int = 1966
    coalition_penalty: int = 6
    group_spared: int = 2
    group_penalty: int = 1_296
    vote_offset: int = 12
    anchor_share_bps: int = 1500
    outer_lr_micro: int = 700_000
    outer_momentum_micro: int = 900_000

    def __post_init__(self) -> None:
        for name, value in zip(self.__slots__, self.as_tuple(), strict=True):
            low, high = (-(2**31), 2**31 - 1) if name in _SIGNED_FIELDS else (0, 2**32 - 1)
            check_range(name, value, low, high)
        for rule, holds in (
            ("version = sketchVersion = 1", self.version == self.sketch_version == 1),
            ("0 < yardstickDivisor <= 2^16", 0 < self.yardstick_divisor <= 2**16),
            ("yardstickKeep < yardstickDivisor", self.yardstick_keep < self.yardstick_divisor),
            ("yardstickGain <= 2^16", self.yardstick_gain <= 2**16),
            ("yardstickOffset <= 256", self.yardstick_offset <= 256),
            ("0 < evidenceDivisor <= 2^31", 0 < self.evidence_divisor <= 2**31),
            ("0 < aliveFactor <= 2^16", 0 < self.alive_factor <= 2**16),
            ("-8192 <= evidenceFloor <= 0", -8192 <= self.evidence_floor <= 0),
            ("0 < acceptBelow <= banFrom <= 8191", 0 < self.accept_below <= self.ban_from <= LLR_MAX),
            ("evidenceMin <= 0 <= evidenceMax", self.evidence_min <= 0 <= self.evidence_max),
            ("faultEvidence >= 0", self.fault_evidence >= 0),
            (
                "clipLowPercent <= 100 <= clipHighPercent",
                self.clip_low_percent <= 100 <= self.clip_high_percent,
            ),
            ("clipHighPercent <= 1000", self.clip_high_percent <= 1000),
            ("coalitionKeepQ8 <= 256", self.coalition_keep_q8 <= 256),
            ("duplicateBits <= 256", self.duplicate_bits <= 256),
            ("groupSpared <= 256", self.group_spared <= 256),
            ("voteOffset <= 256", self.vote_offset <= 256),
            ("anchorShareBps <= 10000", self.anchor_share_bps <= 10_000),
        ):
            if not holds:
                raise ParametersRefusedError(rule)

    def as_tuple(self) -> tuple[int, ...]:
        """Give the fields in the order in which the contract takes them."""
        return astuple(self)

    def preimage(self) -> bytes:
        """Give the bytes whose keccak256 is the specDigest: a tag and every field, 32 bytes each."""
        return SPEC_TAG + b"".join(value.to_bytes(32, "big", signed=True) for value in self.as_tuple())


@dataclass(frozen=True, slots=True)
class RoundEvidence:
    """Everything on which the verdicts of a round depend.

    Attributes:
        round: Number of the round, 1..2^32-1.
        anchor: What workers are judged against: the reading of the guard's anchor, or of several guards the
            committee's.
        workers: All members of the cohort but the guards, which are last; in cohort order, at most 255.
        lane_words: ceil(members / 4) words as the last round left them; members counts the guards.
        yardstick: The yardstick word as the last round left it; 0 before the first.
        median: The posted median, or None to have it computed.
        guards: Of a cohort with several guards all of them, in cohort order; empty for one guard.

    Raises:
        EvidenceShapeError: There are too many workers, another number of lane words, an even number of
            guards, or the anchor is not their committee's reading; fault of the caller.
        QuorumError: Too few guards have a reading; fault of whoever did not deliver.
        RangeError: A number does not fit; fault of the caller.
    """

    round: int
    anchor: Reading
    workers: tuple[WorkerEvidence, ...]
    lane_words: tuple[int, ...]
    yardstick: int = 0
    median: int | None = None
    guards: tuple[WorkerEvidence, ...] = ()

    def __post_init__(self) -> None:
        check_range("round", self.round, 0, 2**32 - 1)
        check_range("yardstick", self.yardstick, 0, 2**32 - 1)
        if self.members > MEMBERS_MAX:
            raise EvidenceShapeError(f"{self.members} members, a cohort has at most {MEMBERS_MAX}")
        if len(self.lane_words) != lane_word_count(self.members):
            raise EvidenceShapeError(f"{len(self.lane_words)} lane words for {self.members} members")
        if self.guards:
            check_guards(self.guards, self.anchor)

    @property
    def members(self) -> int:
        """Number of members of the cohort, the guards included."""
        return len(self.workers) + self.guard_count

    @property
    def guard_count(self) -> int:
        """Number of guards of the cohort."""
        return max(1, len(self.guards))

    @property
    def merged_guard(self) -> int:
        """Number of the guard whose update is merged as the anchor; 0 for one guard."""
        if not self.guards:
            return 0
        before = unpack_lanes(self.lane_words, self.members)[len(self.workers) :]
        return merged_guard(self.guards, guard_lanes(before, self.guards, self.anchor.code, self.round))

    @property
    def merged_reading(self) -> Reading:
        """Reading of the update that is merged as the anchor."""
        merged = self.guards[self.merged_guard].reading if self.guards else None
        return merged or self.anchor


@dataclass(frozen=True, slots=True)
class RoundVerdict:
    """What a round leaves behind.

    Attributes:
        approved: Bit i is set iff the worker with cohort index i is approved.
        banned: Bit i is set iff the worker with cohort index i was banned before this round.
        median: Upper median of the judged scores, copies left out, -256..256; 0 if there are none.
        yardstick: The yardstick word after the round.
        lane_words: The lane words after the round.
        scores: One score for each worker, None unless its status is COMMITTED.
        guard_scores: Of several guards each one's score against the committee's word, None unless its status
            is COMMITTED; empty for one guard.
    """

    approved: int
    banned: int
    median: int
    yardstick: int
    lane_words: tuple[int, ...]
    scores: tuple[int | None, ...]
    guard_scores: tuple[int | None, ...] = ()

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes after the round, one for each worker."""
        return unpack_lanes(self.lane_words, len(self.scores))

    @property
    def guard_lanes(self) -> tuple[Lane, ...]:
        """The lanes after the round, one for each guard."""
        workers = len(self.scores)
        return unpack_lanes(self.lane_words, workers + max(1, len(self.guard_scores)))[workers:]

    def is_approved(self, index: int) -> bool:
        """Tell whether the worker with this cohort index is approved."""
        return bool(self.approved >> index & 1)


def lane_word_count(members: int) -> int:
    """Give the number of words that the lanes of so many members fill: ceil(members / 4)."""
    return -(-members // 4)


def judge(parameters: GateParameters, evidence: RoundEvidence) -> RoundVerdict:
    """Judge one round.

    The yardstick moves first, then each worker's evidence under the new yardstick, then the verdict. A score
    that is missing (the yardstick is 0, the worker is absent) adds nothing: no evidence is never guilt. Words
    that are copies of an earlier worker's are judged like all others, and do not count in the median. Of
    several guards the lanes keep how far each one agreed with the committee; one guard's lane stays as it is.

    Args:
        parameters: The constants of the run.
        evidence: What the round has on everybody.

    Returns:
        The verdicts and what the next round starts from.

    Raises:
        MedianError: The posted median is false; fault of the guard that posted it.
        RangeError: The exponents or lanes are out of range; fault of the caller.

    Source:
        docs/spec/gate.md, One round and Several guards; design.md 4.3.
    """
    every_lane = unpack_lanes(evidence.lane_words, evidence.members)
    lanes, of_guards = every_lane[: len(evidence.workers)], every_lane[len(evidence.workers) :]
    is_banned = [lane.llr >= parameters.ban_from for lane in lanes]
    scores = tuple(
        None if worker.reading is None else score(worker.reading.code, evidence.anchor.code)
        for worker in evidence.workers
    )
    judged = [
        (s, worker.reading.code)
        for worker, s, out in zip(evidence.workers, scores, is_banned, strict=True)
        if worker.reading is not None and s is not None and not out
    ]
    counts = first_of_copies([code for _, code in judged], parameters.duplicate_bits)
    median = upper_median([s for (s, _), is_counted in zip(judged, counts, strict=True) if is_counted])
    if evidence.median is not None and evidence.median != median:
        raise MedianError(evidence.median, median)

    yardstick = next_yardstick(parameters, evidence.yardstick, len(judged), median)
    approved = 0
    after = list(lanes)
    for index, (worker, s) in enumerate(zip(evidence.workers, scores, strict=True)):
        if worker.status == Status.ABSENT or is_banned[index]:
            continue
        llr = next_llr(parameters, lanes[index].llr, yardstick, s)
        passes = (
            worker.reading is not None
            and s is not None
            and llr < parameters.accept_below
            and s > parameters.score_above
            and is_alive(parameters, worker.reading, evidence.anchor)
        )
        approved |= passes << index
        after[index] = lanes[index].judged(evidence.round, llr, s, passes)
    if evidence.guards:
        of_guards = guard_lanes(of_guards, evidence.guards, evidence.anchor.code, evidence.round)
    return RoundVerdict(
        approved=approved,
        banned=bitmap(is_banned),
        median=median,
        yardstick=yardstick,
        lane_words=pack_lanes((*after, *of_guards)),
        scores=scores,
        guard_scores=guard_scores(evidence.guards, evidence.anchor.code),
    )


def next_yardstick(parameters: GateParameters, yardstick: int, judged: int, median: int) -> int:
    """Give the yardstick word after a round.

    g = gain * (x - offset), and t = floor(g / (divisor - keep)) is where m would settle if the median stayed.
    m = max(0, t) at first, later max(0, min(t, floor((keep * m + g) / divisor))): it rises slowly, falls at
    once, because what honest workers no longer do is no evidence against them. The word is m + 1.

    Args:
        parameters: The constants of the run.
        yardstick: The word before the round, 0 if there is none yet.
        judged: Number of committed workers that are not banned; with none of them the word stays.
        median: Upper median x of their scores, copies left out.

    Returns:
        The word, 0..2^32-1.

    Source:
        docs/spec/gate.md, One round and Yardstick word.
    """
    if judged == 0:
        return yardstick
    gained = parameters.yardstick_gain * (median - parameters.yardstick_offset)
    settled = gained // (parameters.yardstick_divisor - parameters.yardstick_keep)
    if yardstick == 0:
        return max(0, settled) + 1
    moved = (parameters.yardstick_keep * (yardstick - 1) + gained) // parameters.yardstick_divisor
    return max(0, min(settled, moved)) + 1


def next_llr(parameters: GateParameters, llr: int, yardstick: int, s: int | None) -> int:
    """Give a worker's evidence after a round, in 1/1024 nat.

    Args:
        parameters: The constants of the run.
        llr: Its evidence before the round.
        yardstick: The yardstick word after the round's median moved it.
        s: Its score, None if its update is unavailable or malformed.

    Returns:
        The evidence, evidence_floor..8191.

    Source:
        docs/spec/gate.md, One round.
    """
    if s is None:
        increment = parameters.fault_evidence
    else:
        m = max(0, yardstick - 1)
        weighed = (m - 512 * s) * m // parameters.evidence_divisor
        increment = min(max(weighed, parameters.evidence_min), parameters.evidence_max)
    return min(max(llr + increment, parameters.evidence_floor), LLR_MAX)


def is_alive(parameters: GateParameters, reading: Reading, anchor: Reading) -> bool:
    """Tell whether an update is not tiny beside the anchor.

    norm2 > 0 and alive_factor * norm2 * 4^e >= anchorNorm2 * 4^eAnchor, exactly.
    """
    shift = 2 * (reading.exponent - anchor.exponent)
    left = parameters.alive_factor * reading.norm2 << max(0, shift)
    return reading.norm2 > 0 and left >= anchor.norm2 << max(0, -shift)


def bitmap(bits: Sequence[bool]) -> int:
    """Give the word whose bit i is ``bits[i]``."""
    return sum(1 << index for index, bit in enumerate(bits) if bit)
