import sys
import types
from dataclasses import replace
from pydoc_data import topics

import pytest
import torch

from tests.trainer.toys import tiny_run
from trainer.errors import TaskError
from trainer.fleet import Fleet
from trainer.tasks import ROOT, TASKS, TaskSetup, load_task, root_of
from trainer.tasks.byte_lm import CONTEXT, ByteLm
from trainer.tasks.digits import DigitsCnn, DigitsMlp, DigitsMlpBiasedRoot, _Digits
from trainer.worker import FlatModel

SETUP = TaskSetup(workers=5, split="iid", root_samples=100, seed=3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_task_is_deterministic_and_has_a_model_of_parameters_only(name: str) -> None:
    task = load_task(name, SETUP)
    first, second = FlatModel(task.build_model(1)), FlatModel(task.build_model(1))
    assert first.read().tobytes() == second.read().tobytes()
    assert first.read().tobytes() != FlatModel(task.build_model(2)).read().tobytes()
    assert task.name == name
    for owner in (0, 4, ROOT):
        batch, again = task.sample(owner, 6, generator()), task.sample(owner, 6, generator())
        assert torch.equal(batch.inputs, again.inputs)
        assert torch.equal(batch.targets, again.targets)
        assert len(batch.inputs) == 6
        assert task.loss(first.module, batch).item() > 0


@pytest.mark.parametrize("name", sorted(TASKS))
def test_building_and_sampling_leave_the_global_generator_alone(name: str) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    task = load_task(name, SETUP)
    task.build_model(1)
    task.sample(0, 4, generator())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("name", "size"), [("digits_cnn", 38_282), ("digits_mlp", 5_410), ("byte_lm", 1_046_880)]
)
def test_model_has_the_documented_size(name: str, size: int) -> None:
    assert len(FlatModel(load_task(name, SETUP).build_model(0)).read()) == size


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_guard_has_samples_of_its_own(name: str) -> None:
    task = load_task(name, replace(SETUP, root_samples=40, guards=3))
    alone = load_task(name, replace(SETUP, root_samples=40))
    owners = [root_of(guard) for guard in range(3)]
    assert owners == [ROOT, ROOT - 1, ROOT - 2]
    first = [task.sample(owner, 6, generator()).inputs for owner in owners]
    assert torch.equal(first[0], alone.sample(ROOT, 6, generator()).inputs)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])
    with pytest.raises(KeyError):
        task.sample(root_of(3), 6, generator())


@pytest.mark.parametrize("name", ["digits_cnn", "digits_mlp", "digits_mlp_biased_root"])
def test_digits_of_several_guards_are_disjoint(name: str) -> None:
    task = TASKS[name](replace(SETUP, root_samples=40, guards=5))
    assert isinstance(task, _Digits)
    assert [len(task.shards[root_of(guard)]) for guard in range(5)] == [40] * 5
    together = torch.cat([task.test_indices, *task.shards.values()])
    assert len(together) == len(torch.unique(together)) == 1797


TEXT_BYTES = len("\n".join(topics.topics.values()).encode())
"""466,195 with Python 3.11.7; other versions of Python bring other texts."""


def test_bytes_of_several_guards_are_disjoint() -> None:
    task = ByteLm(TaskSetup(workers=5, split="iid", root_samples=220, seed=0, guards=3))
    assert [len(task.shards[root_of(guard)]) for guard in range(3)] == [220 * CONTEXT] * 3
    total = sum(len(part) for part in task.shards.values()) + len(task._test)
    assert TEXT_BYTES - 195 <= total <= TEXT_BYTES


def test_task_with_samples_for_one_guard_alone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class ForOne(DigitsMlp):
        def __init__(self, setup: TaskSetup) -> None:
            super().__init__(replace(setup, guards=1))

    monkeypatch.setitem(TASKS, "for_one", ForOne)
    assert isinstance(load_task("for_one", SETUP), ForOne)
    with pytest.raises(TaskError, match="no trusted samples for guard 1"):
        load_task("for_one", replace(SETUP, guards=3))


def test_biased_root_lacks_three_classes_that_everybody_else_has() -> None:
    task = DigitsMlpBiasedRoot(TaskSetup(workers=5, split="iid", root_samples=100, seed=3))
    trusted = task.sample(ROOT, 5000, generator())
    assert set(trusted.targets.tolist()) == set(range(7))
    assert len(task.shards[ROOT]) == 100
    assert set(task.sample(2, 5000, generator()).targets.tolist()) == set(range(10))
    together = torch.cat([task.test_indices, *task.shards.values()])
    assert len(together) == len(torch.unique(together)) == 1797


