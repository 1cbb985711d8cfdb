"""All trainers of a run in one process: honest workers, cheating workers, and the guards' anchors."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.attacks import (
    Attack,
    AttackContext,
    CopiedRoot,
    Forged,
    ForgedBytes,
    PublicRecord,
    attack_named,
)
from trainer.config import RunConfig
from trainer.errors import CheckpointError, NumericError
from trainer.quantise import Quantised, quantise
from trainer.randomness import derive_seed, numpy_generator, torch_generator
from trainer.tasks import ROOT, Metric, PoisonTest, Task, TaskSetup, load_task, root_of
from trainer.worker import FlatModel, FloatArray, ParameterShapes, Worker, evaluate, single_thread

PROBE_SAMPLES = 128
NEGATED = "negated_anchor"
"""Name of what a cheating guard does."""


@dataclass(frozen=True, slots=True)
class WorkerUpdate:
    """What one trainer hands in.

    Attributes:
        worker: Index in the cohort; root_of(k) for the anchor of guard k.
        values: int8 [d].
        exponent: In [-64, 63].
        tokens: What the contribution claims to have trained on; for statistics only.
        attack: Name of the attack behind it, "" if it is honest. Nobody but reports and tests may look at
            this.
        copies: Worker whose update root this one signs instead of its own; None: its own.
    """

    worker: int
    values: NDArray[np.int8]
    exponent: int
    tokens: int
    attack: str = ""
    copies: int | None = None


@dataclass(frozen=True, slots=True)
class RoundWork:
    """What a round of training leaves.

    Attributes:
        updates: In cohort order; a worker whose training diverged is not in it (it is absent from the round).
        anchors: The guards', in their order; one whose training diverged is not in it. Empty in a fleet
            without guards.
    """

    updates: tuple[WorkerUpdate, ...]
    anchors: tuple[WorkerUpdate, ...] = ()

    @property
    def anchor(self) -> WorkerUpdate | None:
        """The anchor of guard 0, for rules that know one guard; None if it has none."""
        return self.anchor_of(0)

    def anchor_of(self, guard: int) -> WorkerUpdate | None:
        """Give the anchor of a guard by its number; None if it has none."""
        return next((anchor for anchor in self.anchors if anchor.worker == root_of(guard)), None)


class Fleet:
    """The trainers of a run and everything they remember between rounds.

    A round is a function of (configuration, round number, theta, remembered state, last round's seed): repeat
    it from the same checkpoint and every byte is the same.

    Attributes:
        config: The run.
        task: Its task.
        shapes: Name and dimensions of every parameter, in order; the shape digest is taken over these.
        theta: The initial parameters, float32 [d].
    """

    def __init__(self, config: RunConfig, *, with_attackers: bool = True, with_guard: bool = True) -> None:
        self.config = config
        self.task: Task = load_task(
            config.task,
            TaskSetup(config.workers, config.split, config.root_samples, config.seed, config.guards),
        )
        self._model = FlatModel(self.task.build_model(derive_seed("model", config.seed)))
        self.shapes: ParameterShapes = self._model.shapes
        self.theta: FloatArray = self._model.read()
        malicious = config.malicious
        self._attack: Attack | None = (
            attack_named(config.attack.name) if malicious and with_attackers else None
        )
        poison = self._attack.poisons if self._attack else None
        self._honest = [self._trainer(i) for i in range(config.workers) if i not in malicious]
        self._cheats = [self._trainer(i, poison) for i in malicious] if self._attack else []
        self._guards = [self._trainer(root_of(k)) for k in range(config.guards)] if with_guard else []
        self._cheating_guards = {root_of(k) for k in config.cheating_guards} if with_attackers else set()
        self._residuals: dict[int, FloatArray] = {}
        self._memories: dict[int, dict[str, FloatArray]] = {worker.owner: {} for worker in self._cheats}

    def train_round(
        self,
        round_number: int,
        theta: FloatArray,
        known_seed: bytes | None = None,
        record: PublicRecord | None = None,
        projection: FloatArray | None = None,
    ) -> RoundWork:
        """Let everybody train from theta and hand in an update.

        Args:
            round_number: The round, >= 1; every round has its own random draws.
            theta: The model, float32 [d].
            known_seed: The last round's challenge, for attackers who aim at it; None in the first round.
            record: What the last round left for all to read, for attackers who feel their way.
            projection: The fixed public projection of the defence, if it has one.

        Returns:
            The updates in cohort order, and the anchors.
        """
        honest = self._train(self._honest, round_number, theta)
        done = {owner: self._honest_update(owner, gradient) for owner, gradient in honest.items()}
        if self._attack is not None:
            peers = self._poisoned(self._attack, round_number, theta)
            for owner, own in peers.items():
                context = AttackContext(
                    worker=owner,
                    round_number=round_number,
                    own=own,
                    honest=honest,
                    known_seed=known_seed,
                    memory=self._memories[owner],
                    rng=numpy_generator("attack", self.config.seed, owner, round_number),
                    peers=peers,
                    record=record,
                    projection=projection,
                )
                done[owner] = self._forged_update(self._attack, context, done)
        anchors = [
            self._anchor(owner, gradient)
            for owner, gradient in self._train(self._guards, round_number, theta).items()
        ]
        present = [done[owner] for owner in sorted(done)]
        return RoundWork(
            tuple(update for update in present if update is not None),
            tuple(anchor for anchor in anchors if anchor is not None),
        )

    def root_loss(self, round_number: int) -> Callable[[FloatArray], float]:
        """Give the loss probe of a round: from parameters, float32 [d], to their loss on trusted samples.

        Args:
            round_number: The round; every round draws 128 samples of its own, with replacement.
        """
        generator = torch_generator("root loss", self.config.seed, round_number)
        batch = self.task.sample(ROOT, PROBE_SAMPLES, generator)

        def loss(theta: FloatArray) -> float:
            self._model.load(theta)
            self._model.module.eval()
            with single_thread(), torch.no_grad():
                return float(self.task.loss(self._model.module, batch))

        return loss

    def poison_success(self, theta: FloatArray) -> float | None:
        """Test whether the configured attack's poison took; None if it has no wish that could be tested."""
        attack = attack_named(self.config.attack.name)
        if attack is None or attack.poisons is None or not isinstance(self.task, PoisonTest):
            return None
        self._model.load(theta)
        self._model.module.eval()
        with single_thread():
            return self.task.poison_success(self._model.module, attack.poisons)

    def evaluate(self, theta: FloatArray) -> Metric:
        """Test the model theta, float32 [d], on the task's held-out data."""
        return evaluate(self.task, self._model, theta)

    def state_tensors(self) -> dict[str, torch.Tensor]:
        """Give everything that the trainers remember, as a flat dict of tensors.

        Names: `inner.<owner>.<exp_avg | exp_avg_sq | step>`, `residual.<owner>`, `memory.<owner>.<name>`; the
        owner is a worker's index, or -1, -2, ... for the guards.
        """
        state: dict[str, torch.Tensor] = {}
        for trainer in self._trainers():
            for name, tensor in trainer.state_tensors().items():
                state[f"inner.{trainer.owner}.{name}"] = tensor
        for owner, residual in self._residuals.items():
            state[f"residual.{owner}"] = torch.from_numpy(residual.copy())
        for owner, memory in self._memories.items():
            for name, array in memory.items():
                state[f"memory.{owner}.{name}"] = torch.from_numpy(array.copy())
        return state

    def load_state(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over a state that state_tensors() of a fleet with the same configuration gave.

        Raises:
            CheckpointError: A name or a shape does not belong to this fleet.
        """
        rest = dict(tensors)
        for trainer in self._trainers():
            trainer.load_state(_take(rest, f"inner.{trainer.owner}."))
        owners = [trainer.owner for trainer in self._trainers()]
        self._residuals = {}
        for owner in owners:
            if (residual := rest.pop(f"residual.{owner}", None)) is not None:
                self._residuals[owner] = self._vector(residual, f"residual.{owner}")
        for owner in self._memories:
            found = _take(rest, f"memory.{owner}.")
            self._memories[owner] = {name: _remembered(found[name], name) for name in found}
        if rest:
            raise CheckpointError(f"stored state that this fleet has no place for: {sorted(rest)[0]!r}")

    def _vector(self, tensor: torch.Tensor, name: str) -> FloatArray:
        if tensor.dtype != torch.float32 or tensor.shape != self.theta.shape:
            raise CheckpointError(f"stored {name} is {tensor.dtype} {tuple(tensor.shape)}, not this model's")
        copied: FloatArray = tensor.numpy().copy()
        return copied

    def _trainer(self, owner: int, poison: str | None = None) -> Worker:
        return Worker(self.task, self._model, self.config.inner, owner, self.config.seed, poison)

    def _trainers(self) -> list[Worker]:
        return [*self._honest, *self._cheats, *self._guards]

    @property
    def _tokens(self) -> int:
        return self.config.inner.steps * self.config.inner.batch_size * self.task.tokens_per_sample

    def _train(self, trainers: list[Worker], round_number: int, theta: FloatArray) -> dict[int, FloatArray]:
        """Give each owner's pseudo-gradient; those whose training diverged have nothing to hand in."""
        gradients: dict[int, FloatArray] = {}
        for trainer in trainers:
            with contextlib.suppress(NumericError):
                gradients[trainer.owner] = trainer.train(round_number, theta)
        return gradients

    def _poisoned(self, attack: Attack, round_number: int, theta: FloatArray) -> dict[int, FloatArray]:
        """Give what training gave each attacker, from the model that it chose to start from."""
        gradients: dict[int, FloatArray] = {}
        for trainer in self._cheats:
            parent = attack.parent(round_number, theta, self._memories[trainer.owner])
            gradients |= self._train([trainer], round_number, parent)
        return gradients

    def _honest_update(self, owner: int, gradient: FloatArray) -> WorkerUpdate | None:
        done = _quantised(gradient, self._residuals.get(owner))
        if done is None:
            return None
        self._residuals[owner] = done.residual
        return WorkerUpdate(owner, done.values, done.exponent, self._tokens)

    def _anchor(self, owner: int, gradient: FloatArray) -> WorkerUpdate | None:
        """Quantise a guard's update; a cheating guard hands in the opposite of it."""
        update = self._honest_update(owner, gradient)
        if update is None or owner not in self._cheating_guards:
            return update
        return replace(update, values=-update.values, attack=NEGATED)

    def _forged_update(
        self, attack: Attack, context: AttackContext, done: Mapping[int, WorkerUpdate | None]
    ) -> WorkerUpdate | None:
        match attack.act(context):
            case CopiedRoot(victim):
                original = done.get(victim)
                if original is None:
                    return None
                return replace(original, worker=context.worker, attack=attack.name, copies=victim)
            case ForgedBytes(values, exponent):
                return WorkerUpdate(context.worker, values, exponent, self._tokens, attack.name)
            case Forged(gradient):
                forged = _quantised(gradient)
                if forged is None:
                    return None
                return WorkerUpdate(context.worker, forged.values, forged.exponent, self._tokens, attack.name)


def _quantised(gradient: FloatArray, residual: FloatArray | None = None) -> Quantised | None:
    """Quantise, or give None for what the format cannot say: its owner is absent, like one that diverged."""
    try:
        return quantise(gradient, residual)
    except NumericError:
        return None


def _remembered(tensor: torch.Tensor, name: str) -> FloatArray:
    if tensor.dtype != torch.float32:
        raise CheckpointError(f"stored {name} is {tensor.dtype}, not float32")
    copied: FloatArray = tensor.numpy().copy()
    return copied


def _take(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Remove the entries with this prefix and give them without it."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}
