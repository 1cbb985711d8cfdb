"""Trains honestly, but from the model of five rounds ago.

Source: Xie et al. 2019, "Asynchronous federated optimization", for what staleness does; as an attack: the
delayed gradients of yandex-research/btard.
"""

from collections.abc import MutableMapping

from trainer.attacks.base import Attack, FloatArray

DELAY = 5


class StaleParent(Attack):
    """The header names this round's parent; the numbers belong to an older one."""

    name = "stale_parent"

    def parent(
        self, round_number: int, theta: FloatArray, memory: MutableMapping[str, FloatArray]
    ) -> FloatArray:
        """Remember this model; start from the one of five rounds ago, or the oldest there is."""
        memory[f"model_{round_number % (DELAY + 1)}"] = theta.copy()
        return memory.get(f"model_{(round_number - DELAY) % (DELAY + 1)}", memory[min(memory)])
