"""Updates cut to a radius around last round's step.

Source: Karimireddy et al. 2021, "Learning from history for Byzantine robust optimization", algorithm 2.
"""

import numpy as np
from numpy.typing import NDArray

from trainer.defences.base import LEAST, PolicySetup, Stack, StackRule

STEPS = 3


class CenteredClip(StackRule):
    """Three steps; the radius is the median distance to the centre, which is last round's result."""

    name = "centered_clip"

    def __init__(self, setup: PolicySetup) -> None:
        super().__init__(setup)
        self._centre = np.zeros(setup.length)

    def combine(self, updates: Stack) -> NDArray[np.floating]:
        """Clip around the last result."""
        radius = float(np.median(np.linalg.norm(updates - self._centre, axis=1)))
        self._centre = centered_clip(updates, self._centre, radius, STEPS)
        return self._centre


def centered_clip(
    updates: Stack, centre: NDArray[np.float64], radius: float, steps: int
) -> NDArray[np.float64]:
    """Give centre + mean of the clipped differences, [d], so many times over.

    Args:
        updates: float32 [n, d].
        centre: Where to start, [d].
        radius: Differences longer than this are cut to it.
        steps: How often.
    """
    for _ in range(steps):
        differences = updates - centre
        sizes = np.maximum(np.linalg.norm(differences, axis=1), LEAST)
        centre = centre + (differences * np.minimum(1.0, radius / sizes)[:, None]).mean(axis=0)
    return centre
