"""Settled rounds as a challenger needs them: what was posted, and how to open each contribution."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from guard.settlement import Settlement
from guard.state import GateState
from ledger import digests
from ledger.challenges import ChallengeFacts, CommitmentOpening, Target, open_settlement
from ledger.client import LedgerClient, LedgerFacts
from ledger.history import HistoryError, RoundHistory, RoundStream, Verdicts, read_rounds
from trainer.challenger.errors import ChallengerError
from trainer.judged import JudgedRound, judge_rounds
from trainer.settled import settled_facts


@dataclass(frozen=True, slots=True)
class SettledRound:
    """A round with verdicts that is not void.

    Attributes:
        history: What the chain says about it.
        verdicts: Its settlement.
        posted: What the guard posted.
        covered: All that the record covers.
    """

    history: RoundHistory
    verdicts: Verdicts
    posted: Settlement
    covered: digests.Settlement

    @property
    def number(self) -> int:
        """The round."""
        return self.history.round

    def target(self, client: LedgerClient, index: int) -> Target:
        """Open the round's record to one contribution.

        Args:
            client: The run's ledger.
            index: Cohort index of a member that committed.

        Raises:
            ChallengerError: The member did not commit; fault of the caller.
            EnvironmentFault: The node failed.
        """
        opened, final = open_commitment(client, self.history, index), self.history.final
        if final is None:
            return Target(self.number, index, open_settlement(opened, self.covered))
        opening = open_settlement(opened, self.covered, final.model_root, final.weights_digest)
        return Target(self.number, index, opening)


@dataclass(frozen=True, slots=True)
class Position:
    """A challenger after a round that is over: final, or void.

    Attributes:
        round: The round.
        block: Block of its last event.
        block_hash: Hash of that block, 32 bytes.
        record: What the journal compares rounds by.
        gate: Yardstick, lanes and coalition evidence after it.
    """

    round: int
    block: int
    block_hash: bytes
    record: str
    gate: GateState


def open_commitment(client: LedgerClient, history: RoundHistory, index: int) -> CommitmentOpening:
    """Open a sealed round's accumulator to one commitment.

    Args:
        client: The run's ledger.
        history: The round.
        index: Cohort index of a member that committed.

    Raises:
        ChallengerError: The member did not commit; fault of the caller.
        EnvironmentFault: The node failed.
    """
    place = next((at for at, c in enumerate(history.commitments) if c.index == index), None)
    if place is None:
        raise ChallengerError(f"member {index} did not commit to round {history.round}")
    signed, accumulators = client.chain_of(history)
    commitment = history.commitments[place]
    return CommitmentOpening(
        update_root=commitment.update_root,
        parent_model=history.parent_model,
        tokens=commitment.tokens,
        deadline=commitment.deadline,
        accumulator_before=accumulators[place],
        later_digests=tuple(signed[place + 1 :]),
    )


def settled_rounds(client: LedgerClient) -> Iterator[tuple[RoundHistory, SettledRound | None]]:
    """Read all rounds and judge each again from what was posted.

    Args:
        client: The run's ledger.

    Yields:
        Each round, first to last, and what there is to challenge: None for one that is void or not settled.

    Raises:
        ProofError, GuardError: The chain's record does not decode; `audit` names where.
        EnvironmentFault: The node failed.
    """
    for judged in judged_rounds(client):
        yield judged.history, settled_round(judged)


def judged_rounds(client: LedgerClient, after: Position | None = None) -> Iterator[JudgedRound]:
    """Read rounds and judge each again from what was posted.

    Args:
        client: The run's ledger.
        after: Only those after this position; None for all.

    Raises:
        ProofError, GuardError: The chain's record does not decode, or an event about the rounds before the
            position has come.
        EnvironmentFault: The node failed.
    """
    gate = None if after is None else after.gate
    return judge_rounds(_rounds_after(client, after), client.facts, gate)


def settled_round(judged: JudgedRound) -> SettledRound | None:
    """Give what there is to challenge of a round; None for one that is void or not settled."""
    history, posted, decision = judged.history, judged.posted, judged.decision
    if history.seal is None or history.verdicts is None or posted is None or decision is None:
        return None
    if history.voided is not None:
        return None
    verdicts = history.verdicts
    covered = settled_facts(history.seal.presence, verdicts.seed, verdicts.payload, decision)
    return SettledRound(history, verdicts, posted, covered)


def _rounds_after(client: LedgerClient, after: Position | None) -> Iterable[RoundHistory]:
    if after is None:
        return read_rounds(client.node, client.address)

    def fail(error: HistoryError, _: int) -> None:
        raise error

    return RoundStream(
        client.node,
        client.address,
        fail,
        first_block=after.block,
        last_round=after.round,
        members=len(client.facts.members),
    )


def challenge_facts(facts: LedgerFacts) -> ChallengeFacts:
    """Give a ledger's constants as challenges need them."""
    return ChallengeFacts(
        domain=facts.domain,
        run=facts.run,
        spec_digest=facts.spec_digest,
        shape_digest=facts.shape_digest,
        length=facts.length,
        identities=tuple(member.identity for member in facts.members),
        guards=facts.guards,
    )
