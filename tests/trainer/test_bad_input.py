"""What goes wrong around a run: each has its clear error or its recorded refusal, and nothing is lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from eth_account import Account
from web3.types import RPCEndpoint, RPCResponse

import trainer.run as run_module
from guard.gate import Status
from ledger.blobs import BlobKind, BlobStore
from ledger.calldata import SignedCommitment
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.client import LedgerClient, NotOurContractError, Stage
from ledger.contribution import Domain, sign
from ledger.deployment import RunFacts
from ledger.errors import EnvironmentFault, InputError
from ledger.fees import SendPolicy
from ledger.node import Node, WrongChainError
from ledger.parties import local_parties
from ledger.reverts import RevertedError
from tests.trainer import recorded as staging
from tests.trainer.recorded import (
    FailingProvider,
    ForgingProvider,
    Recorded,
    code,
    empty_ledger,
    flip,
    reopen,
)
from tests.trainer.test_resume import outcome
from tests.trainer.toys import tiny_run
from trainer.audit import audit
from trainer.config import RunConfig
from trainer.folder import RunFolder
from trainer.reporting import SilentObserver
from trainer.run import run

# The wrong chain, the wrong contract


def test_node_of_another_chain_is_refused(recorded: Recorded) -> None:
    with pytest.raises(WrongChainError, match="expected chain id 1, the node serves 31337") as caught:
        Node(recorded.provider, expected_chain_id=1)
    assert "--rpc-url" in caught.value.hint


def test_address_without_code_is_refused(recorded: Recorded) -> None:
    with pytest.raises(NotOurContractError, match="no contract at"):
        LedgerClient(Node(recorded.provider), "0x" + "12" * 20)


@pytest.mark.parametrize("address", ["", "0x12", "ledger", "0x" + "zz" * 20])
def test_what_is_no_address_is_refused(recorded: Recorded, address: str) -> None:
    with pytest.raises(InputError, match="not an address"):
        LedgerClient(Node(recorded.provider), address)


def test_ledger_of_another_version_is_refused(recorded: Recorded) -> None:
    forge = code(recorded.ledger, lambda data: flip(data, 200))
    with pytest.raises(NotOurContractError, match="not this version's ContributionLedger") as caught:
        LedgerClient(Node(ForgingProvider(recorded.provider, forge)), recorded.ledger)
    assert "version of Hallmark" in caught.value.hint


# A node that is gone


@contextmanager
def served(
    monkeypatch: pytest.MonkeyPatch, wrap: Callable[[EmbeddedProvider], FailingProvider]
) -> Iterator[None]:
    """Let runs reach their embedded chain through a bad connection; nobody sleeps between retries."""

    @contextmanager
    def open_node(_: str, folder: Path, policy: SendPolicy | None = None) -> Iterator[Node]:
        with EmbeddedChain.open(folder, clock=LogicalClock()) as chain:
            yield Node(wrap(EmbeddedProvider(RpcDispatcher(chain))), policy=policy)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "open_node", open_node)
        patch.setattr("ledger.node.time.sleep", lambda _: None)
        yield


class LosingProvider(FailingProvider):
    """A node that does what it is asked, but whose answer is lost."""

    def make_request(self, method: RPCEndpoint, params: object) -> RPCResponse:
        answer = self._inner.make_request(method, params)
        self.requests += 1
        if self._fails(self.requests, method):
            raise ConnectionError("the answer is lost")
        return answer


def same_run(recorded: Recorded, folder: Path) -> RunConfig:
    return tiny_run(out=str(folder), attack={"name": "malformed", "share": 0.25})


def test_flaky_node_is_survived(recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = same_run(recorded, tmp_path / "run")
    with served(monkeypatch, lambda inner: FailingProvider(inner, lambda count, _: count % 7 == 0)):
        run(config, SilentObserver())
    with reopen(RunFolder(tmp_path / "run")) as flaky:
        assert outcome(flaky) == outcome(recorded)


def test_lost_answers_to_transactions_send_nothing_twice(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: set[int] = set()

    def loses(count: int, method: str) -> bool:
        # Every first try; the second one finds the transaction known.
        if method == "eth_sendRawTransaction" and count - 1 not in lost:
            lost.add(count)
            return True
        return False

    config = same_run(recorded, tmp_path / "run")
    with served(monkeypatch, lambda inner: LosingProvider(inner, loses)):
        run(config, SilentObserver())
    assert len(lost) > 15
    with reopen(RunFolder(tmp_path / "run")) as resent:
        assert outcome(resent) == outcome(recorded)


def _answers(times: int, inner: EmbeddedProvider) -> FailingProvider:
    """Give a node that answers so many times and then no more."""
    return FailingProvider(inner, lambda count, _: count > times)


def test_run_without_its_node_fails_and_goes_on_later(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, faults = same_run(recorded, tmp_path / "run"), list[EnvironmentFault]()
    while len(faults) < 20:
        with served(monkeypatch, partial(_answers, 40 * (len(faults) + 1))):
            try:
                run(config, SilentObserver())
                break
            except EnvironmentFault as error:
                faults.append(error)
    assert 3 <= len(faults) < 20
    assert all(fault.hint for fault in faults), "somebody must be told what to do"
    with reopen(RunFolder(tmp_path / "run")) as resumed:
        assert outcome(resumed) == outcome(recorded)
        assert resumed.audit().ok


def test_audit_without_its_node_is_the_environments_fault(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.node.time.sleep", lambda _: None)
    for allowed in range(1, 60, 6):
        with pytest.raises(EnvironmentFault):
            audit(
                Node(_answers(allowed, recorded.provider)), recorded.ledger, BlobStore(recorded.folder.blobs)
            )


# Blobs that are not what was committed


class Spoiler(SilentObserver):
    """Spoils one worker's blob of each round just before the guard reads it."""

    def __init__(self, folder: Path, changes: dict[int, tuple[int, Callable[[bytes], bytes | None]]]) -> None:
        self.notes: list[str] = []
        self._folder = folder
        self._changes = changes

    def phase(self, round_number: int, name: str) -> None:
        if name != "guard" or round_number not in self._changes:
            return
        worker, change = self._changes[round_number]
        for path in self._folder.glob(f"*.{BlobKind.UPDATE.value}"):
            data = path.read_bytes()
            is_of_round = int.from_bytes(data[16:20], "little") == round_number
            if is_of_round and data[20:40] == bytes.fromhex(_identity(worker)[2:]):
                changed = change(data)
                if changed is None:
                    path.unlink()
                else:
                    path.write_bytes(changed)

    def note(self, text: str) -> None:
        self.notes.append(text)


