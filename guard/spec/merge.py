"""docs/spec/merge.md: weights, coalition evidence, model root; the float arithmetic is the trainer's."""

from collections.abc import Sequence
from hashlib import sha256
from math import isqrt
from typing import NamedTuple

from guard.spec.gate import GateSpec, Lane, Posted, lower_median, score
from guard.spec.update import SEGMENT, tree_of_blocks

ONE = 2**32
Pairs = dict[tuple[int, int], int]
"""P: (i, j) with i < j -> 1/65536; a pair that is not there is 0."""


class Weights(NamedTuple):
    """Q32 weights of the approved, in cohort order, and of the anchor."""

    indices: list[int]
    weights: list[int]
    anchor: int


def coalition(
    g: GateSpec, pairs: Pairs, anchor: Posted, members: Sequence[Posted], banned: Sequence[bool]
) -> Pairs:
    """Give P after a settled round; ``banned`` is as it was before that round."""
    after = dict(pairs)
    seen = [i for i, p in enumerate(members) if p.status == 1 and not banned[i]]
    for i in seen:
        for j in seen:
            if i < j:
                s_ij = score(members[i].code, members[j].code)
                r = 256 * s_ij - score(members[i].code, anchor.code) * score(members[j].code, anchor.code)
                old = pairs.get((i, j), 0)
                after[i, j] = (g.coalitionKeepQ8 * old + (256 - g.coalitionKeepQ8) * r) // 256
    return after


def norm(posted: Posted) -> int:
    """Give N, the norm in 2^-80."""
    return isqrt(posted.norm2 << (2 * (posted.exponent + 64) + 32))


def weights(
    g: GateSpec,
    pairs: Pairs,
    anchor: Posted,
    members: Sequence[Posted],
    lanes: Sequence[Lane],
    approved: int,
    merged: Posted | None = None,
) -> Weights:
    """Give the weights of a round; ``pairs`` is P after it, ``lanes`` are those after it.

    ``anchor`` is the header; ``merged`` is what was posted for the guard whose update is merged, None for one
    guard, whose is the header.
    """
    chosen = [i for i in range(len(members)) if approved >> i & 1]
    if not chosen:
        return Weights([], [], 0)

    n_anchor = norm(anchor)
    t = lower_median([norm(members[i]) for i in chosen])
    if n_anchor > 0:
        t = max(g.clipLowPercent * n_anchor // 100, min(g.clipHighPercent * n_anchor // 100, t))

    between = [pairs.get((i, j), 0) for i in chosen for j in chosen if i < j]
    usual = sorted(between)[3 * (len(between) - 1) // 4] if between else 0
    v = []
    for i in chosen:
        twins = sum((members[i].code ^ members[j].code).bit_count() <= g.duplicateBits for j in chosen)
        beyond = sorted(
            max(0, pairs.get((min(i, j), max(i, j)), 0) - usual - g.coalitionThresholdQ16)
            for j in chosen
            if j != i
        )
        s_i = sum(beyond)
        group = sum(beyond[: max(0, len(beyond) - g.groupSpared)])
        group_i = group // len(beyond) if beyond else 0
        a_i = max(0, lanes[i].ema) + 64 * g.voteOffset
        less = g.coalitionPenalty * s_i + g.groupPenalty * group_i
        v.append(ONE // twins * 65536 // (65536 + less) * a_i)

    share = g.anchorShareBps * ONE // 10000 if n_anchor > 0 else 0
    given = []
    for i, v_i in zip(chosen, v, strict=True):
        c_i = min(ONE, t * ONE // norm(members[i]))
        given.append((ONE - share) * v_i * c_i // (sum(v) * ONE) if sum(v) else 0)
    n_merged = norm(merged or anchor)
    w_anchor = share * min(t * ONE // n_merged, 2**40) // ONE if n_merged > 0 else 0
    return Weights(chosen, given, w_anchor)


def weights_preimage(run: int, round_number: int, weights: Weights) -> bytes:
    """Give the bytes whose keccak is the weightsDigest."""
    return (
        b"hallmark.weights.v1"
        + run.to_bytes(8, "big")
        + round_number.to_bytes(4, "big")
        + weights.anchor.to_bytes(8, "big")
        + b"".join(
            i.to_bytes(1, "big") + w.to_bytes(8, "big")
            for i, w in zip(weights.indices, weights.weights, strict=True)
        )
    )


def pad(data: bytes) -> bytes:
    """Fill up to whole blocks of 8,192 bytes."""
    return data + bytes(-len(data) % SEGMENT)


def model_root(parameters: bytes, momentum: bytes, shape_digest: bytes) -> bytes:
    """Give the root of a model; both as float32 little-endian bytes, of equal length."""
    length = len(parameters) // 4
    return sha256(
        b"\x22"
        + shape_digest
        + length.to_bytes(8, "big")
        + tree_of_blocks(pad(parameters))
        + tree_of_blocks(pad(momentum))
    ).digest()


def model_file(parameters: bytes, momentum: bytes, shape_digest: bytes) -> bytes:
    """Give the bytes of a model file."""
    length = len(parameters) // 4
    return (
        b"HMMD" + bytes([1]) + bytes(3) + length.to_bytes(8, "little") + shape_digest + parameters + momentum
    )
