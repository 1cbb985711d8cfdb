"""A loss probe: the n - f updates that lower the loss on trusted samples the most.

Source: Xie et al. 2019, "Zeno: distributed SGD with suspicion-based fault-tolerance", with norms cut to the
median first, as a probe of single steps needs comparable lengths.
"""

import numpy as np

from trainer.defences.base import GatePolicy, RoundView, Ruling, assumed_faults, chosen, norms


class Zeno(GatePolicy):
    """Keeps the best n - f by loss after their step alone."""

    name = "zeno"
    uses_root = True

    def rule(self, view: RoundView) -> Ruling:
        """Probe and keep; nobody came: no step."""
        if not view.indices:
            return Ruling(None, frozenset())
        sizes = norms(view.updates)
        cut = (view.updates * np.minimum(1.0, np.median(sizes) / sizes)[:, None]).astype(np.float32)
        losses = np.array([view.root_loss(view.theta - update) for update in cut])
        losses = np.where(np.isfinite(losses), losses, np.inf)
        keep = np.argsort(losses, kind="stable")[: len(cut) - assumed_faults(len(cut))]
        return Ruling(cut[keep].mean(axis=0, dtype=np.float64).astype(np.float32), chosen(view, keep))
