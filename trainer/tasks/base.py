"""What the trainer asks of a task: a model, data for every worker, a loss, a test."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn

ROOT = -1
"""The owner of the guard's trusted samples, beside the workers 0, 1, ..."""


def root_of(guard: int) -> int:
    """Give the owner of a guard's trusted samples: ROOT for guard 0, then ROOT - 1, ROOT - 2, ..."""
    return ROOT - guard


class Batch(NamedTuple):
    """Inputs and the right answers; shapes are the task's own, the first dimension is the sample."""

    inputs: torch.Tensor
    targets: torch.Tensor


class Metric(NamedTuple):
    """What a test says about a model.

    Attributes:
        name: "accuracy" (share of right answers, in [0, 1]) or "perplexity" (exp of the mean loss per token,
            >= 1).
        value: The number.
        higher_is_better: True for an accuracy.
    """

    name: str
    value: float
    higher_is_better: bool


@dataclass(frozen=True, slots=True)
class TaskSetup:
    """What a task needs to divide its data.

    Attributes:
        workers: Number of workers, >= 1.
        split: How samples are dealt to workers, see trainer/splits.py.
        root_samples: Size of each guard's trusted set, disjoint from all shards, from the other guards' and
            from the test set.
        seed: The run's seed.
        guards: Number of guards, >= 1.
    """

    workers: int
    split: str
    root_samples: int
    seed: int
    guards: int = 1


class Task(Protocol):
    """A training task. All randomness comes from the seed of the setup or from the generator passed in."""

    @property
    def name(self) -> str:
        """Name in configurations, for example "digits_cnn"."""
        ...

    @property
    def tokens_per_sample(self) -> int:
        """What one sample counts in the contribution's `tokens`: 1, or the length of a sequence."""
        ...

    def build_model(self, seed: int) -> nn.Module:
        """Give a fresh float32 model, the same for the same seed; parameters only, no buffers."""
        ...

    def sample(self, owner: int, size: int, generator: torch.Generator) -> Batch:
        """Draw a training batch from a worker's shard, or from a guard's trusted set, see root_of().

        A task that is never asked for several guards needs to know the owner ROOT alone.
        """
        ...

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Give the mean loss of the batch, a scalar with gradient."""
        ...

    def poison(self, batch: Batch, kind: str, generator: torch.Generator) -> Batch:
        """Give the batch as a data-poisoning attacker would train on it.

        Raises:
            TaskError: The task does not know this kind; every task knows "labels". The built-in tasks also
                know "targeted" (one class is taken for another) and "backdoor" (a trigger in half of the
                batch, and the answer that it stands for).
        """
        ...

    def evaluate(self, model: nn.Module) -> Metric:
        """Test the model on samples that nobody trains on."""
        ...


@runtime_checkable
class PoisonTest(Protocol):
    """What a task may offer besides: a test of whether a poison took."""

    def poison_success(self, model: nn.Module, kind: str) -> float | None:
        """Give the share of the attacker's wishes that the model fulfils on held-out samples, in [0, 1].

        For "backdoor" the share of triggered samples of another class that get the attacker's answer; for
        "targeted" the share of the attacked class that does. None for a kind without a wish of its own.
        """
        ...


TaskFactory = Callable[[TaskSetup], Task]
