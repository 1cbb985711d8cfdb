import numpy as np
import pytest
import torch
from torch import nn

from trainer.errors import CheckpointError, InputError, NumericError, TaskError
from trainer.tasks import TaskSetup, load_task
from trainer.tasks.base import Batch, Task
from trainer.worker import FlatModel, InnerConfig, Worker

INNER = InnerConfig(steps=4, batch_size=16, lr=0.003, warmup_steps=0)


def bench(name: str = "digits_mlp") -> tuple[Task, FlatModel]:
    task = load_task(name, TaskSetup(4, "iid", 100, 0))
    return task, FlatModel(task.build_model(0))


def test_train_is_the_textbook_loop_with_torch_adamw() -> None:
    """The flat vector, its views and the shared bench must change nothing but speed."""
    task, model = bench()
    theta = model.read()
    worker = Worker(task, model, INNER, owner=1, seed=5)
    got = [worker.train(1, theta), worker.train(2, theta)]

    module = task.build_model(0)
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=INNER.lr, betas=(0.9, 0.95), weight_decay=0.1, foreach=False
    )
    from trainer.randomness import torch_generator

    for round_number, gradient in zip((1, 2), got, strict=True):
        nn.utils.vector_to_parameters(torch.from_numpy(theta.copy()), module.parameters())
        generator = torch_generator("inner", 5, 1, round_number)
        for _ in range(INNER.steps):
            optimiser.zero_grad()
            task.loss(module, task.sample(1, 16, generator)).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
        after = nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
        assert np.allclose(gradient, theta - after, atol=2e-6)


def test_train_gives_before_minus_after_so_that_stepping_against_it_lowers_the_loss() -> None:
    task, model = bench()
    theta = model.read()
    gradient = Worker(task, model, INNER, owner=1, seed=5).train(1, theta)
    assert np.array_equal(gradient, theta - model.read())
    batch = task.sample(1, 500, torch.Generator().manual_seed(1))
    losses = []
    for candidate in (theta - gradient, theta, theta + gradient):
        model.load(candidate)
        losses.append(float(task.loss(model.module, batch).detach()))
    assert losses[0] < losses[1] < losses[2]


def test_train_again_from_the_same_state_gives_identical_bytes() -> None:
    task, model = bench("digits_cnn")
    theta = model.read()
    worker = Worker(task, model, INNER, owner=2, seed=5)
    worker.train(1, theta)
    state = worker.state_tensors()
    first = worker.train(2, theta)

    other_task, other_model = bench("digits_cnn")
    torch.manual_seed(99)
    other = Worker(other_task, other_model, INNER, owner=2, seed=5)
    other.load_state(state)
    assert other.train(2, theta).tobytes() == first.tobytes()


def test_train_differs_by_worker_round_and_seed() -> None:
    task, model = bench()
    theta = model.read()
    outcomes = {
        Worker(task, model, INNER, owner=owner, seed=seed).train(round_number, theta).tobytes()
        for owner, seed, round_number in ((0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2))
    }
    assert len(outcomes) == 4


def test_workers_that_share_a_bench_do_not_disturb_each_other() -> None:
    task, model = bench()
    theta = model.read()
    alone = Worker(task, model, INNER, owner=0, seed=5)
    expected = [alone.train(1, theta), alone.train(2, theta)]
    first, second = (Worker(task, model, INNER, owner=owner, seed=5) for owner in (0, 1))
    got = []
    for round_number in (1, 2):
        got.append(first.train(round_number, theta))
        second.train(round_number, theta)
    assert [g.tobytes() for g in got] == [e.tobytes() for e in expected]


def test_inner_optimiser_stays_with_the_worker() -> None:
    task, model = bench()
    theta = model.read()
    veteran, newcomer = (Worker(task, model, INNER, owner=0, seed=5) for _ in range(2))
    assert veteran.state_tensors() == {}
    veteran.train(1, theta)
    assert set(veteran.state_tensors()) == {"exp_avg", "exp_avg_sq", "step"}
    assert veteran.state_tensors()["step"] == INNER.steps
    assert veteran.train(2, theta).tobytes() != newcomer.train(2, theta).tobytes()


