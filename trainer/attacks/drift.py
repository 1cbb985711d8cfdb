"""Half of what the honest found, half label flip: close enough to pass, wrong enough to pull.

Source: our own, after Bagdasaryan et al. 2020, "How to backdoor federated learning", section 4.3
(constrain and scale: the attacker adds a term that looks honest).
"""

import numpy as np

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery


class Drift(Attack):
    """u = (honest mean + own label-flip update) / 2."""

    name = "drift"
    poisons = "labels"

    def act(self, context: AttackContext) -> Forgery:
        """Blend."""
        return Forged(np.float32(0.5) * (context.honest_mean() + context.own))
