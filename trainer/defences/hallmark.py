"""Our gate: the same integers as on the chain.

Source: docs/spec/gate.md and docs/spec/merge.md.
"""

from dataclasses import replace

import numpy as np

from guard.errors import QuorumError
from guard.gate import ABSENT, MALFORMED, Reading, Status, WorkerEvidence
from guard.signs import ROW_VALUES, SeedSigns
from guard.sketch import Sketch
from guard.state import GateState
from trainer.defences.base import GatePolicy, PolicySetup, RoundView, Ruling
from trainer.errors import NumericError
from trainer.fleet import WorkerUpdate
from trainer.settled import draft_settlement


class Hallmark(GatePolicy):
    """Words under the round's seed, verdicts and weights of guard/; an anchor has its share.

    With several guards the updates are measured against the majority of the anchors' words.
    """

    name = "hallmark"
    uses_root = True

    def __init__(self, setup: PolicySetup) -> None:
        super().__init__(setup)
        self._state = GateState.start(setup.workers, setup.guards)

    def rule(self, view: RoundView) -> Ruling:
        """Read every update, judge, weigh."""
        parameters, signs = self.setup.gate, SeedSigns(view.seed)
        anchors = [view.work.anchor_of(k) for k in range(self.setup.guards)]
        guards = [ABSENT if anchor is None else read_update(anchor, signs) for anchor in anchors]
        cohort = [ABSENT] * self.setup.workers
        for update in view.work.updates:
            cohort[update.worker] = read_update(update, signs)
        try:
            draft = draft_settlement(cohort, guards)
        except QuorumError as error:
            whose = (
                "the guard has no anchor" if self.setup.guards == 1 else f"too few guards have one ({error})"
            )
            raise NumericError(f"{whose} in round {view.round_number}: training diverged") from error
        settlement = replace(draft, median=self._state.median(parameters, draft))
        decision = self._state.decide(parameters, view.round_number, settlement)
        self._state = decision.after
        lanes = dict(enumerate(decision.verdict.lanes))
        return Ruling(
            step=decision.weights,
            accepted=frozenset(i for i in lanes if decision.verdict.is_approved(i)),
            banned=frozenset(i for i, lane in lanes.items() if lane.llr >= parameters.ban_from),
            scores={i: s for i, s in enumerate(decision.verdict.scores) if s is not None},
            llrs={i: lane.llr for i, lane in lanes.items()},
            yardstick=decision.verdict.yardstick,
            guard_scores=decision.verdict.guard_scores,
            guard_lanes=decision.verdict.guard_lanes if self.setup.guards > 1 else (),
            merged_guard=decision.evidence.merged_guard,
        )


def read_update(update: WorkerUpdate, signs: SeedSigns) -> WorkerEvidence:
    """Give the status and the reading that the guard would post for this update.

    Args:
        update: What was handed in.
        signs: The round's signs.

    Returns:
        MALFORMED for a copied root (the header under it names another worker) and for a value of -128;
        otherwise word, norm and exponent.
    """
    if is_malformed(update):
        return MALFORMED
    rows = np.zeros(-(-len(update.values) // ROW_VALUES) * ROW_VALUES, dtype=np.int8)
    rows[: len(update.values)] = update.values
    sketch = Sketch(signs)
    sketch.update(rows)
    return WorkerEvidence(Status.COMMITTED, Reading(sketch.code(), sketch.norm2, update.exponent))


def is_malformed(update: WorkerUpdate) -> bool:
    """Tell whether the format forbids this update: a copied root, or a value of -128."""
    return update.copies is not None or bool((update.values == -128).any())
