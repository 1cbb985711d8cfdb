"""A run without a chain: the same training, gate and merge, in one loop that can be read in one sitting.

The challenge of a round is drawn from the run's seed instead of a block hash; everything else that decides is
the same integers and the same code as on the chain. Meant for baselines, research and tests.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from guard.gate import ABSENT, MALFORMED, Reading, Status, WorkerEvidence, bitmap
from guard.settlement import Settlement
from guard.signs import ROW_VALUES, SeedSigns
from guard.sketch import Sketch
from guard.state import GateState
from guard.weights import MergeWeights
from trainer.config import RunConfig
from trainer.errors import NumericError
from trainer.fleet import Fleet, RoundWork, WorkerUpdate
from trainer.merge import Weighted, merge
from trainer.tasks import Metric
from trainer.worker import FloatArray

Defence = Literal["gate", "mean", "honest_only"]

Q32 = 1 << 32


@dataclass(frozen=True, slots=True)
class SimulatedRound:
    """What happened in one round.

    Attributes:
        round_number: 1 for the first.
        metric: Test of the model after the round.
        statuses: Per worker; ABSENT also for one whose training diverged.
        approved: Per worker: whether its update was merged.
        banned: Per worker: whether it was banned after the round.
        scores: Per worker: SCS, None unless committed under a gate.
        llrs: Per worker: evidence after the round, in 1/1024 nat; 0 without a gate.
        yardstick: The yardstick word after the round; 0 without a gate.
    """

    round_number: int
    metric: Metric
    statuses: tuple[Status, ...]
    approved: tuple[bool, ...]
    banned: tuple[bool, ...]
    scores: tuple[int | None, ...]
    llrs: tuple[int, ...]
    yardstick: int


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """A finished simulation.

    Attributes:
        config: The run.
        defence: What decided.
        rounds: One entry per round.
        theta: The final parameters, float32 [d].
    """

    config: RunConfig
    defence: Defence
    rounds: tuple[SimulatedRound, ...]
    theta: FloatArray

    @property
    def final(self) -> Metric:
        """Test of the final model."""
        return self.rounds[-1].metric

    @property
    def honest(self) -> tuple[int, ...]:
        """Indices of the honest workers."""
        return tuple(i for i in range(self.config.workers) if i not in self.config.malicious)

    def accepted_share(self, workers: tuple[int, ...]) -> float:
        """Give the share of these workers' handed-in contributions that was merged; 0 if there were none."""
        verdicts = [r.approved[i] for r in self.rounds for i in workers if r.statuses[i] != Status.ABSENT]
        return sum(verdicts) / len(verdicts) if verdicts else 0.0

    def honest_refusals(self) -> tuple[int, ...]:
        """Give, per round, how many honest contributions were refused."""
        return tuple(
            sum(r.statuses[i] != Status.ABSENT and not r.approved[i] for i in self.honest)
            for r in self.rounds
        )

    def banned(self, workers: tuple[int, ...]) -> int:
        """Give how many of these workers are banned at the end."""
        return sum(self.rounds[-1].banned[i] for i in workers)


def simulate(
    config: RunConfig,
    defence: Defence = "gate",
    *,
    seed_leaks: bool = False,
    on_round: Callable[[SimulatedRound], None] | None = None,
) -> SimulationResult:
    """Run a training without a chain.

    Args:
        config: The run.
        defence: "gate": guard, verdicts and weights as on the chain. "mean": the plain mean of all that is
            well-formed, no anchor. "honest_only": the plain mean of the honest workers, the oracle that knows
            who cheats.
        seed_leaks: Attackers know the round's challenge before they commit, as if the projection were fixed.
        on_round: Called after each round, for progress.

    Returns:
        Metric, verdicts and scores of every round.

    Raises:
        TaskError: The task cannot be set up.
        NumericError: The guard's own training diverged.
    """
    fleet = Fleet(config, with_attackers=defence != "honest_only", with_guard=defence == "gate")
    referee = _Gate(config) if defence == "gate" else _PlainMean(config)
    theta, momentum = fleet.theta, np.zeros_like(fleet.theta)
    rounds: list[SimulatedRound] = []
    for round_number in range(1, config.rounds + 1):
        seed = challenge_seed(config.seed, round_number)
        last_seed = challenge_seed(config.seed, round_number - 1) if round_number > 1 else None
        work = fleet.train_round(round_number, theta, known_seed=seed if seed_leaks else last_seed)
        ruling = referee.rule(round_number, work, seed)
        theta, momentum = merge(
            theta,
            momentum,
            merge_terms(work, ruling.weights),
            outer_lr_micro=config.gate.outer_lr_micro,
            outer_momentum_micro=config.gate.outer_momentum_micro,
        )
        rounds.append(_record(round_number, fleet.evaluate(theta), ruling))
        if on_round is not None:
            on_round(rounds[-1])
    return SimulationResult(config, defence, tuple(rounds), theta)


