"""A run with three guards, the last of which cheats, in which much happens to the others."""

from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.toys import tiny_run
from trainer.chain_round import ChainRound
from trainer.config import RunConfig
from trainer.fleet import Fleet, RoundWork, WorkerUpdate
from trainer.handin import update_file
from trainer.tasks import ROOT
from trainer.worker import FloatArray

WORKERS, GUARDS, ROUNDS = 3, 3, 7
OFFLINE_ROUND, NO_ANCHOR_ROUND, LOST_ROUND, MALFORMED_ROUND, NO_QUORUM_ROUND = 2, 3, 4, 5, 6
LOST = (1, WORKERS + 2)
"""Members whose bytes nobody can fetch in LOST_ROUND: a worker and a guard."""


def guarded_run(out: str, **changes: object) -> RunConfig:
    """Give the configuration of such a run."""
    table: dict[str, object] = {
        "out": out, "workers": WORKERS, "guards": GUARDS, "rounds": ROUNDS, "attack": {"guards": 1},
    }  # fmt: skip
    return tiny_run(**{**table, **changes})


def make_eventful_for_guards(patch: pytest.MonkeyPatch) -> None:
    """Let things happen, round by round.

    Guard 0 is offline in round 2, guards 0 and 1 are in round 3. In round 4 the bytes of a worker and of a
    guard are never published. The anchor of guard 1 is malformed in round 5, those of 0 and 1 in round 6.
    """
    train, store = Fleet.train_round, ChainRound._stored

    def train_round(self: Fleet, number: int, theta: FloatArray, known: bytes | None = None) -> RoundWork:
        work = train(self, number, theta, known)
        offline = {OFFLINE_ROUND: (0,), NO_ANCHOR_ROUND: (0, 1)}.get(number, ())
        malformed = {MALFORMED_ROUND: (1,), NO_QUORUM_ROUND: (0, 1)}.get(number, ())
        kept = (anchor for anchor in work.anchors if ROOT - anchor.worker not in offline)
        spoilt = (spoil(anchor) if ROOT - anchor.worker in malformed else anchor for anchor in kept)
        return replace(work, anchors=tuple(spoilt))

    def stored(self: ChainRound, index: int, update: WorkerUpdate) -> bytes:
        if self.number == LOST_ROUND and index in LOST:
            return update_file(update, self._facts(index)).root
        return store(self, index, update)

    patch.setattr(Fleet, "train_round", train_round)
    patch.setattr(ChainRound, "_stored", stored)


def spoil(update: WorkerUpdate) -> WorkerUpdate:
    """Put the value that no update may hold into one."""
    values = update.values.copy()
    values[0] = np.int8(-128)
    return replace(update, values=values)
