"""Guards and aggregators with one vice each: what they really put on the chain, the audit finds and names."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account.signers.local import LocalAccount

from guard.evidence import CODE_MAX
from guard.gate import MALFORMED, UNAVAILABLE, Reading, WorkerEvidence
from guard.settlement import Settlement
from guard.state import GateState
from ledger.blobs import BlobStore
from ledger.client import LedgerClient
from ledger.node import Node
from ledger.sending import Sent
from tests.trainer.agreement import assert_agreement
from tests.trainer.recorded import Recorded, record, reopen
from tests.trainer.toys import attacked, tiny_run
from trainer.attacks import ATTACKS
from trainer.audit import AuditOptions, audit
from trainer.chain_round import Assayed, ChainRound
from trainer.folder import RunFolder
from trainer.reporting import SilentObserver
from trainer.run import run

GUARD = 4


def _reading(worker: WorkerEvidence) -> Reading:
    assert worker.reading is not None
    return worker.reading


def _lie(number: int, settlement: Settlement) -> Settlement:
    """Give what this guard posts: another lie in each round."""
    workers = list(settlement.workers)
    if number == 1:
        first = _reading(workers[0])
        workers[0] = replace(workers[0], reading=replace(first, code=first.code ^ CODE_MAX))
    if number == 2:
        second = _reading(workers[1])
        workers[1] = replace(workers[1], reading=replace(second, norm2=second.norm2 // 2))
        third = _reading(workers[2])
        workers[2] = replace(workers[2], reading=replace(third, exponent=third.exponent + 1))
    if number == 3:
        workers[2], workers[3] = MALFORMED, UNAVAILABLE
    anchor = settlement.anchor
    if number == 4:
        anchor = replace(anchor, code=anchor.code ^ 1, norm2=anchor.norm2 + 1)
    root = b"\x05" * 32 if number == 5 else settlement.trace_root
    return replace(settlement, anchor=anchor, workers=tuple(workers), trace_root=root)


CHANGED: set[tuple[int, int, bool]] = set()
"""Round, worker, and whether it would have been approved: the verdicts that the lies have changed."""


@pytest.fixture(scope="module")
def lying_guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    assay = ChainRound.assay

    def lying(self: ChainRound, seed: bytes, gate: GateState) -> Assayed:
        true = assay(self, seed, gate)
        parameters = self._config.gate
        posted = _lie(self.number, true.settlement)
        posted = replace(posted, median=gate.median(parameters, posted))
        verdicts = [gate.decide(parameters, self.number, s).verdict for s in (true.settlement, posted)]
        for index in range(len(posted.workers)):
            honest, changed = (v.is_approved(index) for v in verdicts)
            if honest != changed:
                CHANGED.add((self.number, index, honest))
        return replace(true, settlement=posted)

    config = tiny_run(out=str(tmp_path_factory.mktemp("guard") / "run"), rounds=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChainRound, "assay", lying)
        run(config, SilentObserver())
    with reopen(RunFolder(Path(config.out))) as recorded:
        yield recorded


def test_audit_names_every_lie_of_a_guard(lying_guard: Recorded) -> None:
    report = lying_guard.audit()
    name = lying_guard.name
    found = {(d.round, d.worker, d.field) for d in report.differences if d.field != "verdict"}
    assert found == {
        (1, name(0), "word"),
        (2, name(1), "norm2"),
        (2, name(2), "exponent"),
        (3, name(2), "status"),
        (3, name(3), "status"),
        (3, name(GUARD), "trace_root"),
        (4, name(GUARD), "word"),
        (4, name(GUARD), "norm2"),
        (5, name(GUARD), "trace_root"),
    }
    traces = {d.round: (d.expected, d.found) for d in report.differences if d.field == "trace_root"}
    assert traces[5] == ("0x" + lying_guard.spec_trace_root(5).hex(), "0x" + "05" * 32)
    # It posted no word of two members, so their traces do not belong to what it posted.
    assert traces[3][0] == "0x" + lying_guard.spec_trace_root(3, without=[2, 3]).hex()
    assert traces[3][1] == "0x" + lying_guard.spec_trace_root(3).hex()
    claims = {(d.worker, d.expected, d.found) for d in report.differences if d.field == "status"}
    assert claims == {(name(2), "committed", "malformed"), (name(3), "committed", "unavailable")}
    assert report.checked.models == 6, "the merges are those that follow from what was posted"
    assert_agreement(lying_guard, report)


def test_every_lie_of_a_guard_has_its_challenge(lying_guard: Recorded) -> None:
    report = lying_guard.audit()
    name = lying_guard.name
    kinds = {(d.round, d.worker, d.field): d.challenge for d in report.differences if d.field != "verdict"}
    assert kinds == {
        (1, name(0), "word"): "boundary",
        (2, name(1), "norm2"): "boundary",
        (2, name(2), "exponent"): "exponent",
        (3, name(2), "status"): "unfounded",
        (3, name(3), "status"): None,
        (4, name(GUARD), "word"): "boundary",
        (4, name(GUARD), "norm2"): "boundary",
        (3, name(GUARD), "trace_root"): "withheld",
        (5, name(GUARD), "trace_root"): "withheld",
    }
    assert report.verdict == "false"


def test_audit_says_whose_verdict_a_lie_has_changed(lying_guard: Recorded) -> None:
    report = lying_guard.audit()
    changed = {(d.round, d.worker, d.expected, d.found) for d in report.differences if d.field == "verdict"}
    words = {True: ("approved", "refused"), False: ("refused", "approved")}
    assert changed == {(n, lying_guard.name(index), *words[honest]) for n, index, honest in CHANGED}
    # Which verdicts a lie changes hangs on the seed, and so on the chain; what is not delivered is refused.
    assert {(3, 2, True), (3, 3, True)} <= CHANGED


@pytest.fixture(scope="module")
def lying_aggregator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    finalize = LedgerClient.finalize

    def lying(
        self: LedgerClient, sender: LocalAccount, round_: int, model: bytes, weights: bytes, deadline: int
    ) -> Sent:
        if round_ == 1:
            weights = bytes(31) + b"\x01"
        if round_ == 2:
            model = bytes(31) + b"\x02"
        return finalize(self, sender, round_, model, weights, deadline)

    config = tiny_run(out=str(tmp_path_factory.mktemp("aggregator") / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LedgerClient, "finalize", lying)
        run(config, SilentObserver())
    with reopen(RunFolder(Path(config.out))) as recorded:
        yield recorded


def test_audit_names_false_weights_and_a_false_model(lying_aggregator: Recorded) -> None:
    report = lying_aggregator.audit()
    assert [(d.round, d.worker, d.field) for d in report.differences] == [
        (1, "", "weights_digest"),
        (2, "", "model_root"),
    ]
    assert report.differences[1].found == "0x" + "00" * 31 + "02"
    assert [d.challenge for d in report.differences] == [None, None], "no challenge reaches the aggregator"
    assert_agreement(lying_aggregator, report)
    assert report.checked.models == 3, "nobody has the model that the third round started from"


def test_without_replay_a_false_model_is_not_seen_and_the_report_says_so(lying_aggregator: Recorded) -> None:
    node, store = Node(lying_aggregator.provider), BlobStore(lying_aggregator.folder.blobs)
    report = audit(node, lying_aggregator.ledger, store, AuditOptions(replay=False))
    assert [(d.round, d.field) for d in report.differences] == [(1, "weights_digest")]
    assert (report.is_replayed, report.unreplayed, report.checked.models) == (False, 3, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_audit_of_every_attack_finds_nothing(tmp_path: Path, name: str) -> None:
    with record(attacked(name, out=str(tmp_path / "run"), rounds=2)) as recorded:
        report = recorded.audit()
        assert_agreement(recorded, report)
    assert report.ok, report.differences
    assert (report.checked.rounds, report.checked.models) == (2, 3)
