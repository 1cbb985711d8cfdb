"""Reorganisations under a run: whatever is taken away is done again, once, and the audit is fine."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import trainer.run as run_module
from ledger.blobs import BlobStore
from ledger.client import LedgerClient
from ledger.contribution import Contribution
from ledger.deployment import ledger_address
from ledger.fees import SendPolicy
from ledger.history import read_rounds
from ledger.node import Node
from ledger.parties import local_parties
from tests.ledger.chain.conftest import running_anvil
from tests.ledger.forks import ForkingChain
from tests.trainer.toys import tiny_run
from trainer.audit import AuditOptions, AuditReport, audit
from trainer.chain_round import ChainRound
from trainer.challenger import ChallengeJournal, Challenger
from trainer.config import RunConfig
from trainer.fleet import Fleet, RoundWork
from trainer.folder import RunFolder
from trainer.reporting import SilentObserver
from trainer.run import LedgerRun, run

ABSENT_ROUND = 2  # so that this round has a seal of its own

Reorganise = Callable[[], None]


class Signatures:
    """All that honest members have signed.

    Attributes:
        roots: Update roots by round, member and parent model.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.roots: dict[tuple[int, str, bytes], set[bytes]] = defaultdict(set)
        digest = Contribution.digest

        def noted(self_: Contribution, *arguments: Any) -> bytes:
            self.roots[self_.round, self_.worker, self_.parent_model].add(self_.update_root)
            return digest(self_, *arguments)

        patch.setattr(Contribution, "digest", noted)


