"""The plain mean, of everybody or of the honest only; and the mean of updates cut to the median norm.

Source: DiLoCo, Douillard et al. 2023, algorithm 1; norm clipping: Sun et al. 2019, "Can you really backdoor
federated learning?", section 3.
"""

import numpy as np

from guard.weights import Q32, MergeWeights
from trainer.defences.base import GatePolicy, RoundView, Ruling, norms, weighted_step


class Mean(GatePolicy):
    """Every well-formed update counts the same, in the exact merge."""

    name = "mean"

    def rule(self, view: RoundView) -> Ruling:
        """Give everybody the same weight."""
        count = len(view.indices)
        weights = MergeWeights(view.indices, (Q32 // count,) * count, 0)
        return Ruling(weights, frozenset(view.indices))


class HonestOnly(Mean):
    """The reference that knows who cheats: their work never arrives. No defence can be asked for more."""

    name = "honest_only"
    sees_attackers = False


class NormClippedMean(GatePolicy):
    """Longer updates are cut to the median norm."""

    name = "norm_clipped_mean"

    def rule(self, view: RoundView) -> Ruling:
        """Cut, then average."""
        sizes = norms(view.updates)
        factors = np.minimum(1.0, np.median(sizes) / sizes)
        cut = (view.updates * factors[:, None]).astype(np.float32)
        return Ruling(weighted_step(cut, np.ones(len(cut))), frozenset(view.indices))
