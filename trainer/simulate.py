"""A run without a chain: the same training, gate and merge, in one loop that can be read in one sitting.

The challenge of a round is drawn from the run's seed instead of a block hash; everything else that decides is
the same integers and the same code as on the chain. Meant for baselines, research and tests. What decides is
a gate policy of trainer.defences; the training before it is the same for all of them.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from guard.gate import Status
from guard.lanes import Lane
from guard.weights import MergeWeights
from trainer.attacks import PublicRecord
from trainer.config import RunConfig
from trainer.defences import PolicySetup, RoundView, Ruling, defence_named
from trainer.defences.hallmark import is_malformed, read_update
from trainer.fleet import Fleet, RoundWork
from trainer.merge import Weighted, merge
from trainer.quantise import dequantise
from trainer.tasks import Metric
from trainer.worker import FloatArray

__all__ = [
    "Defence",
    "SimulatedRound",
    "SimulationResult",
    "challenge_seed",
    "merge_terms",
    "read_update",
    "simulate",
]

Defence = str
"""Name of a gate policy, see trainer.defences."""


@dataclass(frozen=True, slots=True)
class SimulatedRound:
    """What happened in one round.

    Attributes:
        round_number: 1 for the first.
        metric: Test of the model after the round.
        statuses: Per worker; ABSENT also for one whose training diverged.
        approved: Per worker: whether its update was merged.
        banned: Per worker: whether it was banned after the round.
        scores: Per worker: SCS, None unless committed under a gate that publishes scores.
        llrs: Per worker: evidence after the round, in 1/1024 nat; 0 without a gate.
        yardstick: The yardstick word after the round; 0 without a gate.
        guard_scores: Of each of several guards its score against their majority, None without a sound anchor.
        guard_lanes: Of each of several guards its lane after the round; `refused` counts the rounds in which
            it was outvoted, or its anchor could not be read.
        merged_guard: Number of the guard whose update was merged as the anchor.
    """

    round_number: int
    metric: Metric
    statuses: tuple[Status, ...]
    approved: tuple[bool, ...]
    banned: tuple[bool, ...]
    scores: tuple[int | None, ...]
    llrs: tuple[int, ...]
    yardstick: int
    guard_scores: tuple[int | None, ...] = ()
    guard_lanes: tuple[Lane, ...] = ()
    merged_guard: int = 0


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """A finished simulation.

    Attributes:
        config: The run.
        defence: What decided.
        rounds: One entry per round.
        theta: The final parameters, float32 [d].
        poison_success: Share of the attacker's wishes that the final model fulfils; None if it has none.
    """

    config: RunConfig
    defence: Defence
    rounds: tuple[SimulatedRound, ...]
    theta: FloatArray
    poison_success: float | None = None

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

    def banned(self, workers: tuple[int, ...]) -> int:
        """Give how many of these workers are banned at the end."""
        return sum(self.rounds[-1].banned[i] for i in workers)


def simulate(
    config: RunConfig,
    defence: Defence = "hallmark",
    *,
    seed_leaks: bool = False,
    on_round: Callable[[SimulatedRound], None] | None = None,
) -> SimulationResult:
    """Run a training without a chain.

    Args:
        config: The run.
        defence: What decides: a name of trainer.defences. "hallmark": guard, verdicts and weights as on the
            chain. "mean": the plain mean of all that is well-formed, no anchor. "honest_only": the plain mean
            of the honest workers, the reference that knows who cheats.
        seed_leaks: Attackers know the round's challenge before they commit, as if the projection were fixed.
        on_round: Called after each round, for progress.

    Returns:
        Metric, verdicts and scores of every round.

    Raises:
        TaskError: The task cannot be set up.
        ConfigError: There is no such defence.
        NumericError: The guard's own training diverged, or that of most guards.
    """
    policy_type = defence_named(defence)
    fleet = Fleet(config, with_attackers=policy_type.sees_attackers, with_guard=policy_type.uses_root)
    policy = policy_type(PolicySetup(config.workers, len(fleet.theta), config.gate, config.guards))
    theta, momentum = fleet.theta, np.zeros_like(fleet.theta)
    rounds: list[SimulatedRound] = []
    record: PublicRecord | None = None
    for round_number in range(1, config.rounds + 1):
        seed = challenge_seed(config.seed, round_number)
        last_seed = challenge_seed(config.seed, round_number - 1) if round_number > 1 else None
        work = fleet.train_round(
            round_number, theta, seed if seed_leaks else last_seed, record, policy.projection()
        )
        view = _view(fleet, work, round_number, seed, theta)
        # Without any well-formed update there is nothing to decide, except for a gate that keeps a record.
        ruling = policy.rule(view) if view.indices or policy.uses_root else Ruling(None, frozenset())
        theta, momentum = _outer_step(config, theta, momentum, work, ruling)
        rounds.append(_record(round_number, fleet.evaluate(theta), work, ruling, config.workers))
        record = _published(ruling)
        if on_round is not None:
            on_round(rounds[-1])
    return SimulationResult(config, defence, tuple(rounds), theta, fleet.poison_success(theta))


def challenge_seed(run_seed: int, round_number: int) -> bytes:
    """Give the 32 bytes that stand in for a block hash; nothing in the fleet derives anything from them."""
    return hashlib.sha256(f"hallmark.simulated-challenge\n{run_seed}\n{round_number}".encode()).digest()


def merge_terms(work: RoundWork, weights: MergeWeights, guard: int = 0) -> list[Weighted]:
    """Give the terms of merge(): the approved updates in cohort order, then the anchor if it has a weight.

    Args:
        work: The round's updates.
        weights: Whom to merge, with which weight.
        guard: Number of the guard whose update is merged as the anchor.

    Returns:
        Nothing if nothing was approved.
    """
    by_worker = {update.worker: update for update in work.updates}
    terms = [
        Weighted(by_worker[index].values, by_worker[index].exponent, weight)
        for index, weight in zip(weights.indices, weights.weights, strict=True)
    ]
    anchor = work.anchor_of(guard)
    if terms and anchor is not None and weights.anchor:
        terms.append(Weighted(anchor.values, anchor.exponent, weights.anchor))
    return terms


def _view(fleet: Fleet, work: RoundWork, round_number: int, seed: bytes, theta: FloatArray) -> RoundView:
    sound = [update for update in work.updates if not is_malformed(update)]
    stack = np.empty((len(sound), len(theta)), dtype=np.float32)
    for row, update in enumerate(sound):
        stack[row] = dequantise(update.values, update.exponent)
    anchor = None if work.anchor is None else dequantise(work.anchor.values, work.anchor.exponent)
    return RoundView(
        round_number=round_number,
        seed=seed,
        indices=tuple(update.worker for update in sound),
        updates=stack,
        anchor=anchor,
        theta=theta,
        root_loss=lambda parameters: fleet.root_loss(round_number)(parameters),
        work=work,
    )


def _outer_step(
    config: RunConfig, theta: FloatArray, momentum: FloatArray, work: RoundWork, ruling: Ruling
) -> tuple[FloatArray, FloatArray]:
    """Take the outer step: the exact merge for integer weights, the same arithmetic for any other step."""
    micro = config.gate.outer_lr_micro, config.gate.outer_momentum_micro
    if isinstance(ruling.step, MergeWeights):
        terms = merge_terms(work, ruling.step, ruling.merged_guard)
        return merge(theta, momentum, terms, outer_lr_micro=micro[0], outer_momentum_micro=micro[1])
    if ruling.step is None:
        return theta, momentum
    lr, mu = (np.float32(value / 1e6) for value in micro)
    with np.errstate(over="ignore", invalid="ignore"):
        v = (mu * momentum + ruling.step).astype(np.float32)
        return (theta - lr * (ruling.step + mu * v)).astype(np.float32), v


def _published(ruling: Ruling) -> PublicRecord | None:
    """Give what attackers can read on the ledger, None if this policy keeps none."""
    if not ruling.llrs:
        return None
    return PublicRecord(ruling.scores, ruling.llrs, max(0, ruling.yardstick - 1) / 256)


def _record(
    round_number: int, metric: Metric, work: RoundWork, ruling: Ruling, workers: int
) -> SimulatedRound:
    statuses = [Status.ABSENT] * workers
    for update in work.updates:
        statuses[update.worker] = Status.MALFORMED if is_malformed(update) else Status.COMMITTED
    return SimulatedRound(
        round_number=round_number,
        metric=metric,
        statuses=tuple(statuses),
        approved=tuple(i in ruling.accepted for i in range(workers)),
        banned=tuple(i in ruling.banned for i in range(workers)),
        scores=tuple(ruling.scores.get(i) for i in range(workers)),
        llrs=tuple(ruling.llrs.get(i, 0) for i in range(workers)),
        yardstick=ruling.yardstick,
        guard_scores=ruling.guard_scores,
        guard_lanes=ruling.guard_lanes,
        merged_guard=ruling.merged_guard,
    )
