"""Merge weights: Q32 integers that follow from what is on the chain and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Self

import numpy as np
import numpy.typing as npt

from guard.errors import EvidenceShapeError, RangeError
from guard.gate import MEMBERS_MAX, GateParameters, Reading, RoundEvidence, RoundVerdict
from guard.score import CODE_BITS, lower_median, pairwise_distances, upper_quartile

Q32 = 2**32
_ANCHOR_FACTOR_MAX = 2**40
_PAIR_LIMIT = 2**17
_TAG = b"hallmark.weights.v1"


@dataclass(frozen=True, slots=True)
class MergeWeights:
    """What every approved update, and the anchor, weighs in the merge of one round.

    Attributes:
        indices: Cohort indices of the approved workers, ascending.
        weights: Their weights in Q32, each 0..2^32.
        anchor: The anchor's weight in Q32, 0..2^40; 0 if nothing was approved. Of several guards the anchor
            is the update of ``RoundEvidence.merged_guard``.
    """

    indices: tuple[int, ...]
    weights: tuple[int, ...]
    anchor: int

    def preimage(self, run: int, round_number: int) -> bytes:
        """Give the bytes whose keccak256 is the weightsDigest.

        Args:
            run: Number of the run, 0..2^64-1.
            round_number: Number of the round, 0..2^32-1.

        Returns:
            39 + 9 n bytes for n approved workers.

        Source:
            docs/spec/merge.md, Weights.
        """
        entries = (
            index.to_bytes(1, "big") + weight.to_bytes(8, "big")
            for index, weight in zip(self.indices, self.weights, strict=True)
        )
        head = (
            _TAG + run.to_bytes(8, "big") + round_number.to_bytes(4, "big") + self.anchor.to_bytes(8, "big")
        )
        return head + b"".join(entries)


class CoalitionHistory:
    """P: what each pair of workers agreed on beyond the anchor, round after round. Immutable.

    Attributes:
        workers: Number of members but the guards, 0..255.
    """

    __slots__ = ("_pairs", "workers")

    def __init__(self, workers: int) -> None:
        """Give the history before the first round: all zero.

        Raises:
            RangeError: There are not 0..255 workers; fault of the caller.
        """
        if not 0 <= workers < MEMBERS_MAX:
            raise RangeError("workers", workers, 0, MEMBERS_MAX - 1)
        self.workers = workers
        # int64, shape (workers, workers), symmetric, zero on the diagonal; values in +-2^17.
        self._pairs: npt.NDArray[np.int64] = np.zeros((workers, workers), dtype=np.int64)

    def after(self, parameters: GateParameters, evidence: RoundEvidence, verdict: RoundVerdict) -> Self:
        """Give the history after one settled round.

        P_ij = floor((keep * P_ij + (256 - keep) * (256 * s_ij - s_i * s_j)) / 256) for the pairs that were
        both committed and not banned before the round; the others stay.

        Args:
            parameters: The constants of the run.
            evidence: What the round had on everybody.
            verdict: What :func:`guard.gate.judge` made of it.

        Returns:
            A new history.

        Raises:
            EvidenceShapeError: The round has another number of workers; fault of the caller.

        Source:
            docs/spec/merge.md, Coalition evidence.
        """
        if len(evidence.workers) != self.workers:
            raise EvidenceShapeError(f"{len(evidence.workers)} workers, the history has {self.workers}")
        seen: list[int] = []
        codes: list[int] = []
        for index, worker in enumerate(evidence.workers):
            if worker.reading is not None and not verdict.banned >> index & 1:
                seen.append(index)
                codes.append(worker.reading.code)
        history = type(self)(self.workers)
        history._pairs[:] = self._pairs
        if not seen:
            return history

        distances = pairwise_distances([*codes, evidence.anchor.code])
        scores = CODE_BITS - 2 * distances
        to_anchor = scores[-1, :-1]
        excess = 256 * scores[:-1, :-1] - np.outer(to_anchor, to_anchor)
        keep = parameters.coalition_keep_q8
        block = np.ix_(seen, seen)
        # >> floors, as the page asks for.
        history._pairs[block] = (keep * self._pairs[block] + (256 - keep) * excess) >> 8
        np.fill_diagonal(history._pairs, 0)
        return history

    def pair(self, i: int, j: int) -> int:
        """Give P_ij in 1/65536 for two different workers."""
        return int(self._pairs[i, j])

    def among(self, indices: Sequence[int]) -> npt.NDArray[np.int64]:
        """Give P among some workers, int64, shape (n, n), symmetric, zero on the diagonal."""
        chosen = list(indices)
        pairs: npt.NDArray[np.int64] = self._pairs[np.ix_(chosen, chosen)]
        return pairs

    def to_ints(self) -> tuple[int, ...]:
        """Give all pairs i < j, row by row: (0, 1), (0, 2), ..., (1, 2), ...; n (n - 1) / 2 integers."""
        return tuple(self._pairs[np.triu_indices(self.workers, 1)].tolist())

    @classmethod
    def from_ints(cls, workers: int, pairs: Sequence[int]) -> Self:
        """Restore what :meth:`to_ints` gave.

        Args:
            workers: Number of members but the guards, 0..255.
            pairs: n (n - 1) / 2 integers in +-2^17.

        Returns:
            The history.

        Raises:
            EvidenceShapeError: There is another number of pairs; fault of the caller.
            RangeError: A pair or the number of workers is out of range; fault of the caller.
        """
        history = cls(workers)
        if len(pairs) != workers * (workers - 1) // 2:
            raise EvidenceShapeError(f"{len(pairs)} pairs do not belong to {workers} workers")
        for value in pairs:
            if not -_PAIR_LIMIT <= value <= _PAIR_LIMIT:
                raise RangeError("pair", value, -_PAIR_LIMIT, _PAIR_LIMIT)
        upper = np.triu_indices(workers, 1)
        history._pairs[upper] = pairs
        history._pairs.T[upper] = pairs
        return history

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CoalitionHistory):
            return NotImplemented
        return self.workers == other.workers and bool(np.array_equal(self._pairs, other._pairs))

    def __hash__(self) -> int:
        return hash((self.workers, self._pairs.tobytes()))


def merge_weights(
    parameters: GateParameters, history: CoalitionHistory, evidence: RoundEvidence, verdict: RoundVerdict
) -> MergeWeights:
    """Give the weights of one round.

    A norm clip to a band around the anchor's norm, one shared weight for near-duplicates, less for those
    whose codes agree beyond what the anchor explains, more for those who have agreed more with the anchors,
    and a fixed share for the anchor. Of several guards the band is around the committee's norm, and the
    anchor is the update of the guard that has agreed most so far; its own clip uses its own norm.

    Args:
        parameters: The constants of the run.
        history: Coalition evidence after this round: ``history.after(parameters, evidence, verdict)``.
        evidence: What the round had on everybody.
        verdict: What :func:`guard.gate.judge` made of it.

    Returns:
        The weights; none at all if nothing was approved.

    Raises:
        EvidenceShapeError: Evidence, verdict and history are of different cohorts, or a worker without a
            reading is approved; fault of the caller.

    Source:
        docs/spec/merge.md, Weights; design.md 4.4.
    """
    if not len(evidence.workers) == len(verdict.scores) == history.workers:
        raise EvidenceShapeError("evidence, verdict and coalition history have different numbers of workers")
    indices = [index for index in range(len(evidence.workers)) if verdict.is_approved(index)]
    if not indices:
        return MergeWeights((), (), 0)
    readings = []
    for index in indices:
        reading = evidence.workers[index].reading
        if reading is None or reading.norm2 == 0:
            raise EvidenceShapeError(f"worker {index} is approved without a reading, or with an empty update")
        readings.append(reading)

    norms = [norm_q80(reading) for reading in readings]
    anchor_norm = norm_q80(evidence.anchor)
    target = _target_norm(parameters, norms, anchor_norm)
    clips = [min(Q32, target * Q32 // norm) for norm in norms]
    lanes = verdict.lanes
    agreed = [max(0, lanes[index].ema) + 64 * parameters.vote_offset for index in indices]
    votes = _votes(parameters, history.among(indices), [reading.code for reading in readings], agreed)
    share = parameters.anchor_share_bps * Q32 // 10_000 if anchor_norm else 0
    total = sum(votes) * Q32
    weights = [(Q32 - share) * v * c // total if total else 0 for v, c in zip(votes, clips, strict=True)]
    merged = norm_q80(evidence.merged_reading)
    anchor = share * min(target * Q32 // merged, _ANCHOR_FACTOR_MAX) // Q32 if merged else 0
    return MergeWeights(tuple(indices), tuple(weights), anchor)


def norm_q80(reading: Reading) -> int:
    """Give the norm of an update in 2^-80: isqrt(norm2 << (2 * (e + 64) + 32))."""
    return isqrt(reading.norm2 << (2 * (reading.exponent + 64) + 32))


def _target_norm(parameters: GateParameters, norms: Sequence[int], anchor_norm: int) -> int:
    """Give the norm to which larger ones are cut: the median, kept in a band around the anchor's."""
    median = lower_median(norms)
    if not anchor_norm:
        return median
    low = parameters.clip_low_percent * anchor_norm // 100
    high = parameters.clip_high_percent * anchor_norm // 100
    return min(max(median, low), high)


def _votes(
    parameters: GateParameters, pairs: npt.NDArray[np.int64], codes: Sequence[int], agreed: Sequence[int]
) -> list[int]:
    """Give each approved worker's vote: more for having agreed more, less for copies, pairs and groups."""
    twins = (pairwise_distances(codes) <= parameters.duplicate_bits).sum(axis=1).tolist()
    usual = upper_quartile(pairs[np.triu_indices(len(codes), 1)].tolist())
    beyond = np.maximum(0, pairs - usual - parameters.coalition_threshold_q16)
    np.fill_diagonal(beyond, 0)
    beyond.sort(axis=1)
    # The diagonal's zero stands first in every row and is nobody: what is spared is taken from the end.
    groups = beyond[:, : max(0, len(codes) - parameters.group_spared)].sum(axis=1) // max(1, len(codes) - 1)
    less = [
        parameters.coalition_penalty * everybody + parameters.group_penalty * group
        for everybody, group in zip(beyond.sum(axis=1).tolist(), groups.tolist(), strict=True)
    ]
    return [
        Q32 // count * 65536 // (65536 + penalty) * ema
        for count, penalty, ema in zip(twins, less, agreed, strict=True)
    ]
