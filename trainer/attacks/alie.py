"""A little is enough: in every coordinate all attackers shift the honest mean by 1.5 deviations.

Source: Baruch et al. 2019, "A little is enough: circumventing defenses for distributed learning".
"""

import numpy as np

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery

Z = np.float32(1.5)


class Alie(Attack):
    """u = mean - 1.5 sd of the honest updates."""

    name = "alie"

    def act(self, context: AttackContext) -> Forgery:
        """Shift the mean; with no honest worker to look at, the own update."""
        return Forged(context.honest_mean() - Z * context.honest_deviation())
