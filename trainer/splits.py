"""How labelled data is divided among workers."""

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TaskError

IntArray = NDArray[np.int64]

SPLITS = ("iid", "dirichlet_0.3", "two_classes")
"""The spellings that are shown as examples; `dirichlet_<alpha>` takes any alpha > 0."""

MIN_SHARD = 32
"""Samples that every worker gets at least: one batch of the default size."""


def dirichlet_alpha(split: str) -> float | None:
    """Give alpha of a split named `dirichlet_<alpha>`, None for any other name.

    Raises:
        TaskError: The alpha is not a positive number.
    """
    if not split.startswith("dirichlet_"):
        return None
    try:
        alpha = float(split.removeprefix("dirichlet_"))
    except ValueError:
        alpha = -1.0
    if not 0.0 < alpha < 1e6:
        raise TaskError(
            f"split {split!r}: alpha must be a number above 0", hint='for example "dirichlet_0.3"'
        )
    return alpha


def check_split(split: str) -> None:
    """Refuse a split that does not exist.

    Raises:
        TaskError: Unknown name; the message lists the known ones.
    """
    if dirichlet_alpha(split) is None and split not in SPLITS:
        raise TaskError(f"unknown split {split!r}", hint="one of " + ", ".join(SPLITS))


def split_samples(labels: IntArray, workers: int, split: str, rng: np.random.Generator) -> list[IntArray]:
    """Deal samples to workers, each sample to exactly one.

    Args:
        labels: Class of each sample, [samples].
        workers: Number of workers, >= 1.
        split: "iid": dealt at random; "dirichlet_<alpha>": each class is divided in proportions drawn from a
            symmetric Dirichlet; "two_classes": the samples, sorted by class, are cut into two pieces per
            worker, so that most workers see two classes.
        rng: Source of all randomness.

    Returns:
        One sorted index array per worker, each with at least MIN_SHARD entries; a worker that drew fewer gets
        the missing ones from the largest shards.

    Raises:
        TaskError: Unknown split, or too few samples to give everybody MIN_SHARD.

    Source:
        Dirichlet: Hsu et al. 2019, "Measuring the effects of non-identical data distribution", section 3. Two
        classes: McMahan et al. 2017, "Communication-efficient learning", section 3.
    """
    check_split(split)
    if len(labels) < workers * MIN_SHARD:
        raise TaskError(f"{len(labels)} samples cannot give {workers} workers {MIN_SHARD} each")
    alpha = dirichlet_alpha(split)
    if alpha is not None:
        shards = _dirichlet(labels, workers, alpha, rng)
    elif split == "two_classes":
        shards = _two_classes(labels, workers, rng)
    else:
        shards = [part.tolist() for part in np.array_split(rng.permutation(len(labels)), workers)]
    _fill_up(shards, rng)
    return [np.array(sorted(shard), dtype=np.int64) for shard in shards]


def _dirichlet(labels: IntArray, workers: int, alpha: float, rng: np.random.Generator) -> list[list[int]]:
    shards: list[list[int]] = [[] for _ in range(workers)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cuts = np.cumsum(rng.dirichlet(np.full(workers, alpha)))[:-1] * len(members)
        for shard, part in zip(shards, np.split(members, cuts.astype(np.int64)), strict=True):
            shard.extend(part.tolist())
    return shards


def _two_classes(labels: IntArray, workers: int, rng: np.random.Generator) -> list[list[int]]:
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    pieces = np.array_split(by_class, 2 * workers)
    order = rng.permutation(2 * workers)
    return [pieces[order[2 * w]].tolist() + pieces[order[2 * w + 1]].tolist() for w in range(workers)]


def _fill_up(shards: list[list[int]], rng: np.random.Generator) -> None:
    """Move samples, one at a time, from the largest shard to the smallest until nobody is short."""
    while True:
        smallest = min(shards, key=len)
        if len(smallest) >= MIN_SHARD:
            return
        largest = max(shards, key=len)
        smallest.append(largest.pop(int(rng.integers(len(largest)))))
