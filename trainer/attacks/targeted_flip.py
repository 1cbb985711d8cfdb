"""Honest training on data in which one class carries the label of another.

Source: Tolpegin et al. 2020, "Data poisoning attacks against federated learning systems", section 3.
"""

from trainer.attacks.base import Attack


class TargetedFlip(Attack):
    """The task says which class is taken for which; nine classes of ten are learnt as they should."""

    name = "targeted_flip"
    poisons = "targeted"
