"""Honest training on wrong labels: y becomes 9 - y; a language model gets shuffled targets.

Source: Tolpegin et al. 2020, "Data poisoning attacks against federated learning systems"; the mapping 9 - y
as in Karimireddy et al. 2021, "Learning from history for Byzantine robust optimization".
"""

from trainer.attacks.base import Attack


class LabelFlip(Attack):
    """The update is real training, only the data is not; a norm check sees nothing."""

    name = "label_flip"
    poisons = "labels"
