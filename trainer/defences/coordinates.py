"""Coordinate-wise median and trimmed mean.

Source: Yin et al. 2018, "Byzantine-robust distributed learning: towards optimal statistical rates".
"""

import numpy as np
from numpy.typing import NDArray

from trainer.defences.base import Stack, StackRule, assumed_faults


class Median(StackRule):
    """The median of every coordinate."""

    name = "median"

    def combine(self, updates: Stack) -> NDArray[np.floating]:
        """Take the median; of an even number the mean of the middle two."""
        middle: NDArray[np.floating] = np.median(updates, axis=0)
        return middle


class TrimmedMean(StackRule):
    """The mean of every coordinate without its f largest and f smallest values."""

    name = "trimmed_mean"

    def combine(self, updates: Stack) -> NDArray[np.floating]:
        """Trim and average."""
        return trimmed_mean(updates, assumed_faults(len(updates)))


def trimmed_mean(updates: Stack, faults: int) -> NDArray[np.floating]:
    """Give the mean of each column of [n, d] without its f extremes on either side, [d]; 2 f < n."""
    kept = np.sort(updates, axis=0)[faults : len(updates) - faults]
    mean: NDArray[np.floating] = np.mean(kept, axis=0, dtype=np.float64)
    return mean
