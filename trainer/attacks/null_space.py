"""An update that points the other way but has all sums of an honest one, under a projection known beforehand.

`u = -own + P+ (P own - P (-own))`: the smallest correction to the reversed update after which the sketch P
cannot tell it from the honest one. It is what makes a fixed projection worthless, and why the seed is drawn
after the commitments: here the attacker knows only the last round's.

Source: docs/spec/sketch.md for P; the minimum-norm solution `P+ = P^T (P P^T)^-1`, Penrose 1955.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from guard.signs import BANK, OUTPUTS, ROW_VALUES, SeedSigns
from trainer.attacks.base import Attack, AttackContext, FloatArray, Forged, Forgery

Float64Array = NDArray[np.float64]

BLOCK_ROWS = 256
MAX_STEPS = 100
TOLERANCE = 1e-10


class NullSpace(Attack):
    """Aims at the defence's fixed projection if it has one, else at the last round's seed.

    In the first round, with neither, it only reverses the update.
    """

    name = "null_space"
    scale: ClassVar[float] = 1.0

    def act(self, context: AttackContext) -> Forgery:
        """Craft the update against the projection that is known."""
        wanted = np.float32(-self.scale) * context.own
        if context.projection is not None:
            return Forged(conceal_from_matrix(wanted, context.honest_mean(), context.projection))
        seed = self.seed(context)
        return Forged(wanted if seed is None else conceal(wanted, context.own, seed))

    def seed(self, context: AttackContext) -> bytes | None:
        """Give the seed to aim at."""
        return context.known_seed


class NullSpaceX20(NullSpace):
    """The same with a hidden part twenty times as long: for a single attacker."""

    name = "null_space_x20"
    scale = 20.0


class NullSpaceGuess(NullSpace):
    """Aims at a seed that it guesses; the last one is of no use when every round draws its own."""

    name = "null_space_guess"

    def seed(self, context: AttackContext) -> bytes | None:
        """Guess."""
        return context.rng.bytes(32)


def conceal_from_matrix(wanted: FloatArray, shown: FloatArray, projection: FloatArray) -> FloatArray:
    """Give the vector nearest to `wanted` that a fixed projection [d, k] cannot tell from `shown`.

    Args:
        wanted: The direction to hide, float32 [d].
        shown: The vector to be taken for, float32 [d].
        projection: float32 [d, k], k < d.

    Returns:
        float32 [d].
    """
    matrix = projection.astype(np.float64)
    gap = (shown.astype(np.float64) - wanted) @ matrix
    return (wanted + matrix @ np.linalg.solve(matrix.T @ matrix, gap)).astype(np.float32)


def conceal(wanted: FloatArray, shown: FloatArray, seed: bytes) -> FloatArray:
    """Give the vector nearest to `wanted` whose 256 sums under this seed are those of `shown`.

    Args:
        wanted: The direction to hide, float32 [d], d >= 256.
        shown: The vector to be taken for, float32 [d].
        seed: 32 bytes.

    Returns:
        float32 [d].
    """
    sketch = _LinearSketch(seed, len(wanted))
    gap = sketch.apply(shown.astype(np.float64) - wanted)
    return (wanted + sketch.adjoint(_solve(sketch, gap))).astype(np.float32)


class _LinearSketch:
    """S6 as a linear map P, [256, d], on float64, and its adjoint; never stored as a matrix."""

    def __init__(self, seed: bytes, length: int) -> None:
        self._signs = SeedSigns(seed)
        self._length = length
        self._rows = -(-length // ROW_VALUES)
        hadamard = np.ones((1, 1))
        while len(hadamard) < OUTPUTS:
            hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
        self._hadamard = hadamard  # [256, 256], symmetric

    def apply(self, vector: Float64Array) -> Float64Array:
        """Give P v, [256]."""
        padded = np.zeros(self._rows * ROW_VALUES)
        padded[: self._length] = vector
        rows = padded.reshape(self._rows, ROW_VALUES)
        total = np.zeros(OUTPUTS)
        for part, columns, rho in self._blocks():
            fold = (rows[part] * columns).reshape(-1, 4, OUTPUTS).sum(axis=1)
            total += (rho * (fold @ self._hadamard)).sum(axis=0)
        return total

    def adjoint(self, sums: Float64Array) -> Float64Array:
        """Give P^T y, [d]."""
        rows = np.empty((self._rows, ROW_VALUES))
        for part, columns, rho in self._blocks():
            rows[part] = np.tile((rho * sums) @ self._hadamard, 4) * columns
        return rows.reshape(-1)[: self._length]

    def _blocks(self) -> Iterator[tuple[slice, NDArray[np.int8], Float64Array]]:
        """Give each block of rows: its place, column signs [rows, 1024], row signs [rows, 256]."""
        for start in range(0, self._rows, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, self._rows)
            digests = self._signs.row_digests(start, stop - start)
            bits = np.unpackbits(digests[:, ::-1], axis=1, bitorder="little").astype(np.float64)
            yield slice(start, stop), self._signs.columns[np.arange(start, stop) % BANK], 1.0 - 2.0 * bits


def _solve(sketch: _LinearSketch, target: Float64Array) -> Float64Array:
    """Solve P P^T y = target by conjugate gradients; P P^T is nearly d times the identity."""
    y = np.zeros(OUTPUTS)
    rest = target.copy()
    direction = rest.copy()
    size = float(rest @ rest)
    stop = TOLERANCE**2 * size
    for _ in range(MAX_STEPS):
        if size <= stop:
            break
        image = sketch.apply(sketch.adjoint(direction))
        step = size / float(direction @ image)
        y += step * direction
        rest -= step * image
        size, before = float(rest @ rest), size
        direction = rest + (size / before) * direction
    return y
