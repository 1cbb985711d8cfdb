"""What the guard carries from round to round, and how one settlement moves it."""

from dataclasses import dataclass
from typing import Self

from guard.gate import GateParameters, RoundEvidence, RoundVerdict, judge, lane_word_count
from guard.settlement import Settlement
from guard.weights import CoalitionHistory, MergeWeights, merge_weights


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that follows from one round's settlement.

    Attributes:
        evidence: What was judged.
        verdict: What the gate made of it.
        weights: Merge weights of the approved and of the anchor.
        after: State for the next round.
    """

    evidence: RoundEvidence
    verdict: RoundVerdict
    weights: MergeWeights
    after: "GateState"


@dataclass(frozen=True, slots=True)
class GateState:
    """A pure function of the settlements so far; never stored where it could be wrong.

    Attributes:
        yardstick: Yardstick word, 0 before the first judged round.
        lane_words: Reputation lanes of all members, the guard included.
        coalition: Coalition evidence over the pairs of workers.
    """

    yardstick: int
    lane_words: tuple[int, ...]
    coalition: CoalitionHistory

    @classmethod
    def start(cls, workers: int) -> Self:
        """Give the state before round 1.

        Args:
            workers: Members of the cohort but the guard, 1..255.
        """
        return cls(0, (0,) * lane_word_count(workers + 1), CoalitionHistory(workers))

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
            EvidenceShapeError: The settlement is of another cohort; fault of the caller.
        """
        evidence = RoundEvidence(
            round=round_number,
            anchor=settlement.anchor,
            workers=settlement.workers,
            lane_words=self.lane_words,
            yardstick=self.yardstick,
            median=settlement.median,
        )
        verdict = judge(parameters, evidence)
        coalition = self.coalition.after(parameters, evidence, verdict)
        weights = merge_weights(parameters, coalition, evidence, verdict)
        return Decision(
            evidence, verdict, weights, type(self)(verdict.yardstick, verdict.lane_words, coalition)
        )

    def median(self, parameters: GateParameters, settlement: Settlement) -> int:
        """Give the median that a settlement must post, whatever it posts now."""
        evidence = RoundEvidence(1, settlement.anchor, settlement.workers, self.lane_words, self.yardstick)
        return judge(parameters, evidence).median
