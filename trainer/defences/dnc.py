"""Divide and conquer: drop those who stand out along the strongest direction of disagreement.

Source: Shejwalkar and Houmansadr 2021, "Manipulating the Byzantine", algorithm 2; filter factor 1, three
draws.
"""

import numpy as np

from trainer.defences.base import GatePolicy, RoundView, Ruling, assumed_faults, chosen
from trainer.randomness import numpy_generator

DRAWS = 3
COORDINATES = 2000


class Dnc(GatePolicy):
    """Three draws of 2,000 coordinates; who survives every draw is averaged."""

    name = "dnc"

    def rule(self, view: RoundView) -> Ruling:
        """Filter by the largest singular vector of each draw."""
        count, length = view.updates.shape
        keep = np.ones(count, dtype=bool)
        for draw in range(DRAWS):
            rng = numpy_generator("dnc", view.seed.hex(), draw)
            part = view.updates[:, rng.choice(length, min(length, COORDINATES), replace=False)]
            centred = part.astype(np.float64) - part.mean(axis=0, dtype=np.float64)
            # The largest right singular vector, through the small matrix of products.
            vector = np.linalg.eigh(centred @ centred.T)[1][:, -1]
            outliers = np.argsort((centred @ (centred.T @ vector)) ** 2, kind="stable")
            keep[outliers[count - assumed_faults(count) :]] = False
        if not keep.any():
            return Ruling(None, frozenset())
        return Ruling(
            view.updates[keep].mean(axis=0, dtype=np.float64).astype(np.float32), chosen(view, keep)
        )
