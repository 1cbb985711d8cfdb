"""The rounds of a chain, each judged again from what was posted for it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from guard.gate import GateParameters
from guard.settlement import Settlement, decode_settlement
from guard.state import Decision, GateState
from ledger.client import LedgerFacts
from ledger.history import RoundHistory


@dataclass(frozen=True, slots=True)
class JudgedRound:
    """A round of the chain with what the gate makes of it.

    Attributes:
        history: What the chain says about it.
        posted: What the guard posted; None while the round is not settled.
        decision: Recomputed from that, whatever was overturned since; None while the round is not settled.
        standing: The same without what was overturned before the round was final.
        gate: Yardstick, lanes and coalition evidence after the round; a void one leaves them as they were.
    """

    history: RoundHistory
    posted: Settlement | None
    decision: Decision | None
    standing: Decision | None
    gate: GateState


def judge_rounds(
    rounds: Iterable[RoundHistory], facts: LedgerFacts, gate: GateState | None = None
) -> Iterator[JudgedRound]:
    """Judge rounds again from what was posted.

    Args:
        rounds: The rounds, without a gap.
        facts: The ledger's constants.
        gate: The gate's state before the first of them; None for the start of the run.

    Yields:
        The rounds, in their order.

    Raises:
        GuardError: The chain's record does not decode; `audit` names where.
    """
    parameters = GateParameters(*facts.parameters)
    gate = GateState.start(facts.workers, facts.guards) if gate is None else gate
    for history in rounds:
        if history.seal is None or history.verdicts is None:
            yield JudgedRound(history, None, None, None, gate)
            continue
        payload, presence = history.verdicts.payload, history.seal.presence
        posted = decode_settlement(payload, presence, facts.workers, facts.guards)
        decision = gate.decide(parameters, history.round, posted)
        # What was overturned when the round was final is in the model and in the lanes.
        standing = decision.without(parameters, history.overturned_in_time)
        gate = gate if history.voided is not None else standing.after
        yield JudgedRound(history, posted, decision, standing, gate)
