"""One label-flip update under many names, as it is or with noise of its own under each.

Source: Fung et al. 2020, "The limitations of federated learning in Sybil settings", section 4; the noise is
the evasion that its section 8 describes.
"""

from typing import ClassVar

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery, scaled


class Sybil(Attack):
    """u = the mean of all attackers' label-flip updates, as long as the longest honest one."""

    name = "sybil"
    poisons = "labels"
    noise: ClassVar[float] = 0.0

    def act(self, context: AttackContext) -> Forgery:
        """Share the update; add noise relative to its norm."""
        norm = context.largest_honest_norm()
        shared = scaled(context.peer_mean(), norm)
        return Forged(shared + context.noise(self.noise * norm) if self.noise else shared)


class SybilNoise05(Sybil):
    """Each adds independent noise half as long."""

    name = "sybil_noise_0.5"
    noise = 0.5


class SybilNoise1(Sybil):
    """Each adds independent noise just as long."""

    name = "sybil_noise_1"
    noise = 1.0


class SybilNoise2(Sybil):
    """Each adds independent noise twice as long."""

    name = "sybil_noise_2"
    noise = 2.0
