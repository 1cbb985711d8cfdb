"""An honest update with one byte that the format forbids.

Source: docs/spec/update.md, "Malformed", rule 3.
"""

import numpy as np

from trainer.attacks.base import Attack, AttackContext, ForgedBytes, Forgery
from trainer.quantise import quantise


class Malformed(Attack):
    """One value, at a random place, is -128."""

    name = "malformed"

    def act(self, context: AttackContext) -> Forgery:
        """Quantise honestly, then break one byte."""
        values, exponent, _ = quantise(context.own)
        values[context.rng.integers(len(values))] = np.int8(-128)
        return ForgedBytes(values, exponent)
