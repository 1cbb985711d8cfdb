"""Gaussian noise as long as an honest update, or ten times as long.

Source: the attack of LelloOmwei/semantic-guard-diloco's demo, N(0, 10^2), with the norm made relative;
Blanchard et al. 2017, "Machine learning with adversaries", section 5 (Gaussian Byzantine workers).
"""

from typing import ClassVar

import numpy as np

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery


class NoiseX1(Attack):
    """A fresh random direction every round, |u| = |own|."""

    name = "noise_x1"
    factor: ClassVar[float] = 1.0

    def act(self, context: AttackContext) -> Forgery:
        """Draw the direction and scale it."""
        return Forged(context.noise(self.factor * float(np.linalg.norm(context.own))))


class NoiseX10(NoiseX1):
    """A fresh random direction every round, |u| = 10 |own|."""

    name = "noise_x10"
    factor = 10.0
