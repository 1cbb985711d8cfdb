"""Min-max and min-sum: as far from the honest mean as distances between the honest ones allow.

`u = mean + gamma * p` with the largest gamma at which u is no further from any honest update than two honest
updates are from each other (min-max), or the sum of its squared distances is no larger than the largest such
sum of an honest one (min-sum). p is -sd in every coordinate, or the reversed unit mean.

Source: Shejwalkar and Houmansadr 2021, "Manipulating the Byzantine", section 4; perturbations "inverse
standard deviation" and "inverse unit vector".
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trainer.attacks.base import Attack, AttackContext, FloatArray, Forged, Forgery, scaled

HALVINGS = 20

Measure = Callable[[NDArray[np.float32]], float]
"""From squared distances to the honest updates, float32 [n], to one number."""


class MinMax(Attack):
    """The largest distance to an honest update is bounded; p = -sd."""

    name = "min_max"
    measure: Measure = staticmethod(lambda distances: float(distances.max()))

    def direction(self, context: AttackContext) -> FloatArray:
        """Give p, a unit vector."""
        return scaled(-context.honest_deviation(), 1.0)

    def act(self, context: AttackContext) -> Forgery:
        """Find the largest gamma by halving."""
        if len(context.honest) < 2:
            return Forged(context.honest_mean())
        honest = np.stack(list(context.honest.values()))
        mean, direction = context.honest_mean(), self.direction(context)
        bound = max(type(self).measure(_squared_distances(honest, one)) for one in honest)
        gamma, step = 0.0, 10.0 * float(np.sqrt(bound))
        for _ in range(HALVINGS):
            tried = mean + np.float32(gamma + step) * direction
            if type(self).measure(_squared_distances(honest, tried)) <= bound:
                gamma += step
            step /= 2
        return Forged((mean + np.float32(gamma) * direction).astype(np.float32))


class MinMaxUnit(MinMax):
    """The same, straight against the honest mean."""

    name = "min_max_unit"

    def direction(self, context: AttackContext) -> FloatArray:
        """Give the reversed unit mean."""
        return scaled(-context.honest_mean(), 1.0)


class MinSum(MinMax):
    """The sum of squared distances is bounded; p = -sd."""

    name = "min_sum"
    measure: Measure = staticmethod(lambda distances: float(distances.sum()))


def _squared_distances(honest: NDArray[np.float32], vector: FloatArray) -> NDArray[np.float32]:
    difference = honest - vector
    squared: NDArray[np.float32] = np.einsum("nd,nd->n", difference, difference)
    return squared