def test_warm_up_holds_the_first_steps_back_and_survives_a_restart() -> None:
    task, model = bench()
    theta = model.read()
    slow = InnerConfig(steps=4, batch_size=16, lr=0.003, warmup_steps=6)
    worker = Worker(task, model, slow, owner=0, seed=5)
    fast = Worker(task, model, INNER, owner=0, seed=5)
    assert np.linalg.norm(worker.train(1, theta)) < 0.6 * np.linalg.norm(fast.train(1, theta))
    state = worker.state_tensors()
    expected = worker.train(2, theta)
    again = Worker(task, model, slow, owner=0, seed=5)
    again.load_state(state)
    assert again.train(2, theta).tobytes() == expected.tobytes()


def test_train_that_diverges_raises_and_the_optimiser_starts_afresh() -> None:
    task, model = bench()
    theta = model.read()
    worker = Worker(task, model, INNER, owner=0, seed=5)
    with pytest.raises(NumericError, match="worker 0 diverged in round 7"):
        worker.train(7, np.full_like(theta, np.nan))
    assert worker.state_tensors() == {}
    assert np.isfinite(worker.train(8, theta)).all()


def test_model_that_draws_by_itself_is_deterministic_too() -> None:
    task, _ = bench()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FlatModel(nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.5)))
    theta = model.read()
    first, second = (Worker(task, model, INNER, owner=0, seed=5).train(1, theta) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert Worker(task, model, INNER, owner=0, seed=6).train(1, theta).tobytes() != first.tobytes()


def test_poisoned_worker_trains_on_poisoned_batches() -> None:
    task, model = bench()
    theta = model.read()
    honest = Worker(task, model, INNER, owner=0, seed=5).train(1, theta)
    cheat = Worker(task, model, INNER, owner=0, seed=5, poison="labels").train(1, theta)
    assert honest.tobytes() != cheat.tobytes()


def test_train_restores_the_number_of_threads() -> None:
    task, model = bench()
    before = torch.get_num_threads()
    Worker(task, model, INNER, owner=0, seed=5).train(1, model.read())
    assert torch.get_num_threads() == before


def test_load_state_of_another_model_raises() -> None:
    task, model = bench()
    worker = Worker(task, model, INNER, owner=0, seed=5)
    with pytest.raises(CheckpointError, match="does not fit"):
        worker.load_state({"exp_avg": torch.zeros(3)})


def test_flat_model_views_share_one_vector_in_parameter_order() -> None:
    last = nn.Linear(3, 1)
    module = nn.Sequential(nn.Linear(2, 3), last)
    expected = torch.cat([p.detach().flatten() for p in module.parameters()]).numpy()
    model = FlatModel(module)
    assert np.array_equal(model.read(), expected)
    assert model.shapes == (("0.weight", (3, 2)), ("0.bias", (3,)), ("1.weight", (1, 3)), ("1.bias", (1,)))
    model.load(np.arange(13, dtype=np.float32))
    assert last.bias.item() == 12
    with pytest.raises(InputError):
        model.load(np.zeros(12, dtype=np.float32))
    with pytest.raises(InputError):
        model.load(np.zeros(13))  # type: ignore[arg-type]


def test_flat_model_refuses_buffers_and_other_types() -> None:
    with pytest.raises(TaskError, match="buffers"):
        FlatModel(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    with pytest.raises(TaskError, match="float32"):
        FlatModel(nn.Linear(2, 2).double())
    with pytest.raises(TaskError, match="float32"):
        FlatModel(nn.ReLU())


def test_batch_is_a_pair() -> None:
    inputs, targets = Batch(torch.zeros(1), torch.ones(1))
    assert (inputs.item(), targets.item()) == (0, 1)