def _identity(worker: int) -> str:
    address: str = local_parties(worker + 1).workers[worker].identity.address
    return address


def test_spoilt_blobs_are_recorded_as_unavailable_and_the_run_goes_on(tmp_path: Path) -> None:
    changes: dict[int, tuple[int, Callable[[bytes], bytes | None]]] = {
        1: (0, lambda _: None),
        2: (1, lambda data: data[:-100]),
        3: (2, lambda data: flip(data, 777)),
        4: (3, lambda data: data + bytes(8192)),
        5: (0, lambda data: data[:96] + b"\x80" + data[97:]),
    }
    config = tiny_run(out=str(tmp_path / "run"), rounds=5)
    spoiler = Spoiler(tmp_path / "run" / "blobs", changes)
    reports = run(config, spoiler)
    for report in reports:
        spoilt = changes[report.round_number][0]
        expected = [Status.UNAVAILABLE if worker == spoilt else Status.COMMITTED for worker in range(4)]
        assert list(report.statuses) == expected
        assert not report.approved[spoilt]
    assert len(spoiler.notes) == 5
    assert all("unavailable" in note for note in spoiler.notes)
    with reopen(RunFolder(tmp_path / "run")) as recorded:
        assert recorded.audit().ok


def test_blob_that_turns_up_after_all_contradicts_the_guard(tmp_path: Path) -> None:
    kept: list[tuple[Path, bytes]] = []

    class Hiding(Spoiler):
        def phase(self, round_number: int, name: str) -> None:
            before = {path: path.read_bytes() for path in self._folder.glob("*.hmrk")}
            super().phase(round_number, name)
            kept.extend((path, data) for path, data in before.items() if not path.exists())

    config = tiny_run(out=str(tmp_path / "run"), rounds=1)
    run(config, Hiding(tmp_path / "run" / "blobs", {1: (1, lambda _: None)}))
    ((path, data),) = kept
    with reopen(RunFolder(tmp_path / "run")) as recorded:
        assert recorded.audit().ok
        path.write_bytes(data)
        report = recorded.audit()
    assert (1, recorded.name(1), "status") in {(d.round, d.worker, d.field) for d in report.differences}


def test_disk_that_fails_condemns_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_run(out=str(tmp_path / "run"), rounds=1)

    class Planting(Spoiler):
        def phase(self, round_number: int, name: str) -> None:
            before = set(self._folder.glob("*.hmrk"))
            super().phase(round_number, name)
            for path in before - set(self._folder.glob("*.hmrk")):
                path.mkdir()

    with pytest.raises(EnvironmentFault):
        run(config, Planting(tmp_path / "run" / "blobs", {1: (1, lambda _: None)}))
    with reopen(RunFolder(tmp_path / "run")) as recorded:
        report = recorded.audit()
        assert report.ok
        assert report.unfinished == "sealed"


# Transactions that are refused

FACTS = RunFacts(run=7, initial_model=bytes(32), shape_digest=bytes(32), length=10, commit_window_s=3600)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[staging.Stage]:
    """A ledger with three workers; worker 0 has committed to round 1."""
    with empty_ledger(tmp_path_factory.mktemp("stage"), 3, FACTS) as found:
        state = found.client.state()
        mine = found.client.contribution(0, 1, state.parent_model, b"\x01" * 32, 5, state.commit_deadline)
        found.client.commit(found.parties.workers[0].signer, 0, mine)
        yield found