def when(patch: pytest.MonkeyPatch, round_: int, step: str, reorganise: Reorganise) -> None:
    """Reorganise once, just after a step of a round."""
    done: list[int] = []

    def once(number: int) -> None:
        if number == round_ and not done:
            done.append(1)
            reorganise()

    def after(owner: Any, name: str, number_of: Callable[..., int]) -> None:
        original = getattr(owner, name)

        def and_reorganise(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            once(number_of(*arguments))
            return result

        patch.setattr(owner, name, and_reorganise)

    if step in ("commit", "seal"):
        spend = ChainRound.spend

        def spend_and_reorganise(self: ChainRound, transaction: str, sent: Any) -> None:
            spend(self, transaction, sent)
            if transaction == step:
                once(self.number)

        patch.setattr(ChainRound, "spend", spend_and_reorganise)
    elif step == "seed":
        after(ChainRound, "assay", lambda self, *_: self.number)
    elif step == "settle":
        after(ChainRound, "settle", lambda self, *_: self.number)
    else:
        after(LedgerRun, "_finalize", lambda _, current, *__: current.number)


def with_absentee(patch: pytest.MonkeyPatch) -> None:
    """Let worker 1 be absent in a round, which then is sealed by a transaction of its own."""
    train = Fleet.train_round

    def train_round(self: Fleet, number: int, *arguments: Any) -> RoundWork:
        work = train(self, number, *arguments)
        if number == ABSENT_ROUND:
            return replace(work, updates=tuple(u for u in work.updates if u.worker != 1))
        return work

    patch.setattr(Fleet, "train_round", train_round)


def check(config: RunConfig, node: Node, signatures: Signatures) -> None:
    """The audit is fine, every round is told once, and nobody has signed what could be shown."""
    folder = RunFolder(Path(config.out))
    address = ledger_address(folder.deployment, node.chain_id)
    report = audit(node, address, BlobStore(folder.blobs), AuditOptions(folder=folder))
    assert report.ok, report.differences
    assert (report.checked.rounds, report.unfinished) == (config.rounds, "")
    assert [line["round"] for line in folder.metric_lines()] == list(range(1, config.rounds + 1))
    assert all(len(roots) == 1 for roots in signatures.roots.values())
    assert len(signatures.roots) >= 4 * config.rounds - 1


@pytest.fixture
def fork(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkingChain]:
    """A chain in memory in the place of the node that a run's configuration names."""
    chain = ForkingChain()

    @contextmanager
    def open_node(_: str, __: Path, policy: SendPolicy | None = None) -> Iterator[Node]:
        yield Node(chain, policy=policy)

    monkeypatch.setattr(run_module, "open_node", open_node)
    yield chain
    chain.close()


def config_of(tmp_path: Path, rpc_url: str = "http://reorganised", **changes: object) -> RunConfig:
    return tiny_run(
        out=str(tmp_path / "run"),
        workers=3,
        chain={"rpc_url": rpc_url},
        **{"rounds": 3, "gate": {"challenge_window_s": 30}, **changes},
    )


AT = ((2, "commit"), (2, "seal"), (2, "seed"), (3, "settle"), (3, "finalize"))
"""Round and step after which the chain is reorganised; round 2 has a seal of its own."""


def play_with_reorganisations(
    patch: pytest.MonkeyPatch, config: RunConfig, node: Node, reorganise: Reorganise
) -> None:
    """Run, with a reorganisation after each kind of step, and check what is left."""
    signatures = Signatures(patch)
    with_absentee(patch)
    for round_, step in AT:
        when(patch, round_, step, reorganise)
    reports = run(config, SilentObserver())
    assert [report.round_number for report in reports] == list(range(1, config.rounds + 1))
    check(config, node, signatures)


@pytest.mark.parametrize(
    "depth", [2, 6, *(pytest.param(depth, marks=pytest.mark.slow) for depth in (1, 3, 4, 5))]
)
def test_what_a_reorganisation_takes_away_is_done_again(
    depth: int, fork: ForkingChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reorganise = partial(fork.reorganise, depth)
    play_with_reorganisations(monkeypatch, config_of(tmp_path), Node(fork), reorganise)
    assert fork.depths == [depth] * len(AT)


def test_run_audit_and_challenger_take_up_what_was_taken_away_meanwhile(
    fork: ForkingChain, tmp_path: Path
) -> None:
    config, cursor = config_of(tmp_path), tmp_path / "cursor.json"
    folder, store = RunFolder(Path(config.out)), BlobStore(tmp_path / "run" / "blobs")
    run(config, SilentObserver())
    node = Node(fork)
    address = ledger_address(folder.deployment, node.chain_id)
    journal = tmp_path / "challenger.json"

    def look() -> AuditReport:
        """Give the audit's report; the one that goes on from its cursor says the same as a whole one."""
        whole = audit(node, address, store, AuditOptions(replay=False))
        report = audit(node, address, store, AuditOptions(replay=False, cursor=cursor))
        assert whole.ok, whole.differences
        assert replace(report, resumed_after=0) == replace(whole, resumed_after=0)
        kept = ChallengeJournal(journal, node.chain_id, address)
        found = Challenger(LedgerClient(node, address), store, None, kept).run_pass()
        assert (found.outcomes, found.troubles, found.pending) == ([], [], [])
        return report

    assert look().unfinished == ""
    for depth in (1, 4, 6):
        fork.reorganise(depth)
        assert look().unfinished != ""
        run(config, SilentObserver())
        report = look()
        assert (report.checked.rounds, report.unfinished) == (config.rounds, "")
        assert [line["round"] for line in folder.metric_lines()] == [1, 2, 3]


def test_an_audit_under_which_the_chain_is_reorganised_begins_again(
    fork: ForkingChain, tmp_path: Path
) -> None:
    config, cursor = config_of(tmp_path), tmp_path / "cursor.json"
    run(config, SilentObserver())
    node, store = Node(fork), BlobStore(tmp_path / "run" / "blobs")
    address = ledger_address(RunFolder(Path(config.out)).deployment, node.chain_id)
    told: list[int] = []

    def reorganise_once(number: int) -> None:
        told.append(number)
        if len(told) == 2:
            fork.reorganise(5)

    options = AuditOptions(replay=False, cursor=cursor)
    report = audit(node, address, store, options, on_round=reorganise_once)
    assert report.ok, report.differences
    assert told[:2] == [1, 2]
    assert len(told) > 2
    whole = audit(node, address, store, AuditOptions(replay=False))
    assert replace(report, resumed_after=0) == whole
    again = audit(node, address, store, options)
    assert replace(again, resumed_after=0) == replace(report, resumed_after=0)


@pytest.mark.node
@pytest.mark.parametrize("depth", range(1, 7))
def test_anvil_takes_blocks_away(depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_anvil() as url:
        node = Node.connect(url)
        heads: list[int] = []

        def reorganise() -> None:
            heads.append(node.block_number())
            node.request("anvil_reorg", depth, [])
            assert node.block_number() == heads[-1]

        play_with_reorganisations(monkeypatch, config_of(tmp_path, url), node, reorganise)
        assert len(heads) == len(AT)


def test_another_seed_is_assayed_under_anew_and_one_settlement_is_sent(
    fork: ForkingChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[bytes] = []
    sent: list[int] = []
    assay, settle = ChainRound.assay, LedgerClient.settle

    def noted_assay(self: ChainRound, seed: bytes, *arguments: Any) -> Any:
        seeds.append(seed)
        return assay(self, seed, *arguments)

    def noted_settle(self: LedgerClient, *arguments: Any, **named: Any) -> Any:
        sent.append(1)
        return settle(self, *arguments, **named)

    monkeypatch.setattr(ChainRound, "assay", noted_assay)
    monkeypatch.setattr(LedgerClient, "settle", noted_settle)
    when(monkeypatch, 1, "seed", partial(fork.reorganise, 1))
    config = config_of(tmp_path, rounds=1)
    run(config, SilentObserver())
    node = Node(fork)
    [history] = read_rounds(node, ledger_address(RunFolder(Path(config.out)).deployment, node.chain_id))
    assert history.verdicts is not None
    assert len(seeds) == len(set(seeds)) == 2
    assert (history.verdicts.seed, len(sent)) == (seeds[1], 1)


def test_a_settlement_that_is_moved_under_another_seed_is_refused_and_the_round_settled_anew(
    fork: ForkingChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What no sender can prevent: its transaction goes into a block of the other branch by itself.
    settle = ChainRound.settle
    moved: list[bytes] = []

    def settle_and_move(self: ChainRound, settlement: Any, decision: Any) -> None:
        settle(self, settlement, decision)
        if not moved:
            head = fork.chain.head().block_number
            [transaction] = fork.chain.block(fork.chain.header(head)).block.transactions
            moved.append(settlement.seed_prefix)
            fork.reorganise(2)
            [receipt] = fork.chain.mine([transaction.encode()]).receipts
            moved.append(receipt.state_root)

    monkeypatch.setattr(ChainRound, "settle", settle_and_move)
    config = config_of(tmp_path, rounds=1)
    run(config, SilentObserver())
    node = Node(fork)
    address = ledger_address(RunFolder(Path(config.out)).deployment, node.chain_id)
    [history] = read_rounds(node, address)
    assert history.verdicts is not None
    assert history.final is not None
    first, refused = moved
    assert refused == b""  # the receipt of a transaction that was reverted
    assert history.verdicts.payload[140:160] == history.verdicts.seed[:20] != first
    report = audit(node, address, BlobStore(tmp_path / "run" / "blobs"))
    assert report.ok, report.differences


def test_what_a_reorganisation_takes_away_before_it_is_confirmed_is_sent_again(
    fork: ForkingChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, payee = local_parties(1).operator, "0x" + "77" * 20
    node = Node(fork, policy=SendPolicy(confirmations=3, patience_s=0.2))
    wait = node.wait_for_block
    waits: list[int] = []

    def reorganise_once(number: int, **named: Any) -> None:
        waits.append(number)
        wait(number - 1, **named)
        if len(waits) == 1:
            fork.reorganise(3)
        else:
            wait(number, **named)

    monkeypatch.setattr(node, "wait_for_block", reorganise_once)
    sent = node.transfer(operator, payee, 7)
    assert (node.balance_wei(payee), node.nonce(operator.address)) == (7, 1)
    assert node.block_number() >= sent.block + 3
    assert bytes(node.block(sent.block)["hash"]) == sent.block_hash
    assert len(waits) >= 2
    assert node.lost_block() is None


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
def test_a_block_that_was_built_on_is_missed(fork: ForkingChain, depth: int) -> None:
    node, operator = Node(fork), local_parties(1).operator
    blocks = [node.transfer(operator, "0x" + "77" * 20, 1).block for _ in range(8)]
    assert node.lost_block() is None
    fork.reorganise(depth)
    # Also when the same number was built on again meanwhile.
    node.build_on(blocks[-1], bytes(node.block(blocks[-1])["hash"]))
    assert node.lost_block() == blocks[-depth]
    assert node.lost_block() is None
