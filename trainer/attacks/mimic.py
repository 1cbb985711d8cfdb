"""All attackers hand in what one honest worker found: no poison, but the others' share shrinks.

Source: Karimireddy et al. 2022, "Byzantine-robust learning on heterogeneous datasets via bucketing",
section 4.1.
"""

from trainer.attacks.base import Attack, AttackContext, Forged, Forgery


class Mimic(Attack):
    """u = the update of the first honest worker, in bytes of its own."""

    name = "mimic"

    def act(self, context: AttackContext) -> Forgery:
        """Copy; with no honest worker, the own update."""
        return Forged(context.honest[min(context.honest)] if context.honest else context.own)
