import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.errors import TaskError
from trainer.splits import MIN_SHARD, split_samples

LABELS = np.arange(1300, dtype=np.int64) % 10


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 30),
    split=st.sampled_from(["iid", "dirichlet_0.3", "dirichlet_0.01", "dirichlet_100", "two_classes"]),
)
def test_split_gives_every_sample_to_exactly_one_worker_and_a_batch_to_each(
    seed: int, workers: int, split: str
) -> None:
    shards = split_samples(LABELS, workers, split, np.random.default_rng(seed))
    assert len(shards) == workers
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(LABELS)))
    assert min(map(len, shards)) >= MIN_SHARD


def test_split_is_the_same_for_the_same_generator() -> None:
    first, second = (split_samples(LABELS, 9, "dirichlet_0.3", np.random.default_rng(4)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_iid_shards_look_alike_and_dirichlet_ones_do_not() -> None:
    def skew(split: str) -> float:
        shards = split_samples(LABELS, 10, split, np.random.default_rng(2))
        shares = np.stack([np.bincount(LABELS[shard], minlength=10) / len(shard) for shard in shards])
        return float(shares.std(axis=0).mean())

    assert skew("iid") < 0.04 < 0.1 < skew("dirichlet_0.3")


def test_two_classes_gives_most_workers_two_or_three_classes() -> None:
    shards = split_samples(LABELS, 10, "two_classes", np.random.default_rng(3))
    assert max(len(np.unique(LABELS[shard])) for shard in shards) <= 4
    assert np.mean([len(np.unique(LABELS[shard])) for shard in shards]) <= 3


def test_split_of_too_few_samples_raises() -> None:
    with pytest.raises(TaskError, match="cannot give"):
        split_samples(LABELS[:100], 10, "iid", np.random.default_rng(0))


@pytest.mark.parametrize("split", ["", "idd", "dirichlet_", "dirichlet_0", "dirichlet_nan", "dirichlet_inf"])
def test_split_that_does_not_exist_raises(split: str) -> None:
    with pytest.raises(TaskError):
        split_samples(LABELS, 2, split, np.random.default_rng(0))
