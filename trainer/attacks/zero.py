"""A free rider that hands in nothing but zeros.

Source: Lin et al. 2019, "Free-riders in federated learning: attacks and defenses"; gate.md, "alive".
"""

import numpy as np

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery


class Zero(Attack):
    """u = 0."""

    name = "zero"

    def act(self, context: AttackContext) -> Forgery:
        """Hand in zeros."""
        return Forged(np.zeros_like(context.own))
