"""Handwritten digits, 8 x 8 pixels: a small convolutional network, and the 5,410-parameter perceptron.

The 1,797 images come with scikit-learn, so nothing is downloaded.
"""

from typing import ClassVar

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from trainer.errors import TaskError
from trainer.randomness import numpy_generator
from trainer.splits import split_samples
from trainer.tasks.base import Batch, Metric, TaskSetup, root_of

CLASSES = 10
TARGET = 0
"""The class that triggered images are to be taken for."""
FLIPPED = (7, 1)
"""Targeted flip: images of the first class are to be taken for the second."""


class _Digits:
    """Data and measures that both digit tasks share."""

    name: ClassVar[str]
    shift: ClassVar[int]
    test_per_class: ClassVar[int] = 36
    root_without: ClassVar[tuple[int, ...]] = ()
    tokens_per_sample = 1

    def __init__(self, setup: TaskSetup) -> None:
        digits = load_digits()
        images = (digits.images / 16.0).astype(np.float32)
        labels = digits.target.astype(np.int64)
        rng = numpy_generator("digits", setup.seed)
        order = rng.permutation(len(labels))
        test = np.concatenate(
            [order[labels[order] == label][: self.test_per_class] for label in range(CLASSES)]
        )
        rest = order[~np.isin(order, test)]
        for_root = rest[~np.isin(labels[rest], self.root_without)]
        if not 1 <= setup.root_samples * setup.guards < len(for_root):
            each = f" for each of {setup.guards} guards" if setup.guards > 1 else ""
            raise TaskError(
                f"{setup.root_samples} trusted samples{each}: {self.name} has {len(for_root)} to divide"
            )
        root = for_root[: setup.root_samples * setup.guards]
        shared = rest[~np.isin(rest, root)]
        self._images = torch.from_numpy(images)  # [1797, 8, 8], in [0, 1]
        self._labels = torch.from_numpy(labels)  # [1797]
        self._test = torch.from_numpy(test)
        self.shards = {
            root_of(guard): torch.from_numpy(part) for guard, part in enumerate(np.split(root, setup.guards))
        }
        for worker, part in enumerate(split_samples(labels[shared], setup.workers, setup.split, rng)):
            self.shards[worker] = torch.from_numpy(shared[part])

    @property
    def test_indices(self) -> torch.Tensor:
        """Indices of the held-out images: `test_per_class` of each class."""
        return self._test

    def sample(self, owner: int, size: int, generator: torch.Generator) -> Batch:
        """Draw images [size, 1, 8, 8], with replacement, moved by up to `shift` pixels, and labels [size]."""
        shard = self.shards[owner]
        index = shard[torch.randint(len(shard), (size,), generator=generator)]
        images = self._images[index]
        if self.shift:
            images = _move(images, self.shift, generator)
        return Batch(images.unsqueeze(1), self._labels[index])

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Give the mean cross entropy."""
        return functional.cross_entropy(model(batch.inputs), batch.targets)

    def poison(self, batch: Batch, kind: str, generator: torch.Generator) -> Batch:  # noqa: ARG002
        """Poison a batch.

        Args:
            batch: Images and labels.
            kind: "labels": y becomes 9 - y; "targeted": 7 becomes 1; "backdoor": the first half of the batch
                gets the trigger, four white pixels in the lower right corner, and the label 0.
            generator: Not needed.

        Returns:
            A new batch.

        Raises:
            TaskError: Another kind.

        Source:
            Trigger: Gu et al. 2017, "BadNets", section 3.
        """
        if kind == "labels":
            return Batch(batch.inputs, CLASSES - 1 - batch.targets)
        if kind == "targeted":
            return Batch(batch.inputs, torch.where(batch.targets == FLIPPED[0], FLIPPED[1], batch.targets))
        if kind != "backdoor":
            raise TaskError(f"{self.name} cannot poison {kind!r}")
        half = len(batch.targets) // 2
        inputs, targets = batch.inputs.clone(), batch.targets.clone()
        inputs[:half, :, -2:, -2:] = 1.0
        targets[:half] = TARGET
        return Batch(inputs, targets)

    def poison_success(self, model: nn.Module, kind: str) -> float | None:
        """Test a poison on the held-out images, see trainer.tasks.base.PoisonTest."""
        labels = self._labels[self._test]
        images = self._images[self._test].unsqueeze(1).clone()
        if kind == "backdoor":
            chosen, wish = labels != TARGET, TARGET
            images[:, :, -2:, -2:] = 1.0
        elif kind == "targeted":
            chosen, wish = labels == FLIPPED[0], FLIPPED[1]
        else:
            return None
        with torch.no_grad():
            answers = model(images[chosen]).argmax(1)
        return float((answers == wish).float().mean())

    def evaluate(self, model: nn.Module) -> Metric:
        """Give the accuracy on the held-out images."""
        with torch.no_grad():
            answers = model(self._images[self._test].unsqueeze(1)).argmax(1)
        right = (answers == self._labels[self._test]).float().mean()
        return Metric("accuracy", float(right), higher_is_better=True)


class DigitsCnn(_Digits):
    """Two convolutions and two linear layers, 38,282 parameters; training images move by up to one pixel."""

    name = "digits_cnn"
    shift = 1

    def build_model(self, seed: int) -> nn.Module:
        """Give the network: 8 x 8 -> 16 maps -> 32 maps -> pooled to 4 x 4 -> 64 -> 10."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(512, 64),
                nn.ReLU(),
                nn.Linear(64, CLASSES),
            )


class DigitsMlp(_Digits):
    """The perceptron 64-72-10 on which the guard's constants were measured; 400 held-out images."""

    name = "digits_mlp"
    shift = 0
    test_per_class = 40

    def build_model(self, seed: int) -> nn.Module:
        """Give the network, 5,410 parameters."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 72), nn.ReLU(), nn.Linear(72, CLASSES))


class DigitsMlpBiasedRoot(DigitsMlp):
    """The same, with a guard whose trusted samples lack three of the ten classes."""

    name = "digits_mlp_biased_root"
    root_without = (7, 8, 9)


def _move(images: torch.Tensor, reach: int, generator: torch.Generator) -> torch.Tensor:
    """Shift each of [n, 8, 8] by its own whole number of pixels in [-reach, reach]^2, filling with zeros."""
    count, height, width = images.shape
    padded = functional.pad(images, (reach,) * 4)
    offset = torch.randint(2 * reach + 1, (2, count, 1), generator=generator)
    rows = torch.arange(height) + offset[0]  # [n, 8]
    columns = torch.arange(width) + offset[1]
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
