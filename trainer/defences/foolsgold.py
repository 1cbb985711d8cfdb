"""Less weight for those whose histories are alike.

Source: Fung et al. 2020, "The limitations of federated learning in Sybil settings", algorithm 1; no feature
weighting.
"""

import numpy as np
from numpy.typing import NDArray

from trainer.defences.base import GatePolicy, PolicySetup, RoundView, Ruling, chosen, norms, weighted_step

CONFIDENCE = 1.0


class FoolsGold(GatePolicy):
    """Weights from the cosines of summed updates, with pardoning and a logit."""

    name = "foolsgold"

    def __init__(self, setup: PolicySetup) -> None:
        super().__init__(setup)
        self._sums = np.zeros((setup.workers, setup.length), dtype=np.float32)

    def rule(self, view: RoundView) -> Ruling:
        """Add to the histories, then weigh."""
        rows = list(view.indices)
        self._sums[rows] += view.updates
        weights = foolsgold_weights(self._sums[rows])
        return Ruling(weighted_step(view.updates, weights), chosen(view, weights > 0))


def foolsgold_weights(histories: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the weights in [0, 1] of workers with these summed updates, float32 [n, d]."""
    if len(histories) < 2:
        return np.ones(len(histories))
    units = histories.astype(np.float64) / norms(histories)[:, None]
    likeness = units @ units.T
    np.fill_diagonal(likeness, -np.inf)
    closest = np.maximum(likeness.max(axis=1), 1e-5)
    pardon = np.where(closest[:, None] < closest[None, :], closest[:, None] / closest[None, :], 1.0)
    weights = np.clip(1.0 - (likeness * pardon).max(axis=1), 0.0, 1.0)
    if weights.max() <= 0:
        return np.zeros(len(weights))
    weights = np.clip(weights / weights.max(), 1e-9, 0.99)
    logits: NDArray[np.float64] = np.clip(CONFIDENCE * (np.log(weights / (1 - weights)) + 0.5), 0.0, 1.0)
    return logits
