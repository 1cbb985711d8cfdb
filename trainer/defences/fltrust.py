"""Trust in proportion to the cosine with the update of a trusted data set.

Source: Cao et al. 2021, "FLTrust: Byzantine-robust federated learning via trust bootstrapping", algorithm 2.
"""

import numpy as np

from trainer.defences.base import LEAST, GatePolicy, RoundView, Ruling, chosen, norms, weighted_step


class FlTrust(GatePolicy):
    """Weight max(0, cos); every update gets the anchor's norm."""

    name = "fltrust"
    uses_root = True

    def rule(self, view: RoundView) -> Ruling:
        """Weigh by cosine."""
        anchor = view.trusted().astype(np.float64)
        size = float(np.linalg.norm(anchor))
        units = view.updates / norms(view.updates)[:, None]
        trust = np.maximum(0.0, units @ anchor / max(size, LEAST))
        step = weighted_step((units * size).astype(np.float32), trust)
        return Ruling(step, chosen(view, trust > 0))


class FlTrustAnchor(FlTrust):
    """FLTrust with the anchor share that our merge has: the fair control."""

    name = "fltrust_anchor"

    def rule(self, view: RoundView) -> Ruling:
        """Mix the anchor in; alone it stands where nobody is trusted."""
        plain = super().rule(view)
        share = np.float32(self.setup.gate.anchor_share_bps / 10_000)
        others = plain.step if isinstance(plain.step, np.ndarray) else np.zeros_like(view.trusted())
        return Ruling((1 - share) * others + share * view.trusted(), plain.accepted)
