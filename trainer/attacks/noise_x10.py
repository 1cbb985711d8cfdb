"""Gaussian noise ten times as long as an honest update.

Source: the attack of LelloOmwei/semantic-guard-diloco's demo, N(0, 10^2), with the norm made relative.
"""

import numpy as np

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery


class NoiseX10(Attack):
    """A fresh random direction every round, |u| = 10 |own|."""

    name = "noise_x10"

    def act(self, context: AttackContext) -> Forgery:
        """Draw the direction and scale it."""
        noise = context.rng.standard_normal(len(context.own), dtype=np.float32)
        scale = 10 * np.linalg.norm(context.own) / np.linalg.norm(noise)
        return Forged((noise * scale).astype(np.float32))
