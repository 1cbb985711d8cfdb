"""Several guards: the one reading that workers are judged against, and what becomes of each guard's own.

Every guard trains its own anchor. The committee's word is the majority of their words, bit by bit, and its
norm the median of their norms: whatever a minority posts, it moves no bit on which the others agree, and the
norm stays between two of theirs.
"""

from collections.abc import Sequence
from dataclasses import replace

from guard.errors import EvidenceShapeError, QuorumError
from guard.evidence import Reading, Status, WorkerEvidence, check_range
from guard.lanes import Lane
from guard.score import score

GUARDS_MAX = 15
"""Most guards of a cohort."""

_PLANES = 4


def check_guard_count(guards: int) -> None:
    """Refuse a number of guards that no cohort has: they are odd in number, 1..15.

    Raises:
        RangeError: It is below 1 or above 15; fault of the caller.
        EvidenceShapeError: It is even; fault of the caller.
    """
    check_range("guards", guards, 1, GUARDS_MAX)
    if guards % 2 == 0:
        raise EvidenceShapeError(f"{guards} guards: they must be odd in number")


def quorum(guards: int) -> int:
    """Give how many of the guards make a majority: (guards + 1) / 2.

    Args:
        guards: Number of guards of the cohort, odd, 1..15.

    Raises:
        RangeError: It is below 1 or above 15; fault of the caller.
        EvidenceShapeError: It is even; fault of the caller.
    """
    check_guard_count(guards)
    return (guards + 1) // 2


def committee_reading(guards: Sequence[WorkerEvidence]) -> Reading:
    """Give the reading that workers are judged against.

    V is the guards with a reading. Bit j of the word is 1 iff at least half of V has it set: a tie is 1, as
    the sign of a sum of 0 is. Norm and exponent are those of the guard of rank floor((|V| - 1) / 2), with V
    ordered by (norm2 * 4^exponent, guard number): the lower median.

    Args:
        guards: All guards of the cohort, in cohort order; an odd number, 1..15.

    Returns:
        The committee's reading; with one guard its own.

    Raises:
        QuorumError: V is fewer than a majority of the guards; fault of whoever did not deliver.
        RangeError: There are no guards, or more than 15; fault of the caller.
        EvidenceShapeError: Their number is even; fault of the caller.

    Source:
        docs/spec/gate.md, Several guards; ADR 15.
    """
    needed = quorum(len(guards))
    readings = [guard.reading for guard in guards if guard.reading is not None]
    if len(readings) < needed:
        raise QuorumError(len(readings), needed)
    # Sorting is stable, so the guard's number decides between equals.
    ordered = sorted(readings, key=lambda reading: reading.norm2 << 2 * (reading.exponent + 64))
    return replace(ordered[(len(ordered) - 1) // 2], code=_majority([reading.code for reading in readings]))


def _majority(codes: Sequence[int]) -> int:
    """Give the word of the bits that at least half of the words have set; 1 to 15 words.

    256 counters side by side, four bits each: plane p holds bit p of all of them. They start at
    8 - ceil(n / 2), so a counter has reached 8, and the top plane its bit, iff ceil(n / 2) words had it.
    """
    full = 2**256 - 1
    preset = 8 - (len(codes) + 1) // 2
    planes = [full if preset >> plane & 1 else 0 for plane in range(_PLANES)]
    for carry in codes:
        for plane in range(_PLANES):
            planes[plane], carry = planes[plane] ^ carry, planes[plane] & carry
    return planes[-1]


def check_guards(guards: Sequence[WorkerEvidence], anchor: Reading) -> None:
    """Refuse several guards that are no committee, or another anchor than theirs.

    Args:
        guards: All guards of a cohort that has more than one, in cohort order.
        anchor: What is said to be the committee's reading.

    Raises:
        EvidenceShapeError: They are one, or even in number, or the anchor is another; fault of the caller.
        QuorumError: Too few guards have a reading; fault of whoever did not deliver.
        RangeError: They are more than 15; fault of the caller.
    """
    check_guard_count(len(guards))
    if len(guards) == 1:
        raise EvidenceShapeError("one guard's reading is the anchor; it is not listed beside it")
    reading = committee_reading(guards)
    if anchor != reading:
        raise EvidenceShapeError(f"the anchor is {anchor}, but the committee's reading is {reading}")


def guard_scores(guards: Sequence[WorkerEvidence], code: int) -> tuple[int | None, ...]:
    """Give each guard's score against the committee's word, None for a guard without a reading.

    Args:
        guards: All guards of the cohort, in cohort order.
        code: The committee's word.

    Raises:
        RangeError: The word does not fit in 256 bits; fault of the caller.
    """
    return tuple(None if guard.reading is None else score(guard.reading.code, code) for guard in guards)


def merged_guard(guards: Sequence[WorkerEvidence], lanes: Sequence[Lane]) -> int:
    """Give the number of the guard whose update is merged as the anchor.

    Of those with a reading it is the one that has agreed most with the committees so far: the highest mean
    score, the first of equals. One round says little once a model has learnt what there is to learn, when
    anchors hardly agree; a guard that lies does not get ahead of honest ones by the luck of one round.

    Args:
        guards: All guards of the cohort, in cohort order.
        lanes: Their lanes after the round, in the same order: :func:`guard_lanes`.

    Returns:
        The guard's number, 0..14; its cohort index is the number of workers more.

    Raises:
        QuorumError: No guard has a reading; fault of whoever did not deliver.

    Source:
        docs/spec/merge.md, Weights; ADR 15.
    """
    means = {
        number: lane.ema
        for number, (guard, lane) in enumerate(zip(guards, lanes, strict=True))
        if guard.reading is not None
    }
    if not means:
        raise QuorumError(0, 1)
    # max gives the first of equals.
    return max(means, key=lambda number: means[number])


def guard_lanes(
    lanes: Sequence[Lane], guards: Sequence[WorkerEvidence], code: int, round_number: int
) -> tuple[Lane, ...]:
    """Give the guards' lanes after a round: how far each one agreed with the committee.

    A guard with a reading moves its ema as a worker does, and counts as accepted if its score is above 0;
    one whose update is unavailable or malformed counts as refused; an absent one stays as it is. llr never
    moves: another anchor is no proof of fraud, so no guard is ever banned.

    Args:
        lanes: The guards' lanes before the round, in cohort order.
        guards: The guards' evidence, in the same order.
        code: The committee's word.
        round_number: The round.

    Returns:
        As many lanes.

    Source:
        docs/spec/gate.md, Several guards.
    """
    return tuple(
        lane
        if guard.status == Status.ABSENT
        else lane.judged(round_number, lane.llr, s, s is not None and s > 0)
        for lane, guard, s in zip(lanes, guards, guard_scores(guards, code), strict=True)
    )