def challenge_seed(run_seed: int, round_number: int) -> bytes:
    """Give the 32 bytes that stand in for a block hash; nothing in the fleet derives anything from them."""
    return hashlib.sha256(f"hallmark.simulated-challenge\n{run_seed}\n{round_number}".encode()).digest()


def merge_terms(work: RoundWork, weights: MergeWeights) -> list[Weighted]:
    """Give the terms of merge(): the approved updates in cohort order, then the anchor if it has a weight.

    Args:
        work: The round's updates.
        weights: Whom to merge, with which weight.

    Returns:
        Nothing if nothing was approved.
    """
    by_worker = {update.worker: update for update in work.updates}
    terms = [
        Weighted(by_worker[index].values, by_worker[index].exponent, weight)
        for index, weight in zip(weights.indices, weights.weights, strict=True)
    ]
    if terms and work.anchor is not None and weights.anchor:
        terms.append(Weighted(work.anchor.values, work.anchor.exponent, weights.anchor))
    return terms


def read_update(update: WorkerUpdate, signs: SeedSigns) -> WorkerEvidence:
    """Give the status and the reading that the guard would post for this update.

    Args:
        update: What was handed in.
        signs: The round's signs.

    Returns:
        MALFORMED for a copied root (the header under it names another worker) and for a value of -128;
        otherwise word, norm and exponent.
    """
    rows = np.zeros(-(-len(update.values) // ROW_VALUES) * ROW_VALUES, dtype=np.int8)
    rows[: len(update.values)] = update.values
    sketch = Sketch(signs)
    sketch.update(rows)
    if update.copies is not None or sketch.has_minus_128:
        return MALFORMED
    return WorkerEvidence(Status.COMMITTED, Reading(sketch.code(), sketch.norm2, update.exponent))


@dataclass(frozen=True, slots=True)
class _Ruling:
    """What a referee decided on one round."""

    evidence: tuple[WorkerEvidence, ...]
    approved: int
    weights: MergeWeights
    banned: int = 0
    scores: tuple[int | None, ...] = ()
    llrs: tuple[int, ...] = ()
    yardstick: int = 0


class _Gate:
    """The guard, with what it carries from round to round."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._state = GateState.start(config.workers)

    def rule(self, round_number: int, work: RoundWork, seed: bytes) -> _Ruling:
        parameters = self._config.gate
        signs = SeedSigns(seed)
        anchor = None if work.anchor is None else read_update(work.anchor, signs).reading
        if anchor is None:
            raise NumericError(f"the guard has no anchor in round {round_number}: its training diverged")
        draft = Settlement(anchor, 0, _cohort(self._config, work, signs))
        settlement = replace(draft, median=self._state.median(parameters, draft))
        decision = self._state.decide(parameters, round_number, settlement)
        self._state = decision.after
        llrs = tuple(lane.llr for lane in decision.verdict.lanes)
        return _Ruling(
            evidence=settlement.workers,
            approved=decision.verdict.approved,
            weights=decision.weights,
            banned=bitmap([llr >= parameters.ban_from for llr in llrs]),
            scores=decision.verdict.scores,
            llrs=llrs,
            yardstick=decision.verdict.yardstick,
        )


class _PlainMean:
    """No guard: every well-formed update counts the same."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def rule(self, round_number: int, work: RoundWork, seed: bytes) -> _Ruling:  # noqa: ARG002
        workers = _cohort(self._config, work, SeedSigns(seed))
        indices = tuple(i for i, worker in enumerate(workers) if worker.status == Status.COMMITTED)
        weights = MergeWeights(indices, (Q32 // max(1, len(indices)),) * len(indices), 0)
        return _Ruling(workers, bitmap([i in indices for i in range(len(workers))]), weights)


def _cohort(config: RunConfig, work: RoundWork, signs: SeedSigns) -> tuple[WorkerEvidence, ...]:
    evidence = [ABSENT] * config.workers
    for update in work.updates:
        evidence[update.worker] = read_update(update, signs)
    return tuple(evidence)


def _record(round_number: int, metric: Metric, ruling: _Ruling) -> SimulatedRound:
    count = len(ruling.evidence)
    return SimulatedRound(
        round_number=round_number,
        metric=metric,
        statuses=tuple(worker.status for worker in ruling.evidence),
        approved=tuple(bool(ruling.approved >> i & 1) for i in range(count)),
        banned=tuple(bool(ruling.banned >> i & 1) for i in range(count)),
        scores=ruling.scores or (None,) * count,
        llrs=ruling.llrs or (0,) * count,
        yardstick=ruling.yardstick,
    )