def signed(
    stage: staging.Stage, index: int, *, round_: int = 1, domain: Domain | None = None, by: int | None = None
) -> SignedCommitment:
    """Sign a commitment as a member would, or as it should not."""
    client, state = stage.client, stage.client.state()
    message = client.contribution(index, round_, state.parent_model, b"\x02" * 32, 5, state.commit_deadline)
    key = stage.parties.workers[index if by is None else by].signer.key
    return SignedCommitment(b"\x02" * 32, 5, sign(message.digest(domain or client.facts.domain), bytes(key)))


def refused(stage: staging.Stage, items: dict[int, SignedCommitment], name: str) -> RevertedError:
    """Check that a batch is refused by this error, and that nothing changed."""
    client, before = stage.client, stage.client.state()
    with pytest.raises(RevertedError) as caught:
        client.commit_batch(stage.parties.operator, 1, before.commit_deadline, items)
    assert caught.value.name == f"ContributionLedger{name}"
    assert client.state() == before
    return caught.value


def test_signature_for_another_round_is_refused(stage: staging.Stage) -> None:
    error = refused(stage, {1: signed(stage, 1, round_=2)}, "WrongSigner")
    assert error.arguments["index"] == 1
    assert "another round, chain, ledger" in error.hint


def test_signature_for_another_chain_is_refused(stage: staging.Stage) -> None:
    refused(stage, {1: signed(stage, 1, domain=Domain(1, stage.client.address))}, "WrongSigner")


def test_signature_for_another_ledger_is_refused(stage: staging.Stage) -> None:
    refused(stage, {1: signed(stage, 1, domain=Domain(31337, "0x" + "11" * 20))}, "WrongSigner")


def test_signature_of_another_member_is_refused(stage: staging.Stage) -> None:
    refused(stage, {1: signed(stage, 1, by=2)}, "WrongSigner")


def test_malleable_signature_is_refused(stage: staging.Stage) -> None:
    good = signed(stage, 1)
    high = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A1
    bad = SignedCommitment(good.update_root, 5, good.signature[:32] + high.to_bytes(32, "big"))
    refused(stage, {1: bad}, "WrongSigner")


def test_second_commitment_is_refused(stage: staging.Stage) -> None:
    error = refused(stage, {0: signed(stage, 0)}, "AlreadyCommitted")
    assert "first commitment" in error.hint
    refused(stage, {0: signed(stage, 0), 1: signed(stage, 1)}, "AlreadyCommitted")


def test_unknown_worker_is_refused(stage: staging.Stage) -> None:
    error = refused(stage, {9: signed(stage, 1)}, "UnknownMember")
    assert "cohort" in error.hint
    with pytest.raises(InputError, match="not in the cohort"):
        stage.client.facts.index_of("0x" + "77" * 20)


def test_strangers_own_commitment_is_refused(stage: staging.Stage) -> None:
    state = stage.client.state()
    mine = stage.client.contribution(1, 1, state.parent_model, b"\x03" * 32, 5, state.commit_deadline)
    stranger = stage.parties.workers[2].signer
    with pytest.raises(RevertedError, match="NotMember"):
        stage.client.commit(stranger, 1, mine)


def test_settle_before_seal_is_refused(stage: staging.Stage) -> None:
    with pytest.raises(RevertedError, match="ContributionLedgerNotSealed"):
        stage.client.settle(stage.parties.guard.signer, 1, bytes(160))


def test_seal_before_the_deadline_is_refused(stage: staging.Stage) -> None:
    with pytest.raises(RevertedError, match="ContributionLedgerWindowOpen"):
        stage.client.seal(stage.parties.operator, 1)


def test_settle_by_a_stranger_is_refused(stage: staging.Stage) -> None:
    with pytest.raises(RevertedError, match="ContributionLedgerNotGuard"):
        stage.client.settle(stage.parties.operator, 1, bytes(160))


def test_account_without_money_is_told_so(stage: staging.Stage) -> None:
    poor = Account.create()
    with pytest.raises(EnvironmentFault):
        stage.client.seal(poor, 1)


def test_late_commitment_is_refused_and_the_round_is_void(tmp_path: Path) -> None:
    with empty_ledger(tmp_path, 1, FACTS) as stage:
        state = stage.client.state()
        late = {0: signed(stage, 0)}
        stage.client.node.wait_until(state.commit_deadline + 1)
        error = refused(stage, late, "WindowClosed")
        assert "next round" in error.hint
        stage.client.seal(stage.parties.operator, 1)
        assert stage.client.state().stage == Stage.IDLE
        report = audit(stage.client.node, stage.client.address, BlobStore(tmp_path / "blobs"))
        assert {d.field for d in report.differences} == {"initial_model"}, "and that is all"
        assert report.checked.rounds == 1
