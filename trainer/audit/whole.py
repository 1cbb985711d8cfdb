"""The whole audit of a run, from its ledger's first event to its state now."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from guard.gate import GateParameters
from guard.lanes import LANES_PER_WORD
from guard.state import GateState
from ledger.asking import NodeAnswerError
from ledger.blobs import BlobStore
from ledger.client import LedgerClient, Stage
from ledger.history import HistoryError, RoundHistory, RoundStream
from ledger.node import Node
from trainer.audit.cursor import Cursor, CursorRun, Position
from trainer.audit.local import LocalClaims
from trainer.audit.report import AuditReport, Findings
from trainer.audit.round import Carried, RoundAudit
from trainer.audit.run_facts import check_facts, check_run_opened, initial_model, open_ledger
from trainer.audit.source import narrowed
from trainer.folder import RunFolder

_LANE_MASK = 2**64 - 1
_ATTEMPTS = 8
_REPLAYED_STRIDE = 16


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """How to audit.

    Attributes:
        replay: Compute every merge again, from the initial model on; and that from the configuration's seed,
            where `folder` is given. Without it words, verdicts, weights and records are derived all the same,
            but of the models only the initial one and those that must not change are checked.
        jobs: Update files to assay at a time, and to hold in memory.
        first_block: A block not after that in which the ledger was created.
        cursor: File to go on from and to write to; None: the whole run, and no file.
        folder: The run's folder, whose configuration and checkpoints are compared with the ledger.
        claims: The same from elsewhere; counts only without `folder`.
    """

    replay: bool = True
    jobs: int = 1
    first_block: int = 0
    cursor: Path | None = None
    folder: RunFolder | None = None
    claims: LocalClaims | None = None


def audit(
    node: Node,
    ledger_address: str,
    store: BlobStore,
    options: AuditOptions | None = None,
    *,
    on_round: Callable[[int], None] | None = None,
) -> AuditReport:
    """Derive a run again from its chain and its files, and compare.

    Nothing local is trusted: no index, no checkpoint, no metrics; a cursor is, which the auditor wrote.
    Signatures, seeds, words, norms, statuses, verdicts, reputation, weights and models are derived from the
    bytes that were committed and compared with what the ledger says. After a difference the audit goes on
    with the ledger's own value.

    It proves that the gate ran on the committed bytes and that the merge is the one that follows. It does not
    prove that the bytes came from honest training, nor that the node shows everybody the same chain.

    Args:
        node: The chain; a node, or a bundle (trainer.bundle). Asked only for what trainer.audit.source names.
        ledger_address: Address of the run's ContributionLedger.
        store: Its update files and its initial model. One round's files are in memory at a time, without
            replay only `options.jobs` of them.
        options: How; None for a whole audit with replay.
        on_round: Told the number of each round that is done.

    Returns:
        What was derived, and every difference. Hostile data never raises: it is a difference.

    Raises:
        EnvironmentFault: The node or the store failed; run the audit again.
        InputError: The address is none.
        CursorError: The cursor is damaged, or belongs to another run.

    Source:
        docs/spec/; design.md 2.
    """
    options = options or AuditOptions()
    findings = Findings()
    node = narrowed(node)
    client = open_ledger(node, ledger_address, findings)
    if client is None:
        return findings.report(
            ledger=ledger_address, chain_id=node.chain_id, run=0, model=None, unfinished=""
        )
    claims = options.claims
    if options.folder is not None:
        claims = LocalClaims.of_folder(options.folder, client.facts, findings)
    if claims is not None:
        claims.check_config(client.facts, findings)
    parameters = check_facts(client, findings)
    if parameters is None:
        return _Whole(client, store, options, claims, findings).report(None, "")
    whole = _Whole(client, store, options, claims, findings, parameters)
    return whole.run(on_round or (lambda _: None))


class _Whole:
    """One audit of one run."""

    def __init__(
        self,
        client: LedgerClient,
        store: BlobStore,
        options: AuditOptions,
        claims: LocalClaims | None,
        findings: Findings,
        parameters: GateParameters | None = None,
    ) -> None:
        self._client = client
        self._node = client.node
        self._store = store
        self._options = options
        self._claims = claims
        self._findings = findings
        self._parameters = parameters or GateParameters()
        self._head = (-1, "")
        self._resumed_after = 0
        self._cursor: Cursor | None = None
        self._pending: list[tuple[int, HistoryError]] = []

    def run(self, on_round: Callable[[int], None]) -> AuditReport:
        """Audit from the cursor, or from the first round, to the head of the chain."""
        position = self._resume()
        self._resumed_after = 0 if position is None else position.round
        about_run = self._findings
        for _ in range(_ATTEMPTS):
            self._findings = _gone_on(about_run, position)
            stream = self._stream(position)
            report, position = self._once(stream, position, on_round)
            if not self._is_one_chain(stream):
                position = self._resume()
                self._resumed_after = 0 if position is None else position.round
                continue
            # A chain that went on while its state was compared: look at its end again.
            if self._node.block_number() == stream.block or not self._has_more(stream.block + 1):
                return report
        if not self._is_one_chain(stream):
            raise NodeAnswerError(
                "the chain was reorganised again and again while it was audited",
                hint="audit again when it has settled",
            )
        return report

    def _once(
        self, stream: RoundStream, position: Position | None, on_round: Callable[[int], None]
    ) -> tuple[AuditReport, Position | None]:
        """Audit once; give the report, and the position after the last round that is over."""
        client, findings, facts = self._client, self._findings, self._client.facts
        self._pending = []
        rounds = iter(stream)
        history = next(rounds, None)
        opened_before = 0 if position is None else position.opened_count
        if position is None and not check_run_opened(stream.opened, facts, findings):
            # With two versions of the constants everything would differ from one of them.
            return self.report(_initial(stream), ""), None
        if position is None:
            carried = self._begin(stream, history)
            if carried is None:
                self._tell(None)
                self._check_opened(0, stream)
                return self.report(None, ""), None
        else:
            carried = Carried(position.root, position.record, position.model, position.gate)
        before = 0 if position is None else position.round
        if before:
            self._check_claims(before, carried)
        audit = RoundAudit(
            client,
            self._parameters,
            self._store,
            findings,
            is_replayed=self._options.replay,
            jobs=self._options.jobs,
        )
        last: RoundHistory | None = None
        saved = before
        while history is not None:
            self._tell(history.round)
            if history.round != before + 1:
                findings.differ(0, "rounds", f"round {before + 1}", f"round {history.round}")
                audit.skip_to(history, carried)
            audit.audit(history, carried, stream.following())
            before = history.round
            end = history.final or history.voided
            if end is not None:
                if not history.rollbacks:  # the run's own checkpoint follows when it goes on
                    self._check_claims(before, carried)
                opened = opened_before + stream.opened_count
                position = self._position(before, end.block, carried, opened)
                stride = _REPLAYED_STRIDE if self._options.replay else 1
                if self._cursor is not None and before - saved >= stride and self._is_one_chain(stream):
                    self._cursor.save(position)
                    saved = before
            on_round(before)
            last = history
            history = next(rounds, None)
        has_new = position is not None and position.round > saved
        if self._cursor is not None and position is not None and has_new and self._is_one_chain(stream):
            self._cursor.save(position)
        self._tell(None)
        self._check_opened(opened_before, stream)
        self._head = self._head_of(stream.block)
        self._check_state(last, position, carried)
        stage = _stage(last)
        return self.report(carried.root, stage.name.lower() if stage else ""), position

    def report(self, model: bytes | None, unfinished: str) -> AuditReport:
        """Give the report as it is now."""
        facts = self._client.facts
        return self._findings.report(
            ledger=self._client.address,
            chain_id=self._node.chain_id,
            run=self._client.facts.run,
            model=model,
            unfinished=unfinished,
            is_replayed=self._options.replay,
            head=self._head,
            resumed_after=self._resumed_after,
            guards=tuple(member.identity for member in facts.members[facts.workers :]),
        )

    def _resume(self) -> Position | None:
        if self._options.cursor is None:
            return None
        facts = self._client.facts
        run = CursorRun(
            chain_id=self._node.chain_id,
            ledger=self._client.address,
            run=facts.run,
            workers=facts.workers,
            is_replayed=self._options.replay,
            guards=facts.guards,
        )
        self._cursor = Cursor(self._options.cursor, run)
        return self._cursor.newest(self._hash_at)

    def _hash_at(self, number: int) -> bytes | None:
        if number > self._node.block_number():
            return None
        found = self._node.block(number).get("hash")
        return None if found is None else bytes(found)

    def _head_of(self, number: int) -> tuple[int, str]:
        if number < 0:
            return -1, ""
        found = self._hash_at(number)
        return number, "" if found is None else "0x" + found.hex()

    def _is_one_chain(self, stream: RoundStream) -> bool:
        """Tell whether all that was read is of the chain that is there now."""
        number, expected = stream.head
        return number < 0 or self._hash_at(number) == expected

    def _stream(self, position: Position | None) -> RoundStream:
        first = self._options.first_block if position is None else position.block
        return RoundStream(
            self._node,
            self._client.address,
            lambda error, near: self._pending.append((near, error)),
            first_block=first,
            last_round=0 if position is None else position.round,
            members=len(self._client.facts.members),
        )

    def _has_more(self, first_block: int) -> bool:
        return any(page for _, page in self._node.log_pages(self._client.address, first_block))

    def _tell(self, round_: int | None) -> None:
        """Note what could not be read up to a round; all of it for None."""
        for near, error in self._pending:
            if round_ is None or near <= round_:
                place = "an event of the ledger in its place"
                self._findings.differ(error.round, error.field, place, error)
        self._pending = [entry for entry in self._pending if round_ is not None and entry[0] > round_]

    def _begin(self, stream: RoundStream, first: RoundHistory | None) -> Carried | None:
        root = _initial(stream)
        if root is None and first is not None:
            root = first.parent_model
        if root is None:
            return None
        model = initial_model(self._store, root, self._client.facts, self._findings)
        if self._options.replay and self._claims is not None:
            self._claims.check_initial_model(root, self._findings)
        return Carried(
            root=root,
            record=bytes(32),
            model=model if self._options.replay else None,
            gate=GateState.start(self._client.facts.workers, self._client.facts.guards),
        )

    def _check_opened(self, before: int, stream: RoundStream) -> None:
        count = before + stream.opened_count
        if count != 1:
            self._findings.differ(0, "RunOpened", "one event", f"{count} of them")

    def _check_claims(self, round_: int, carried: Carried) -> None:
        if self._claims is not None:
            coalition = None if carried.gate is None else carried.gate.coalition.to_ints()
            self._claims.check_round(round_, carried.root, coalition, self._findings)

    def _position(self, round_: int, block: int, carried: Carried, opened_count: int) -> Position:
        block_hash = self._hash_at(block)
        if block_hash is None:
            raise NodeAnswerError(f"block {block} has no hash")
        return Position(
            round=round_,
            block=block,
            block_hash=block_hash,
            root=carried.root,
            record=carried.record,
            gate=carried.gate,
            model=carried.model,
            findings=self._findings.snapshot(),
            opened_count=opened_count,
        )

    def _check_state(self, last: RoundHistory | None, position: Position | None, carried: Carried) -> None:
        """Compare the contract's state and reputation with what the rounds left."""
        findings, state = self._findings, self._client.state()
        number = last.round if last is not None else 0 if position is None else position.round
        findings.same(number, "state.round", number, state.round)
        findings.same(number, "state.stage", _stage(last).name.lower(), state.stage.name.lower())
        findings.same(number, "state.parent_model", carried.root, state.parent_model)
        if last is not None:
            findings.same(number, "state.commit_deadline", last.commit_deadline, state.commit_deadline)
        if carried.gate is None:
            return
        findings.same(number, "state.yardstick", carried.gate.yardstick, state.yardstick)
        ours, theirs = carried.gate.lane_words, self._client.lanes()
        if not findings.same(number, "reputation", len(ours), len(theirs)):
            return
        for index, member in enumerate(self._client.facts.members):
            place, shift = index // LANES_PER_WORD, 64 * (index % LANES_PER_WORD)
            expected, found = (f"0x{words[place] >> shift & _LANE_MASK:016x}" for words in (ours, theirs))
            findings.same(number, "reputation", expected, found, member.identity)


def _gone_on(about_run: Findings, position: Position | None) -> Findings:
    """Give the findings up to a position, with what concerns the whole run as it was found now."""
    findings = Findings()
    if position is None:
        findings.restore(about_run.snapshot())
        return findings
    findings.restore(position.findings)
    findings.add_missing(about_run)
    return findings


def _initial(stream: RoundStream) -> bytes | None:
    return None if stream.opened is None else bytes(stream.opened["initialModel"])


def _stage(last: RoundHistory | None) -> Stage:
    """Give the stage that the ledger must be in after these events."""
    if last is None or last.final is not None or last.voided is not None:
        return Stage.IDLE
    if last.verdicts is not None:
        return Stage.SETTLED
    return Stage.OPEN if last.seal is None else Stage.SEALED
