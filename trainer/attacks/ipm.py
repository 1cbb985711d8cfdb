"""Inner-product manipulation: the honest mean, reversed and halved, from every attacker.

Source: Xie et al. 2019, "Fall of empires: breaking Byzantine-tolerant SGD by inner product manipulation".
"""

import numpy as np

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery


class Ipm05(Attack):
    """u = -0.5 * mean of the honest updates; all attackers hand in the same."""

    name = "ipm_0.5"

    def act(self, context: AttackContext) -> Forgery:
        """Reverse and halve the mean."""
        return Forged(np.float32(-0.5) * context.honest_mean())
