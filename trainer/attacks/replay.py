"""A free rider that trained once and hands the same update in for ever.

Source: Lin et al. 2019, "Free-riders in federated learning: attacks and defenses", section 3.
"""

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery


class Replay(Attack):
    """u = the own update of the first round; the header is fresh, so the root is too."""

    name = "replay"

    def act(self, context: AttackContext) -> Forgery:
        """Remember the first update, repeat it later."""
        return Forged(context.memory.setdefault("first", context.own.copy()))
