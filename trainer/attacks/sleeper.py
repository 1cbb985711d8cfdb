"""Honest until trusted, then the opposite; for good, or on and off.

Source: Sun et al. 2006, "A trust evaluation framework in distributed networks", section IV (on-off attack).
"""

from typing import ClassVar

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery


class Sleeper(Attack):
    """u = own in the first seven rounds, then -own."""

    name = "sleeper"
    honest_rounds: ClassVar[int] = 7

    def act(self, context: AttackContext) -> Forgery:
        """Behave, or turn the update round."""
        return Forged(context.own if self.behaves(context.round_number) else -context.own)

    def behaves(self, round_number: int) -> bool:
        """Tell whether this is a round of honest work."""
        return round_number <= self.honest_rounds


class Sleeper40(Sleeper):
    """The same, after forty rounds: when the model has converged."""

    name = "sleeper_40"
    honest_rounds = 40


class OnOff(Sleeper):
    """Two rounds of honest work, two of the opposite, and so on."""

    name = "on_off"

    def behaves(self, round_number: int) -> bool:
        """Tell whether this is a round of honest work."""
        return (round_number - 1) % 4 < 2
