"""Inner-product manipulation: the honest mean, reversed and scaled, from every attacker.

Source: Xie et al. 2019, "Fall of empires: breaking Byzantine-tolerant SGD by inner product manipulation".
"""

from typing import ClassVar

import numpy as np

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery


class Ipm05(Attack):
    """u = -0.5 * mean of the honest updates; all attackers hand in the same."""

    name = "ipm_0.5"
    epsilon: ClassVar[float] = 0.5

    def act(self, context: AttackContext) -> Forgery:
        """Reverse and scale the mean."""
        return Forged(np.float32(-self.epsilon) * context.honest_mean())


class Ipm2(Ipm05):
    """u = -2 * mean of the honest updates."""

    name = "ipm_2"
    epsilon = 2.0
