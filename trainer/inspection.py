"""Answers about a recorded run, from the chain alone: histories, and why a verdict fell as it did."""

from collections.abc import Iterator
from dataclasses import dataclass

from eth_utils import to_checksum_address

from guard.gate import GateParameters, Status, WorkerEvidence, is_alive
from guard.lanes import unpack_lanes
from guard.state import Decision
from ledger.client import LedgerClient
from ledger.history import Commitment, Overturning, read_rounds
from trainer.errors import InputError
from trainer.judged import JudgedRound, judge_rounds

NATS_Q = 1024
_FAULTS = {
    Status.MALFORMED: "the bytes under the committed root are malformed",
    Status.UNAVAILABLE: "no bytes with the committed root could be had",
}


class NoSuchContributionError(InputError):
    """The ledger has no contribution under this name."""

    code = "no-such-contribution"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One worker's contribution to one round, and what became of it.

    Attributes:
        round: The round.
        index: Cohort index.
        worker: Identity.
        outcome: "approved", "refused", "absent", "waiting", "void"; "anchor" for a guard, and "outvoted" for
            one of several whose word points away from the majority's; "overturned" for what a challenge has
            shown to be false.
        reason: One sentence.
        status: What the guard posted: "committed", "unavailable", "malformed", "absent".
        score: SCS in [-256, 256], of one of several guards its agreement with their majority; None unless
            committed and settled, and for the only guard.
        yardstick: m after the round, in 1/256; None before there is one.
        evidence_before: In 1/1024 nat; None unless the round is settled, and for the guard.
        evidence_after: The same, after the round.
        norm2: Posted sum of squares, None unless committed and settled.
        exponent: Posted exponent, None unless committed and settled.
        weight_q32: Merge weight in 1/2**32.
        update_root: 32 bytes; None if absent.
        tokens: As claimed.
        signed: True for a relayed signature, False for a transaction of its own.
        commit_transaction: 32 bytes; None if absent.
        commit_block: Block of the commitment.
        seed: 32 bytes; None unless settled.
        seed_block: Number of the block whose hash made the seed.
        settle_transaction: 32 bytes; None unless settled.
        overturn_transaction: 32 bytes; None unless overturned, with its round or alone.
        guard: Number of the guard, 0 for the first; None for a worker.
    """

    round: int
    index: int
    worker: str
    outcome: str
    reason: str
    status: str
    score: int | None
    yardstick: int | None
    evidence_before: int | None
    evidence_after: int | None
    norm2: int | None
    exponent: int | None
    weight_q32: int
    update_root: bytes | None
    tokens: int
    signed: bool
    commit_transaction: bytes | None
    commit_block: int | None
    seed: bytes | None
    seed_block: int | None
    settle_transaction: bytes | None
    overturn_transaction: bytes | None = None
    guard: int | None = None


def _judged_rounds(client: LedgerClient) -> Iterator[JudgedRound]:
    return judge_rounds(read_rounds(client.node, client.address), client.facts)


def worker_history(client: LedgerClient, worker: str) -> list[Verdict]:
    """Give what a worker did and what became of it, round by round.

    Args:
        client: The run's ledger.
        worker: Identity address or cohort index.

    Returns:
        One entry per round.

    Raises:
        LedgerError: No such worker, or the chain cannot be read.
    """
    index = worker_index(client, worker)
    return [_verdict(client, judged, index) for judged in _judged_rounds(client)]


def find_contribution(client: LedgerClient, name: str) -> Verdict:
    """Find one contribution.

    Args:
        client: The run's ledger.
        name: "ROUND:WORKER" (identity or cohort index), or an update root in hex.

    Returns:
        What became of it.

    Raises:
        NoSuchContributionError: There is none.
        LedgerError: No such worker, or the chain cannot be read.
    """
    if ":" in name:
        round_text, _, worker = name.partition(":")
        if not round_text.isdecimal():
            raise NoSuchContributionError(f"{round_text!r} is no round number", hint="for instance 3:0")
        index = worker_index(client, worker)
        for judged in _judged_rounds(client):
            if judged.history.round == int(round_text):
                return _verdict(client, judged, index)
        raise NoSuchContributionError(f"the ledger has no round {round_text}")
    wanted = name.lower()
    for judged in _judged_rounds(client):
        for commitment in judged.history.commitments:
            if "0x" + commitment.update_root.hex() == wanted:
                return _verdict(client, judged, commitment.index)
    raise NoSuchContributionError(
        f"no commitment to {name}", hint="name it ROUND:WORKER, for instance 3:0, or by its update root"
    )


def gas_per_contribution(client: LedgerClient) -> float:
    """Give the gas of all rounds' transactions by the contributions of workers, 0.0 if there are none.

    Votes of several guards, which only rounds with unavailable updates have, are not counted.
    """
    rounds = read_rounds(client.node, client.address)
    transactions = set[bytes]().union(*(history.transactions() for history in rounds))
    contributions = sum(not client.facts.is_guard(c.index) for h in rounds for c in h.commitments)
    return sum(map(client.node.gas_used, transactions)) / contributions if contributions else 0.0


def worker_index(client: LedgerClient, worker: str) -> int:
    """Give the cohort index of a worker named by index or identity.

    Raises:
        InputError: There is none.
    """
    if worker.isdecimal():
        # A cohort has at most 256 members; digits by the thousand are no number worth reading.
        if len(worker) <= 3 and int(worker) < len(client.facts.members):
            return int(worker)
        raise NoSuchContributionError(
            f"the cohort has {len(client.facts.members)} members, there is no index {worker[:20]}"
        )
    try:
        identity = to_checksum_address(worker)
    except ValueError as error:
        raise NoSuchContributionError(
            f"{worker!r} is neither a cohort index nor an address", hint="`hallmark reputation` lists both"
        ) from error
    return client.facts.index_of(identity)


def refusal_reason(parameters: GateParameters, decision: Decision, index: int) -> str:
    """Say in one sentence why a contribution was approved or refused.

    Args:
        parameters: The run's constants.
        decision: The settled round.
        index: Cohort index of a worker that committed.
    """
    evidence, verdict = decision.evidence, decision.verdict
    worker, score = evidence.workers[index], verdict.scores[index]
    llr = verdict.lanes[index].llr
    if verdict.banned >> index & 1:
        return f"banned: its evidence had reached {_nats(llr)} nats in an earlier round"
    if worker.status in _FAULTS:
        return _FAULTS[worker.status]
    if worker.reading is None or score is None:
        return "it did not commit"
    if score <= parameters.score_above:
        return f"its score {score} is not above {parameters.score_above}: it points away from the anchor"
    if llr >= parameters.accept_below:
        limit = _nats(parameters.accept_below)
        return f"the evidence against it is {_nats(llr)} nats; from {limit} on a contribution is refused"
    if not is_alive(parameters, worker.reading, evidence.anchor):
        part = parameters.alive_factor**0.5
        return f"its norm is zero, or less than 1/{part:g} of the anchor's"
    return f"its score is {score}, and the evidence against it, {_nats(llr)} nats, is low enough"


def _verdict(client: LedgerClient, judged: JudgedRound, index: int) -> Verdict:
    parameters = GateParameters(*client.facts.parameters)
    history, decision = judged.history, judged.standing
    commitment = next((c for c in history.commitments if c.index == index), None)
    workers = client.facts.workers
    guard = index - workers if index >= workers else None
    outcome, reason = _outcome(parameters, judged, commitment, index, guard)
    member = None if decision is None else _evidence(decision, index)
    reading = None if member is None else member.reading
    before = after = score = None
    weight = 0
    if decision and guard is None:
        before = unpack_lanes(decision.evidence.lane_words, workers)[index].llr
        after = decision.verdict.lanes[index].llr
        weight = dict(zip(decision.weights.indices, decision.weights.weights, strict=True)).get(index, 0)
        score = decision.verdict.scores[index]
    elif decision and guard is not None:
        weight = decision.weights.anchor if guard == decision.evidence.merged_guard else 0
        score = decision.verdict.guard_scores[guard] if decision.verdict.guard_scores else None
    yardstick = decision.after.yardstick if decision else 0
    return Verdict(
        round=history.round,
        index=index,
        worker=client.facts.members[index].identity,
        outcome=outcome,
        reason=reason,
        status=member.status.name.lower() if member else ("committed" if commitment else "absent"),
        score=score,
        yardstick=yardstick - 1 if yardstick else None,
        evidence_before=before,
        evidence_after=after,
        norm2=reading.norm2 if reading else None,
        exponent=reading.exponent if reading else None,
        weight_q32=weight,
        update_root=commitment.update_root if commitment else None,
        tokens=commitment.tokens if commitment else 0,
        signed=commitment is not None and commitment.signature is not None,
        commit_transaction=commitment.transaction if commitment else None,
        commit_block=commitment.block if commitment else None,
        seed=history.verdicts.seed if history.verdicts else None,
        seed_block=history.seal.seal_block + 1 if history.seal else None,
        settle_transaction=history.verdicts.transaction if history.verdicts else None,
        overturn_transaction=next(
            (item.transaction for item in history.overturnings if item.index in (index, None)), None
        ),
        guard=guard,
    )


def _evidence(decision: Decision, index: int) -> WorkerEvidence:
    """Give what a settled round has on a member; one guard's reading is the anchor."""
    evidence = decision.evidence
    everybody = evidence.workers + evidence.guards
    return everybody[index] if index < len(everybody) else WorkerEvidence(Status.COMMITTED, evidence.anchor)


