"""docs/spec/gate.md, "Several guards", bit by bit; which guard's update is merged (merge.md)."""

from collections.abc import Sequence

from guard.spec.gate import Lane, Posted, score


class NoQuorum(Exception):
    """Fewer than (G + 1) / 2 guards have a reading."""


def quorum(guards: int) -> int:
    """Give how many of G guards must have a reading."""
    return (guards + 1) // 2


def voters(guards: Sequence[Posted]) -> list[int]:
    """Give V: the numbers of the guards with status 1, ascending."""
    return [k for k, guard in enumerate(guards) if guard.status == 1]


def majority_code(guards: Sequence[Posted]) -> int:
    """Give the committee's word, one bit after the other."""
    v = voters(guards)
    code = 0
    for j in range(256):
        votes = 0
        for k in v:
            if guards[k].code >> j & 1:
                votes += 1
        if 2 * votes >= len(v):
            code |= 1 << j
    return code


def median_guard(guards: Sequence[Posted]) -> int:
    """Give the number of the guard whose norm and exponent are the committee's; norms times 4^64."""
    ranked = sorted((guards[k].norm2 * 4 ** (guards[k].exponent + 64), k) for k in voters(guards))
    return ranked[(len(ranked) - 1) // 2][1]


def reading(guards: Sequence[Posted]) -> Posted:
    """Give the committee's word, norm and exponent.

    Raises:
        NoQuorum: Too few guards have one.
    """
    if len(voters(guards)) < quorum(len(guards)):
        raise NoQuorum
    of = guards[median_guard(guards)]
    return Posted(1, majority_code(guards), of.norm2, of.exponent)


def scores(guards: Sequence[Posted], code: int) -> list[int | None]:
    """Give each guard's score against the committee's word; None: not status 1."""
    return [score(guard.code, code) if guard.status == 1 else None for guard in guards]


def next_lanes(lanes: Sequence[Lane], guards: Sequence[Posted], code: int, round_number: int) -> list[Lane]:
    """Give the guards' lanes after a round, for G > 1; one guard's lane stays 0."""
    after = []
    for lane, guard in zip(lanes, guards, strict=True):
        if guard.status == 0:
            after.append(lane)
            continue
        ema, agrees = lane.ema, False
        if guard.status == 1:
            s = score(guard.code, code)
            ema = lane.ema + ((64 * s - lane.ema) >> 2)
            agrees = s > 0
        accepted = min(8191, lane.accepted + agrees)
        refused = min(2047, lane.refused + (not agrees))
        after.append(Lane(ema, lane.llr, accepted, refused, round_number % 2048))
    return after


def merged_guard(guards: Sequence[Posted], lanes_after: Sequence[Lane]) -> int:
    """Give the number of the guard whose update is merged: highest ema, the first of equals."""
    best = -1
    for k in voters(guards):
        if best < 0 or lanes_after[k].ema > lanes_after[best].ema:
            best = k
    return best
