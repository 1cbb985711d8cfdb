"""What a gate policy sees of a round, and what it answers.

A policy gets the bytes that everybody committed to, dequantised: the same for every policy. It never learns
who cheats. A new one is a class in one file, see docs/plugins.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from guard.gate import GateParameters
from guard.lanes import Lane
from guard.weights import MergeWeights
from trainer.errors import NumericError
from trainer.fleet import RoundWork

FloatArray = NDArray[np.float32]
Stack = NDArray[np.float32]
"""Updates, float32 [n, d], in cohort order."""

LEAST = 1e-30
"""Stands for a norm of zero where one must divide by it."""

ASSUMED_PERCENT = 40
"""Rules that must be told how many cheat are told that 40 % do, always: the true share is unknown."""


@dataclass(frozen=True, slots=True)
class PolicySetup:
    """What a policy knows before the first round.

    Attributes:
        workers: Cohort size without the guards.
        length: Number of parameters d.
        gate: The run's constants.
        guards: Number of guards.
    """

    workers: int
    length: int
    gate: GateParameters
    guards: int = 1


@dataclass(frozen=True, slots=True)
class RoundView:
    """One round as a policy sees it.

    Attributes:
        round_number: 1 for the first.
        seed: The challenge, 32 bytes, drawn after all commitments.
        indices: Cohort indices of those who handed in a well-formed update, ascending.
        updates: Their updates, float32 [n, d]: a step is `theta - lr * update`.
        anchor: The own update of the guard, of several the first one, from its trusted samples, float32 [d];
            None if the policy has no use for it (`uses_root`), or this guard's training diverged. Rules of
            others know one guard; ours reads all anchors from `work`.
        theta: The model everybody started from, float32 [d].
        root_loss: Loss of parameters on trusted samples of this round.
        work: The same updates as bytes, with those that are malformed.
    """

    round_number: int
    seed: bytes
    indices: tuple[int, ...]
    updates: Stack
    anchor: FloatArray | None
    theta: FloatArray
    root_loss: Callable[[FloatArray], float]
    work: RoundWork

    def trusted(self) -> FloatArray:
        """Give the anchor of a policy that asked for it.

        Raises:
            NumericError: There is none: the guard's training diverged, or `uses_root` is not set.
        """
        if self.anchor is None:
            raise NumericError(f"the guard has no anchor in round {self.round_number}: its training diverged")
        return self.anchor


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a policy makes of a round.

    Attributes:
        step: What the outer optimiser takes as its gradient, float32 [d], or integer weights for the exact
            merge; None: nothing was approved, the model stays.
        accepted: Cohort indices of those whose work went in. For a rule that mixes coordinates: everybody.
        banned: Cohort indices of those who are out for good.
        scores: Cohort index -> published score, if the policy publishes any.
        llrs: Cohort index -> published evidence, in 1/1024 nat.
        yardstick: Published yardstick word, 0 if there is none.
        guard_scores: Of each of several guards its score against their majority, None without a sound anchor.
        guard_lanes: Of each of several guards what is kept of it after the round.
        merged_guard: Number of the guard whose update is merged as the anchor.
    """

    step: FloatArray | MergeWeights | None
    accepted: frozenset[int]
    banned: frozenset[int] = frozenset()
    scores: Mapping[int, int] = field(default_factory=dict)
    llrs: Mapping[int, int] = field(default_factory=dict)
    yardstick: int = 0
    guard_scores: tuple[int | None, ...] = ()
    guard_lanes: tuple[Lane, ...] = ()
    merged_guard: int = 0


class GatePolicy:
    """Decides what of a round's updates becomes the step. Lives as long as a run and may remember.

    Attributes:
        name: Name in commands and results.
        uses_root: Whether it needs the guard's anchor or loss probe.
        sees_attackers: False only for the reference in which nobody cheats.
        setup: What it was told before the first round.
    """

    name: ClassVar[str]
    uses_root: ClassVar[bool] = False
    sees_attackers: ClassVar[bool] = True

    def __init__(self, setup: PolicySetup) -> None:
        self.setup = setup

    def rule(self, view: RoundView) -> Ruling:
        """Decide on one round. At least one update is there, unless the policy uses the root."""
        raise NotImplementedError

    def projection(self) -> FloatArray | None:
        """Give the fixed public projection [d, k] by which this policy judges, None if it has none."""
        return None


class StackRule(GatePolicy):
    """A policy that is one function of the updates and treats all of them alike."""

    def rule(self, view: RoundView) -> Ruling:
        """Combine all updates."""
        combined = self.combine(view.updates)
        return Ruling(combined.astype(np.float32), frozenset(view.indices))

    def combine(self, updates: Stack) -> NDArray[np.floating]:
        """Give the step, [d], of updates [n, d], n >= 1."""
        raise NotImplementedError


def assumed_faults(count: int) -> int:
    """Give f, the number of cheaters to assume among so many: 40 %, rounded down, less than half."""
    return min(ASSUMED_PERCENT * count // 100, (count - 1) // 2)


def squared_distances(updates: Stack) -> NDArray[np.float64]:
    """Give the squared distance of every pair, float64 [n, n], zero on the diagonal."""
    wide = updates.astype(np.float64)
    products = wide @ wide.T
    squares = np.diag(products)
    found: NDArray[np.float64] = np.maximum(0.0, squares[:, None] + squares[None, :] - 2 * products)
    np.fill_diagonal(found, 0.0)
    return found


def weighted_step(updates: Stack, weights: NDArray[np.floating]) -> FloatArray | None:
    """Give the weighted mean, float32 [d]; None if all weights are zero."""
    total = float(weights.sum())
    if not total > 0:
        return None
    mixed: FloatArray = ((weights / total) @ updates.astype(np.float64)).astype(np.float32)
    return mixed


def chosen(view: RoundView, places: NDArray[np.integer] | NDArray[np.bool_]) -> frozenset[int]:
    """Give the cohort indices at these rows of the view's updates."""
    return frozenset(int(i) for i in np.array(view.indices)[places])


def norms(updates: Stack) -> NDArray[np.float64]:
    """Give the norm of every row, float64 [n]; one may divide by it: zero becomes 1e-30."""
    found: NDArray[np.float64] = np.linalg.norm(updates.astype(np.float64), axis=1)
    return np.maximum(found, LEAST)