def _outcome(
    parameters: GateParameters,
    judged: JudgedRound,
    commitment: Commitment | None,
    index: int,
    guard: int | None,
) -> tuple[str, str]:
    overturned = next((o for o in judged.history.overturnings if o.index in (index, None)), None)
    if overturned is not None and commitment is not None:
        return "overturned", _overturned_reason(overturned)
    if judged.history.voided is not None:
        return "void", "the round was void; nothing of it counts"
    if commitment is None:
        return "absent", "it did not commit in this round; nothing changes"
    if judged.standing is None:
        return "waiting", "the round is not settled yet"
    if guard is not None:
        return _guard_outcome(judged.standing, guard)
    reason = refusal_reason(parameters, judged.standing, index)
    return ("approved" if judged.standing.verdict.is_approved(index) else "refused"), reason


def _guard_outcome(decision: Decision, guard: int) -> tuple[str, str]:
    evidence = decision.evidence
    if not evidence.guards:
        return "anchor", "the guard's anchor, against which the others are measured; never judged itself"
    status, score = evidence.guards[guard].status, decision.verdict.guard_scores[guard]
    if score is None:
        what = _FAULTS.get(status, "it did not commit")
        return "refused", f"{what}; the other guards' anchors count"
    if score <= 0:
        return "outvoted", f"its score against the majority of the guards is {score}, not above 0"
    merged = "; its update is the one that is merged" if guard == evidence.merged_guard else ""
    return "anchor", f"its score against the majority of the {len(evidence.guards)} guards is {score}{merged}"


def _overturned_reason(overturned: Overturning) -> str:
    about = "the round's anchor" if overturned.index is None else "it"
    if overturned.is_late:
        effect = "the round was final before, so the model is tainted until it is rolled back"
    else:
        effect = "the whole round counts for nobody" if overturned.index is None else "it is not in the model"
    return f"a challenge has shown that something false was posted about {about}; {effect}"


def _nats(q10: int) -> str:
    return f"{q10 / NATS_Q:.2f}"
