"""A run in which much happens: an absent worker, a void round, a round in which everything is refused."""

from dataclasses import replace

import numpy as np
import pytest

from trainer.fleet import Fleet, RoundWork
from trainer.worker import FloatArray

ABSENT_ROUND, VOID_ROUND, EMPTY_ROUND, ROUNDS = 2, 3, 4, 5


def make_eventful(patch: pytest.MonkeyPatch) -> None:
    """Let worker 1 be absent in round 2, the guard in round 3, and hand everybody in zeros in round 4."""
    train = Fleet.train_round

    def train_round(self: Fleet, number: int, theta: FloatArray, known: bytes | None = None) -> RoundWork:
        work = train(self, number, theta, known)
        if number == ABSENT_ROUND:
            return replace(work, updates=tuple(u for u in work.updates if u.worker != 1))
        if number == VOID_ROUND:
            return replace(work, anchors=())
        if number == EMPTY_ROUND:
            zeros = (replace(u, values=np.zeros_like(u.values)) for u in work.updates)
            return replace(work, updates=tuple(zeros))
        return work

    patch.setattr(Fleet, "train_round", train_round)