@pytest.mark.parametrize("split", ["iid", "dirichlet_0.3", "two_classes"])
def test_digits_test_root_and_shards_are_disjoint_and_complete(split: str) -> None:
    task = DigitsMlp(TaskSetup(workers=5, split=split, root_samples=100, seed=3))
    parts = [task.test_indices, *task.shards.values()]
    together = torch.cat(parts)
    assert len(together) == len(torch.unique(together)) == 1797
    assert len(task.test_indices) == 400
    assert len(task.shards[ROOT]) == 100


def test_digits_test_set_is_stratified() -> None:
    task = DigitsMlp(SETUP)
    labels = task._labels[task.test_indices]
    assert torch.bincount(labels).tolist() == [40] * 10


def test_digits_labels_are_poisoned_and_images_are_not() -> None:
    task = DigitsMlp(SETUP)
    batch = task.sample(0, 20, generator())
    poisoned = task.poison(batch, "labels", generator())
    assert torch.equal(poisoned.inputs, batch.inputs)
    assert torch.equal(poisoned.targets, 9 - batch.targets)


def test_digits_cnn_moves_images_by_at_most_one_pixel() -> None:
    task = DigitsCnn(SETUP)
    plain = task._images[task.shards[0]].flatten(1).sum(1)
    batch = task.sample(0, 64, generator())
    assert batch.inputs.shape == (64, 1, 8, 8)
    # Pixels may fall off the edge, so a moved image is never brighter than the brightest one.
    assert float(batch.inputs.sum((1, 2, 3)).max()) <= float(plain.max()) + 1e-4


def test_byte_lm_pieces_are_disjoint_and_targets_are_the_next_bytes() -> None:
    task = ByteLm(TaskSetup(workers=5, split="iid", root_samples=220, seed=0))
    assert len(task.shards[ROOT]) == 220 * CONTEXT
    total = sum(len(part) for part in task.shards.values()) + len(task._test)
    assert TEXT_BYTES - 195 <= total <= TEXT_BYTES
    batch = task.sample(2, 3, generator())
    assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])


def test_byte_lm_poison_shuffles_targets() -> None:
    task = ByteLm(TaskSetup(workers=5, split="iid", root_samples=220, seed=0))
    batch = task.sample(2, 3, generator())
    poisoned = task.poison(batch, "labels", generator())
    assert torch.equal(poisoned.inputs, batch.inputs)
    assert not torch.equal(poisoned.targets, batch.targets)
    assert torch.equal(poisoned.targets.flatten().sort().values, batch.targets.flatten().sort().values)


def test_byte_lm_untrained_perplexity_is_about_256() -> None:
    task = ByteLm(TaskSetup(workers=5, split="iid", root_samples=220, seed=0))
    metric = task.evaluate(task.build_model(0))
    assert metric.name == "perplexity"
    assert not metric.higher_is_better
    assert 200 < metric.value < 320


@pytest.mark.parametrize("name", sorted(TASKS))
def test_poison_of_an_unknown_kind_raises(name: str) -> None:
    task = load_task(name, SETUP)
    with pytest.raises(TaskError, match="cannot poison"):
        task.poison(task.sample(0, 2, generator()), "nothing", generator())


@pytest.mark.parametrize("name", sorted(TASKS))
def test_task_that_would_leave_workers_without_data_raises(name: str) -> None:
    with pytest.raises(TaskError):
        load_task(name, TaskSetup(workers=5, split="iid", root_samples=10**6, seed=0))
    with pytest.raises(TaskError):
        load_task(name, TaskSetup(workers=250, split="iid", root_samples=100, seed=0))


def test_own_task_is_found_by_module_and_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("my_tasks")
    module.mine = lambda setup: DigitsMlp(setup)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_tasks", module)
    assert isinstance(load_task("my_tasks:mine", SETUP), DigitsMlp)
    assert len(Fleet(tiny_run(task="my_tasks:mine")).theta) == 5_410


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits", "unknown task"),
        ("digits:", "unknown task"),
        (":mine", "unknown task"),
        ("no_such_module_here:mine", "cannot import"),
        ("math:mine", "no callable"),
        ("math:pi", "no callable"),
    ],
)
def test_task_that_cannot_be_found_raises(name: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load_task(name, SETUP)
