"""The point with the least sum of distances to all updates.

Source: Pillutla et al. 2022, "Robust aggregation for federated learning" (RFA), smoothed Weiszfeld
iterations.
"""

import numpy as np
from numpy.typing import NDArray

from trainer.defences.base import Stack, StackRule

STEPS = 10
SMOOTHING = 1e-6


class GeometricMedian(StackRule):
    """Ten Weiszfeld steps from zero."""

    name = "geometric_median"

    def combine(self, updates: Stack) -> NDArray[np.floating]:
        """Iterate."""
        return geometric_median(updates, STEPS, SMOOTHING)


def geometric_median(updates: Stack, steps: int, smoothing: float) -> NDArray[np.float64]:
    """Give the geometric median of [n, d] after so many steps, [d]; distances are at least `smoothing`."""
    wide = updates.astype(np.float64)
    point = np.zeros(wide.shape[1])
    for _ in range(steps):
        weights = 1.0 / np.maximum(smoothing, np.linalg.norm(wide - point, axis=1))
        point = weights @ wide / weights.sum()
    return point
