"""Structural attacks on sketch S6: harmless while the seed is unknown, deadly once it is known."""

from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pytest

from guard.score import score
from guard.signs import SeedSigns
from guard.sketch import Engine, Sketch

ROWS = 48
SEEDS = 150
Update = npt.NDArray[np.int8]


def honest() -> Update:
    """Heavy-tailed values, as pseudo-gradients have."""
    rng = np.random.default_rng(5)
    return np.clip(np.rint(rng.standard_t(4, ROWS * 1024) * 12), -127, 127).astype(np.int8)


def cosine(a: Update, b: Update) -> float:
    x, y = a.astype(np.float64), b.astype(np.float64)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def code(update: Update, signs: SeedSigns) -> int:
    sketch = Sketch(signs, engine=Engine.NUMPY)
    sketch.update(update)
    return sketch.code()


def mean_estimate(update: Update, anchor: Update) -> float:
    """Give the cosine that the codes suggest, averaged over many seeds."""
    estimates = []
    for i in range(SEEDS):
        signs = SeedSigns(sha256(b"%d" % i).digest())
        estimates.append(np.sin(np.pi / 2 * score(code(update, signs), code(anchor, signs)) / 256))
    return float(np.mean(estimates))


def lane_attack(anchor: Update, period: int, lanes: int) -> Update:
    """Copy the honest signs at +-1, and shout the opposite in a few lanes."""
    signs = np.where(anchor < 0, -1, 1).astype(np.int8)
    loud = np.arange(len(anchor)) % period < lanes
    return np.where(loud, -127 * signs, signs).astype(np.int8)


def row_attack(anchor: Update, period: int, rows: int) -> Update:
    """The same, with whole rows that share their column signs."""
    signs = np.where(anchor < 0, -1, 1).astype(np.int8)
    loud = np.arange(len(anchor)) // 1024 % period < rows
    return np.where(loud, -127 * signs, signs).astype(np.int8)


@pytest.mark.parametrize(("period", "lanes"), [(32, 1), (32, 8), (256, 4), (256, 64), (1024, 16)])
def test_lane_attack_gains_nothing_without_the_seed(period: int, lanes: int) -> None:
    anchor = honest()
    attack = lane_attack(anchor, period, lanes)
    assert cosine(attack, anchor) < 0
    assert mean_estimate(attack, anchor) - cosine(attack, anchor) <= 0.05


@pytest.mark.parametrize(("period", "rows"), [(16, 1), (16, 4), (48, 1)])
def test_row_attack_gains_nothing_without_the_seed(period: int, rows: int) -> None:
    anchor = honest()
    attack = row_attack(anchor, period, rows)
    assert mean_estimate(attack, anchor) - cosine(attack, anchor) <= 0.05


def projection(signs: SeedSigns) -> npt.NDArray[np.float64]:
    """Give the sketch as the matrix that it is, shape (256, ROWS * 1024)."""
    index = np.arange(256)
    hadamard = 1 - 2 * (np.bitwise_count(index[:, None] & index[None, :]) & 1).astype(np.int8)
    bits = np.unpackbits(signs.row_digests(0, ROWS)[:, ::-1].copy(), axis=1, bitorder="little")
    rho = 1 - 2 * bits.astype(np.int8)
    blocks = [
        rho[b][:, None] * np.tile(hadamard, (1, 4)) * signs.columns[b % 16][None, :] for b in range(ROWS)
    ]
    return np.concatenate(blocks, axis=1).astype(np.float64)


def null_space_attack(anchor: Update, signs: SeedSigns) -> Update:
    """Give the opposite of an update, except for the few directions that the sketch looks at."""
    matrix = projection(signs)
    seen = matrix.T @ np.linalg.solve(matrix @ matrix.T, matrix @ anchor.astype(np.float64))
    return np.clip(np.rint(2 * seen - anchor), -127, 127).astype(np.int8)


def test_null_space_attack_fools_whoever_shows_the_seed_first() -> None:
    """Why the seed must be drawn after the commitments."""
    anchor, known = honest(), SeedSigns(sha256(b"known").digest())
    attack = null_space_attack(anchor, known)
    assert cosine(attack, anchor) < -0.95
    assert score(code(attack, known), code(anchor, known)) > 240


def test_null_space_attack_fails_under_a_later_seed() -> None:
    anchor, known = honest(), SeedSigns(sha256(b"known").digest())
    attack = null_space_attack(anchor, known)
    assert mean_estimate(attack, anchor) - cosine(attack, anchor) <= 0.05
    later = SeedSigns(sha256(b"later").digest())
    assert score(code(attack, later), code(anchor, later)) < -200
