"""Nearest-neighbour mixing, then a trimmed mean.

Source: Allouah et al. 2023, "Fixing by mixing: a recipe for optimal Byzantine ML under heterogeneity",
algorithm 2.
"""

import numpy as np
from numpy.typing import NDArray

from trainer.defences.base import Stack, StackRule, assumed_faults, squared_distances
from trainer.defences.coordinates import trimmed_mean


class NnmTrimmedMean(StackRule):
    """Every update becomes the mean of its n - f nearest, itself included; these are trimmed."""

    name = "nnm_trimmed_mean"

    def combine(self, updates: Stack) -> NDArray[np.floating]:
        """Mix, then trim."""
        faults = assumed_faults(len(updates))
        return trimmed_mean(nearest_neighbour_mixing(updates, faults), faults)


def nearest_neighbour_mixing(updates: Stack, faults: int) -> Stack:
    """Give, for each of [n, d], the mean of the n - f updates nearest to it, float32 [n, d]."""
    nearest = np.argsort(squared_distances(updates), axis=1, kind="stable")[:, : len(updates) - faults]
    return np.stack([updates[row].astype(np.float64).mean(axis=0) for row in nearest]).astype(np.float32)
