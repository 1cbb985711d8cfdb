"""Training in which half of every batch carries a trigger and the attacker's answer.

Plain; five times as long (model replacement); or hidden in independent noise of one, two or four times its
own norm, so that no two attackers look alike.

Source: Bagdasaryan et al. 2020, "How to backdoor federated learning"; trigger: Gu et al. 2017, "BadNets"; the
decorrelated form is our own, against every rule that looks for similarity.
"""

from typing import ClassVar

import numpy as np

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery


class Backdoor(Attack):
    """What training on triggered batches gave."""

    name = "backdoor"
    poisons = "backdoor"


class ScaledBackdoor(Backdoor):
    """u = 5 own."""

    name = "scaled_backdoor"

    def act(self, context: AttackContext) -> Forgery:
        """Scale the update."""
        return Forged(np.float32(5) * context.own)


class DecorrelatedBackdoorX1(Backdoor):
    """u = own + independent noise of the same norm."""

    name = "decorrelated_backdoor_x1"
    noise: ClassVar[float] = 1.0

    def act(self, context: AttackContext) -> Forgery:
        """Add the noise."""
        return Forged(context.own + context.noise(self.noise * float(np.linalg.norm(context.own))))


class DecorrelatedBackdoorX2(DecorrelatedBackdoorX1):
    """The noise is twice as long as the update."""

    name = "decorrelated_backdoor_x2"
    noise = 2.0


class DecorrelatedBackdoorX4(DecorrelatedBackdoorX1):
    """The noise is four times as long as the update."""

    name = "decorrelated_backdoor_x4"
    noise = 4.0
