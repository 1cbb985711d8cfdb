"""The published semantic guard: a fixed 32-D projection, and a cosine to a running mean of everybody's atoms.

`atom = P u / (|P u| + 1e-6)` with P drawn once from seed 42; `global = normalise(0.9 global + 0.1 mean of all
atoms)`, refused ones included, from zero; `weight = max(0, (atom . global - 0.3) / 0.7)`; the step is the sum
of weight times update **divided by n**. What follows from the formula, and is left as it is:

- P is public before anybody commits: an update may hide anything in its null space (attack `null_space`).
- The yardstick is the crowd: half of it colluding, with one atom, turns the gate round.
- Where honest work is diverse (non-IID, or late in training) few atoms reach 0.3 and hardly anything passes.
- Norms are not bounded, and the step shrinks with every refusal.

Only the formula is taken over. The published demonstration computes the guarded arm's gradients at the other
arm's weights, and re-seeds the global generator in every call; neither is done here.

Source: LelloOmwei/semantic-guard-diloco, demo.py at d5d3ca7.
"""

import numpy as np
import torch

from trainer.defences.base import FloatArray, GatePolicy, PolicySetup, RoundView, Ruling, chosen

DIMENSIONS = 32
SEED = 42
TAU = 0.3
KEEP = 0.9
TINY = 1e-6


class PublishedGuard(GatePolicy):
    """The published formula, with a projection that everybody knows."""

    name = "published_guard"

    def __init__(self, setup: PolicySetup) -> None:
        super().__init__(setup)
        generator = torch.Generator().manual_seed(SEED)
        self._projection: FloatArray = torch.randn(setup.length, DIMENSIONS, generator=generator).numpy()
        self._global = np.zeros(DIMENSIONS)

    def projection(self) -> FloatArray:
        """Give P, float32 [d, 32]."""
        return self._projection

    def rule(self, view: RoundView) -> Ruling:
        """Score every atom against the running one, which has already taken it in."""
        atoms = view.updates @ self._projection
        atoms = atoms / (np.linalg.norm(atoms, axis=1, keepdims=True) + TINY)
        self._global = KEEP * self._global + (1 - KEEP) * atoms.mean(axis=0)
        self._global = self._global / (np.linalg.norm(self._global) + TINY)
        weights = np.maximum(0.0, (atoms @ self._global - TAU) / (1 - TAU))
        step = (weights @ view.updates / len(view.indices)).astype(np.float32)
        return Ruling(step, chosen(view, weights > 0))
