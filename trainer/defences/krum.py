"""Krum and Multi-Krum: those whose n - f nearest are nearest.

Source: Blanchard et al. 2017, "Machine learning with adversaries: Byzantine tolerant gradient descent"; the
neighbourhood of n - f members, oneself included, and n - f survivors follow ByzFL (Gonzalez et al. 2025).
"""

import numpy as np
from numpy.typing import NDArray

from trainer.defences.base import (
    GatePolicy,
    RoundView,
    Ruling,
    Stack,
    assumed_faults,
    chosen,
    squared_distances,
)


class Krum(GatePolicy):
    """The one update with the nearest neighbourhood."""

    name = "krum"

    def rule(self, view: RoundView) -> Ruling:
        """Choose by krum_scores()."""
        places = self.places(view.updates, assumed_faults(len(view.indices)))
        step = view.updates[places].astype(np.float64).mean(axis=0).astype(np.float32)
        return Ruling(step, chosen(view, places))

    def places(self, updates: Stack, faults: int) -> NDArray[np.int64]:
        """Give the rows to keep."""
        return np.argsort(krum_scores(updates, faults), kind="stable")[:1]


class MultiKrum(Krum):
    """The mean of the n - f updates with the nearest neighbourhoods."""

    name = "multi_krum"

    def places(self, updates: Stack, faults: int) -> NDArray[np.int64]:
        """Give the rows to keep."""
        return np.argsort(krum_scores(updates, faults), kind="stable")[: len(updates) - faults]


def krum_scores(updates: Stack, faults: int) -> NDArray[np.float64]:
    """Give, for each of [n, d], the sum of squared distances to its n - f - 1 nearest others, [n]."""
    nearest = np.sort(squared_distances(updates), axis=1)[:, 1 : len(updates) - faults]
    total: NDArray[np.float64] = nearest.sum(axis=1)
    return total
