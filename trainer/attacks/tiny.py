"""A free rider whose update is just too short to count as work.

Source: docs/spec/gate.md, "alive": a sixteenth of the anchor's norm is the least.
"""

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery, scaled


class Tiny(Attack):
    """u = own, one eighteenth as long as the longest honest one."""

    name = "tiny"

    def act(self, context: AttackContext) -> Forgery:
        """Shrink the update."""
        return Forged(scaled(context.own, context.largest_honest_norm() / 18))
