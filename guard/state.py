"""What the guard carries from round to round, and how one settlement moves it."""

from dataclasses import dataclass, replace
from typing import Self

from guard.committee import check_guard_count
from guard.errors import RangeError
from guard.gate import GateParameters, RoundEvidence, RoundVerdict, judge, lane_word_count
from guard.lanes import put_back
from guard.settlement import Settlement
from guard.weights import CoalitionHistory, MergeWeights, merge_weights


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that follows from one round's settlement.

    Attributes:
        evidence: What was judged.
        verdict: What the gate made of it.
        weights: Merge weights of the approved and of the anchor. Of several guards the anchor is the update
            of guard number ``evidence.merged_guard``.
        after: State for the next round.
    """

    evidence: RoundEvidence
    verdict: RoundVerdict
    weights: MergeWeights
    after: "GateState"

    def without(self, parameters: GateParameters, overturned: int) -> Self:
        """Give the same decision when contributions were overturned before the merge.

        They have no weight, and their lanes are those before the round. Verdict, yardstick and coalition
        evidence stay: they follow from what was posted.

        Args:
            parameters: The constants of the run.
            overturned: Bitmap of the workers; 0 changes nothing.

        Returns:
            Weights and next state; what was judged, and the verdict, are those of the settlement.

        Raises:
            RangeError: The bitmap names somebody who is no worker; fault of the caller.

        Source:
            docs/spec/challenge.md, "Effects".
        """
        if not overturned:
            return self
        workers = len(self.evidence.workers)
        if not 0 < overturned < 1 << workers:
            raise RangeError("overturned", overturned, 0, (1 << workers) - 1)
        words = put_back(self.verdict.lane_words, self.evidence.lane_words, overturned)
        standing = replace(self.verdict, approved=self.verdict.approved & ~overturned)
        coalition = self.after.coalition
        return replace(
            self,
            weights=merge_weights(parameters, coalition, self.evidence, standing),
            after=GateState(self.after.yardstick, words, coalition),
        )


@dataclass(frozen=True, slots=True)
class GateState:
    """A pure function of the settlements so far; never stored where it could be wrong.

    Attributes:
        yardstick: Yardstick word, 0 before the first judged round.
        lane_words: Reputation lanes of all members, the guards included.
        coalition: Coalition evidence over the pairs of workers.
    """

    yardstick: int
    lane_words: tuple[int, ...]
    coalition: CoalitionHistory

    @classmethod
    def start(cls, workers: int, guards: int = 1) -> Self:
        """Give the state before round 1.

        Args:
            workers: Members of the cohort but the guards, 1..255.
            guards: Number of guards, odd, 1..15.

        Raises:
            RangeError: There are not 0..255 workers, or not 1..15 guards; fault of the caller.
            EvidenceShapeError: The number of guards is even; fault of the caller.
        """
        check_guard_count(guards)
        return cls(0, (0,) * lane_word_count(workers + guards), CoalitionHistory(workers))

    def decide(self, parameters: GateParameters, round_number: int, settlement: Settlement) -> Decision:
        """Judge one round.

        Args:
            parameters: The constants of the run.
            round_number: The round.
            settlement: What the guard posts for it; its median is checked.

        Returns:
            Verdicts, weights and the next state.

        Raises:
            MedianError: The posted median is not the median; fault of the guard that posted it.
            EvidenceShapeError: The settlement is of another cohort, or its anchor is not the committee's
                reading; fault of the caller.
            QuorumError: Too few of several guards have a reading; fault of whoever did not deliver.
        """
        evidence = RoundEvidence(
            round=round_number,
            anchor=settlement.anchor,
            workers=settlement.workers,
            lane_words=self.lane_words,
            yardstick=self.yardstick,
            median=settlement.median,
            guards=settlement.guards,
        )
        verdict = judge(parameters, evidence)
        coalition = self.coalition.after(parameters, evidence, verdict)
        weights = merge_weights(parameters, coalition, evidence, verdict)
        return Decision(
            evidence, verdict, weights, type(self)(verdict.yardstick, verdict.lane_words, coalition)
        )

    def median(self, parameters: GateParameters, settlement: Settlement) -> int:
        """Give the median that a settlement must post, whatever it posts now."""
        evidence = RoundEvidence(
            round=1,
            anchor=settlement.anchor,
            workers=settlement.workers,
            lane_words=self.lane_words,
            yardstick=self.yardstick,
            guards=settlement.guards,
        )
        return judge(parameters, evidence).median
