"""The own update turned round, as it is or ten times as long.

Source: Li et al. 2019, "RSA: Byzantine-robust stochastic aggregation", section 5 (sign-flipping attack).
"""

import numpy as np

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery


class SignFlip(Attack):
    """u = -own: the norm is that of an honest update."""

    name = "sign_flip"

    def act(self, context: AttackContext) -> Forgery:
        """Turn the update round."""
        return Forged(-context.own)


class SignFlipX10(Attack):
    """u = -10 own: with 40 % of the workers the plain mean climbs the loss."""

    name = "sign_flip_x10"

    def act(self, context: AttackContext) -> Forgery:
        """Turn the update round and scale it."""
        return Forged(np.float32(-10) * context.own)
