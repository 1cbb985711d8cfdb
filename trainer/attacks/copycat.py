"""Signs the root that another worker committed to, hoping to be credited for its work.

Source: docs/spec/update.md: the header under the root names its worker, so the bytes behind a copied root are
malformed.
"""

from trainer.attacks.base import Attack, AttackContext, CopiedRoot, Forged, Forgery


class Copycat(Attack):
    """Attacker i copies the i-th honest worker, counting round."""

    name = "copycat"

    def act(self, context: AttackContext) -> Forgery:
        """Choose a victim; with no honest worker there is none."""
        victims = sorted(context.honest)
        return CopiedRoot(victims[context.worker % len(victims)]) if victims else Forged(context.own)
