"""The whole audit of a run, from its ledger's first event to its state now."""

from collections.abc import Callable

from guard.lanes import LANES_PER_WORD
from guard.state import GateState
from ledger.blobs import BlobStore
from ledger.client import LedgerClient, Stage
from ledger.history import HistoryError, RoundHistory, read_rounds
from ledger.node import Node
from trainer.audit.report import AuditReport, Findings
from trainer.audit.round import Carried, RoundAudit
from trainer.audit.run_facts import check_facts, initial_model, open_ledger

_LANE_MASK = 2**64 - 1


def audit(
    node: Node, ledger_address: str, store: BlobStore, *, on_round: Callable[[int], None] | None = None
) -> AuditReport:
    """Derive a run again from its chain and its files, and compare.

    Nothing local is trusted: no index, no checkpoint, no metrics. Signatures, seeds, words, norms, statuses,
    verdicts, reputation, weights and models are derived from the bytes that were committed and compared with
    what the ledger says. After a difference the audit goes on with the ledger's own value.

    It proves that the gate ran on the committed bytes and that the merge is the one that follows. It does not
    prove that the bytes came from honest training, nor that the node shows everybody the same chain.

    Args:
        node: The chain.
        ledger_address: Address of the run's ContributionLedger.
        store: Its update files and its initial model. One round's files are in memory at a time.
        on_round: Told the number of each round that is done.

    Returns:
        What was derived, and every difference. Hostile data never raises: it is a difference.

    Raises:
        EnvironmentFault: The node or the store failed; run the audit again.
        InputError: The address is none.

    Source:
        docs/spec/; design.md 2.
    """
    findings = Findings()
    client = open_ledger(node, ledger_address, findings)
    if client is None:
        return findings.report(
            ledger=ledger_address, chain_id=node.chain_id, run=0, model=None, unfinished=""
        )
    parameters, initial = check_facts(client, findings)

    def unreadable(error: HistoryError) -> None:
        findings.differ(error.round, error.field, "an event of the ledger in its place", error)

    rounds = read_rounds(node, client.address, unreadable)
    numbers = [history.round for history in rounds]
    findings.same(0, "rounds", str(list(range(1, len(rounds) + 1))), str(numbers))
    if initial is None and rounds:
        initial = rounds[0].parent_model
    if parameters is None or initial is None:
        return _report(client, findings, initial, "")
    carried = Carried(
        root=initial,
        record=bytes(32),
        model=initial_model(store, initial, client.facts, findings),
        gate=GateState.start(client.facts.guard_index),
    )
    rounds_audit = RoundAudit(client, parameters, store, findings)
    for place, (history, following) in enumerate(zip(rounds, [*rounds[1:], None], strict=True), 1):
        if history.round != (rounds[place - 2].round + 1 if place > 1 else 1):
            rounds_audit.skip_to(history, carried)
        rounds_audit.audit(history, carried, following)
        if on_round is not None:
            on_round(history.round)
    last = rounds[-1] if rounds else None
    _check_state(client, findings, last, carried)
    return _report(client, findings, carried.root, _stage(last).name.lower() if _stage(last) else "")


def _report(client: LedgerClient, findings: Findings, model: bytes | None, unfinished: str) -> AuditReport:
    return findings.report(
        ledger=client.address,
        chain_id=client.node.chain_id,
        run=client.facts.run,
        model=model,
        unfinished=unfinished,
    )


def _stage(last: RoundHistory | None) -> Stage:
    """Give the stage that the ledger must be in after these events."""
    if last is None or last.final is not None or last.voided is not None:
        return Stage.IDLE
    if last.verdicts is not None:
        return Stage.SETTLED
    return Stage.OPEN if last.seal is None else Stage.SEALED


def _check_state(
    client: LedgerClient, findings: Findings, last: RoundHistory | None, carried: Carried
) -> None:
    """Compare the contract's state and reputation with what the rounds left."""
    state = client.state()
    number = 0 if last is None else last.round
    findings.same(number, "state.round", number, state.round)
    findings.same(number, "state.stage", _stage(last).name.lower(), state.stage.name.lower())
    findings.same(number, "state.parent_model", carried.root, state.parent_model)
    if last is not None:
        findings.same(number, "state.commit_deadline", last.commit_deadline, state.commit_deadline)
    if carried.gate is None:
        return
    findings.same(number, "state.yardstick", carried.gate.yardstick, state.yardstick)
    ours, theirs = carried.gate.lane_words, client.lanes()
    if not findings.same(number, "reputation", len(ours), len(theirs)):
        return
    for index, member in enumerate(client.facts.members):
        place, shift = index // LANES_PER_WORD, 64 * (index % LANES_PER_WORD)
        expected, found = (f"0x{words[place] >> shift & _LANE_MASK:016x}" for words in (ours, theirs))
        findings.same(number, "reputation", expected, found, member.identity)
