import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainer.errors import InputError
from trainer.merge import Weighted, merge

LR, MU = 700_000, 900_000


def f32(value: float) -> float:
    """Round a Python float, an IEEE double, to float32 and back."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def scalar_merge(
    theta: list[float], momentum: list[float], terms: list[Weighted]
) -> tuple[list[float], list[float]]:
    """docs/spec/merge.md with Python floats, one element and one operation at a time."""
    lr, mu = f32(LR / 1e6), f32(MU / 1e6)
    new_theta, new_momentum = [], []
    for i in range(len(theta)):
        acc = 0.0
        for term in terms:
            k = float(term.weight_q32) * 2.0 ** (term.exponent - 32)
            acc = acc + k * float(int(term.values[i]))
        delta = f32(acc)
        v = f32(f32(mu * momentum[i]) + delta)
        new_momentum.append(v)
        new_theta.append(f32(theta[i] - f32(lr * f32(delta + f32(mu * v)))))
    return new_theta, new_momentum


def terms_of(rng: np.random.Generator, count: int, length: int) -> list[Weighted]:
    return [
        Weighted(
            rng.integers(-127, 128, length, dtype=np.int8),
            int(rng.integers(-20, 3)),
            int(rng.integers(0, 1 << 41)) if k == count - 1 else int(rng.integers(0, (1 << 32) + 1)),
        )
        for k in range(count)
    ]


def vector(rng: np.random.Generator, length: int) -> NDArray[np.float32]:
    return rng.standard_normal(length, dtype=np.float32)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 12), length=st.integers(1, 40))
def test_merge_equals_the_scalar_loop_bit_for_bit(seed: int, count: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    theta, momentum, terms = vector(rng, length), vector(rng, length), terms_of(rng, count, length)
    got_theta, got_momentum = merge(theta, momentum, terms, outer_lr_micro=LR, outer_momentum_micro=MU)
    want_theta, want_momentum = scalar_merge(theta.tolist(), momentum.tolist(), terms)
    assert got_theta.tobytes() == np.array(want_theta, dtype=np.float32).tobytes()
    assert got_momentum.tobytes() == np.array(want_momentum, dtype=np.float32).tobytes()


@pytest.mark.parametrize("block", [1, 7, 1000, 1024, 5000])
def test_merge_does_not_depend_on_the_block(block: int) -> None:
    rng = np.random.default_rng(7)
    theta, momentum, terms = vector(rng, 2500), vector(rng, 2500), terms_of(rng, 5, 2500)
    want = merge(theta, momentum, terms, outer_lr_micro=LR, outer_momentum_micro=MU)
    got = merge(theta, momentum, terms, outer_lr_micro=LR, outer_momentum_micro=MU, block=block)
    assert [a.tobytes() for a in got] == [a.tobytes() for a in want]


def test_merge_of_nothing_leaves_model_and_momentum() -> None:
    rng = np.random.default_rng(3)
    theta, momentum = vector(rng, 10), vector(rng, 10)
    got_theta, got_momentum = merge(theta, momentum, [], outer_lr_micro=LR, outer_momentum_micro=MU)
    assert np.array_equal(got_theta, theta)
    assert np.array_equal(got_momentum, momentum)
    assert not np.shares_memory(got_theta, theta)


def test_merge_leaves_its_inputs_alone() -> None:
    rng = np.random.default_rng(3)
    theta, momentum = vector(rng, 10), vector(rng, 10)
    before = theta.tobytes(), momentum.tobytes()
    merge(theta, momentum, terms_of(rng, 2, 10), outer_lr_micro=LR, outer_momentum_micro=MU)
    assert (theta.tobytes(), momentum.tobytes()) == before


def test_merge_goes_down_the_pseudo_gradient() -> None:
    theta = np.zeros(1, dtype=np.float32)
    term = Weighted(np.array([100], dtype=np.int8), 0, 1 << 32)
    new_theta, v = merge(theta, theta, [term], outer_lr_micro=LR, outer_momentum_micro=MU)
    assert v[0] == 100
    assert math.isclose(new_theta[0], -0.7 * (100 + 0.9 * 100), rel_tol=1e-6)


def test_merge_matches_torch_nesterov() -> None:
    import torch

    rng = np.random.default_rng(5)
    theta = vector(rng, 50)
    parameter = torch.nn.Parameter(torch.from_numpy(theta.copy()))
    outer = torch.optim.SGD([parameter], lr=0.7, momentum=0.9, nesterov=True, foreach=False)
    momentum = np.zeros(50, dtype=np.float32)
    for _ in range(5):
        term = Weighted(rng.integers(-127, 128, 50, dtype=np.int8), -9, 1 << 32)
        theta, momentum = merge(theta, momentum, [term], outer_lr_micro=LR, outer_momentum_micro=MU)
        parameter.grad = torch.from_numpy(np.ldexp(term.values.astype(np.float32), -9))
        outer.step()
    assert np.allclose(theta, parameter.detach().numpy(), atol=1e-6)


def test_merge_reads_a_memory_map(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    path = tmp_path / "values"
    values = rng.integers(-127, 128, 3000, dtype=np.int8)
    path.write_bytes(bytes(96) + values.tobytes())
    mapped = np.memmap(path, dtype=np.int8, mode="r", offset=96)
    theta = vector(rng, 3000)
    want = merge(theta, theta, [Weighted(values, -8, 1 << 31)], outer_lr_micro=LR, outer_momentum_micro=MU)
    got = merge(theta, theta, [Weighted(mapped, -8, 1 << 31)], outer_lr_micro=LR, outer_momentum_micro=MU)
    assert got[0].tobytes() == want[0].tobytes()


@pytest.mark.parametrize(
    "term",
    [
        Weighted(np.zeros(3, dtype=np.int8), 0, 1),
        Weighted(np.zeros(4, dtype=np.int8), 64, 1),
        Weighted(np.zeros(4, dtype=np.int8), 0, -1),
        Weighted(np.zeros(4, dtype=np.int8), 0, 1 << 41),
        Weighted(np.zeros(4, dtype=np.int16), 0, 1),
    ],
)
def test_merge_refuses_a_term_that_does_not_fit(term: Weighted) -> None:
    theta = np.zeros(4, dtype=np.float32)
    with pytest.raises(InputError):
        merge(theta, theta, [term], outer_lr_micro=LR, outer_momentum_micro=MU)


def test_merge_refuses_other_types() -> None:
    theta = np.zeros(4, dtype=np.float32)
    with pytest.raises(InputError):
        merge(theta, np.zeros(3, dtype=np.float32), [], outer_lr_micro=LR, outer_momentum_micro=MU)
    with pytest.raises(InputError):
        merge(theta, theta, [], outer_lr_micro=LR, outer_momentum_micro=MU, block=0)
