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
from trainer.tasks.base import ROOT, Batch, Metric, TaskSetup

CLASSES = 10
TEST_PER_CLASS = 36


class _Digits:
    """Data and measures that both digit tasks share."""

    name: ClassVar[str]
    shift: ClassVar[int]
    tokens_per_sample = 1

    def __init__(self, setup: TaskSetup) -> None:
        digits = load_digits()
        images = (digits.images / 16.0).astype(np.float32)
        labels = digits.target.astype(np.int64)
        rng = numpy_generator("digits", setup.seed)
        order = rng.permutation(len(labels))
        test = np.concatenate([order[labels[order] == label][:TEST_PER_CLASS] for label in range(CLASSES)])
        rest = order[~np.isin(order, test)]
        if not 1 <= setup.root_samples < len(rest):
            raise TaskError(f"{setup.root_samples} trusted samples: {self.name} has {len(rest)} to divide")
        root, shared = rest[: setup.root_samples], rest[setup.root_samples :]
        self._images = torch.from_numpy(images)  # [1797, 8, 8], in [0, 1]
        self._labels = torch.from_numpy(labels)  # [1797]
        self._test = torch.from_numpy(test)
        self.shards = {ROOT: torch.from_numpy(root)}
        for worker, part in enumerate(split_samples(labels[shared], setup.workers, setup.split, rng)):
            self.shards[worker] = torch.from_numpy(shared[part])

    @property
    def test_indices(self) -> torch.Tensor:
        """Indices of the held-out images: 36 of each class."""
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
        """Turn every label y into 9 - y."""
        if kind != "labels":
            raise TaskError(f"{self.name} cannot poison {kind!r}")
        return Batch(batch.inputs, CLASSES - 1 - batch.targets)

    def evaluate(self, model: nn.Module) -> Metric:
        """Give the accuracy on the 360 held-out images."""
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
    """The perceptron 64-72-10 on which the guard's constants were measured."""

    name = "digits_mlp"
    shift = 0

    def build_model(self, seed: int) -> nn.Module:
        """Give the network, 5,410 parameters."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 72), nn.ReLU(), nn.Linear(72, CLASSES))


def _move(images: torch.Tensor, reach: int, generator: torch.Generator) -> torch.Tensor:
    """Shift each of [n, 8, 8] by its own whole number of pixels in [-reach, reach]^2, filling with zeros."""
    count, height, width = images.shape
    padded = functional.pad(images, (reach,) * 4)
    offset = torch.randint(2 * reach + 1, (2, count, 1), generator=generator)
    rows = torch.arange(height) + offset[0]  # [n, 8]
    columns = torch.arange(width) + offset[1]
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
