"""Runs with a data-request contract: what does not come is asked for, and what is asked for is answered."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import hallmark
from guard.gate import Status
from guard.settlement import decode_settlement, encode_settlement
from guard.state import Decision, GateState
from ledger.blobs import BlobStore
from ledger.chain import EmbeddedChain
from ledger.challenges import RequestKey, RequestKind, SegmentAnswer, UpdateTree
from ledger.deployment import ledger_address
from ledger.digests import VoidReason
from ledger.history import read_round
from ledger.node import Node
from ledger.request_book import RequestStatus
from ledger.update import HEADER_BYTES, update_root
from tests.ledger.forks import ForkingChain
from tests.trainer.lying import CHALLENGER
from tests.trainer.recorded import reopen
from tests.trainer.test_reorganisations import fork as fork
from tests.trainer.toys import tiny_run
from trainer.audit import audit
from trainer.chain_round import Assayed, ChainRound
from trainer.challenger.rounds import open_commitment, settled_rounds
from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.fleet import WorkerUpdate
from trainer.folder import RunFolder
from trainer.reporting import RoundReport, SilentObserver
from trainer.request_desk import RequestDesk
from trainer.run import run

WITHHOLDER, ROUND, SEGMENTS = 1, 1, 5


class Killed(BaseException):
    """Stands for kill -9."""


class Withheld:
    """A member that commits to an update and keeps its bytes to itself.

    Attributes:
        data: The bytes; empty before it has committed.
        root: Their root.
        waits: How often the guard has waited so far.
    """

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        change: Callable[[bytes], bytes] = lambda data: data,
        index: int = WITHHOLDER,
    ) -> None:
        self.data, self.root, self.waits = b"", b"", 0
        stored = ChainRound._stored

        def keep(round_: ChainRound, member: int, update: WorkerUpdate) -> bytes:
            if (round_.number, member) != (ROUND, index):
                return stored(round_, member, update)
            with pytest.MonkeyPatch.context() as inner:
                kept: list[bytes] = []
                inner.setattr(BlobStore, "put", lambda _, __, data: kept.append(data))
                stored(round_, member, update)
            self.data = change(kept[0])
            self.root = update_root(self.data)
            return self.root

        patch.setattr(ChainRound, "_stored", keep)

    def meanwhile(self, patch: pytest.MonkeyPatch, act: Callable[[RequestDesk], None]) -> None:
        """Do something each time while the guard waits for answers to what it has asked."""
        pause = RequestDesk._pause

        def act_and_pause(desk: RequestDesk, round_: int, until: int, why: str) -> None:
            if why == "data":
                self.waits += 1
                act(desk)
            pause(desk, round_, until, why)

        patch.setattr(RequestDesk, "_pause", act_and_pause)

    def answer(self, desk: RequestDesk, *positions: int) -> None:
        """Answer what is open for some segments, or for all."""
        for position in positions or range(SEGMENTS):
            key = RequestKey(desk._client.address, ROUND, WITHHOLDER, RequestKind.SEGMENT, 0, position)
            if desk.book.request_of(key).status == RequestStatus.OPEN:
                answer = SegmentAnswer.build(key, UpdateTree([self.data], keep=(position,)))
                answer.check(desk._facts, self.root)
                desk.book.answer(CHALLENGER, answer.calldata())


def config_of(tmp_path: Path, name: str = "run", **chain: object) -> RunConfig:
    return tiny_run(
        task="digits_cnn",
        out=str(tmp_path / name),
        workers=3,
        rounds=2,
        gate={"challenge_window_s": 700},
        chain={"data_requests": True, **chain},
    )


def play(config: RunConfig) -> list[RoundReport]:
    return run(config, SilentObserver())


def check(config: RunConfig) -> None:
    """The audit is fine, and no bond is left anywhere."""
    with reopen(RunFolder(Path(config.out))) as recorded:
        report = recorded.audit()
        assert report.ok, report.differences
        assert report.checked.rounds == config.rounds
        book = desk_of(recorded.client(), recorded.store()).book
        guard = recorded.facts.members[-1].identity
        assert book.credit_of(guard) == 0
        assert book.node.balance_wei(book.address) == book.credit_of(CHALLENGER.address)


def desk_of(client: Any, store: BlobStore) -> RequestDesk:
    return RequestDesk(client, store, CHALLENGER, SilentObserver(), most_segments=16)


def test_what_nobody_shows_is_unavailable_and_the_contract_has_seen_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Withheld(monkeypatch)
    config = config_of(tmp_path)
    first, second = play(config)
    assert first.statuses == (Status.COMMITTED, Status.UNAVAILABLE, Status.COMMITTED)
    assert second.statuses == (Status.COMMITTED,) * 3
    check(config)
    with reopen(RunFolder(Path(config.out))) as recorded:
        desk = desk_of(recorded.client(), recorded.store())
        assert desk.marked(1) == 1 << WITHHOLDER
        assert desk.marked(2) == 0
        asked = desk.book.asked_of(recorded.ledger)
        assert [(one.key.index, one.key.position) for one in asked] == [(WITHHOLDER, SEGMENTS - 1)]


def test_an_anchor_that_one_of_several_guards_withholds_is_asked_for_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Withheld(monkeypatch, index=4)
    config = replace(config_of(tmp_path), guards=3)
    first, second = play(config)
    assert first.guards is not None
    assert second.guards is not None
    assert first.guards.statuses == (Status.COMMITTED, Status.UNAVAILABLE, Status.COMMITTED)
    assert second.guards.statuses == (Status.COMMITTED,) * 3
    assert any(first.approved)
    with reopen(RunFolder(Path(config.out))) as recorded:
        report = recorded.audit()
        assert report.ok, report.differences
        desk = desk_of(recorded.client(), recorded.store())
        assert desk.marked(1) == 1 << 4
        assert recorded.client().reputation_at(4).refused == 1
        assert desk.book.node.balance_wei(desk.book.address) == 0


def test_what_another_guard_settles_while_this_one_asks_stays_posted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Withheld(monkeypatch)
    assay, obtain, asking = ChainRound.assay, RequestDesk.obtain, list[tuple[ChainRound, bytes, GateState]]()

    def noted_assay(round_: ChainRound, seed: bytes, gate: GateState) -> Assayed:
        asking.append((round_, seed, gate))
        return assay(round_, seed, gate)

    def obtain_and_settle(desk: RequestDesk, *arguments: Any) -> Any:
        fates = obtain(desk, *arguments)
        monkeypatch.setattr(RequestDesk, "obtain", obtain)
        round_, seed, gate = asking[-1]
        settlement = replace(assay(round_, seed, gate).settlement, poster=1)
        signer = round_._parties.guards[1].signer
        round_._client.settle(signer, round_.number, encode_settlement(settlement))
        return fates

    monkeypatch.setattr(ChainRound, "assay", noted_assay)
    monkeypatch.setattr(RequestDesk, "obtain", obtain_and_settle)
    config = replace(config_of(tmp_path), guards=3)
    first, _ = play(config)
    assert first.statuses == (Status.COMMITTED, Status.UNAVAILABLE, Status.COMMITTED)
    with reopen(RunFolder(Path(config.out))) as recorded:
        assert recorded.audit().ok
        client = recorded.client()
        verdicts = read_round(client.node, client.address, ROUND).verdicts
        assert verdicts is not None
        assert decode_settlement(verdicts.payload, 0b111111, 3, 3).poster == 1


def test_an_update_that_is_answered_segment_by_segment_is_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withheld = Withheld(monkeypatch)
    withheld.meanwhile(monkeypatch, withheld.answer)
    config = config_of(tmp_path)
    first, _ = play(config)
    assert first.statuses == (Status.COMMITTED,) * 3
    assert first.approved[WITHHOLDER]
    check(config)
    with reopen(RunFolder(Path(config.out))) as recorded:
        assert Path(recorded.store().location(withheld.root)).read_bytes() == withheld.data
        assert desk_of(recorded.client(), recorded.store()).book.credit_of(CHALLENGER.address) == 5 * 10**15


def test_one_segment_that_is_not_answered_makes_it_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withheld = Withheld(monkeypatch)
    withheld.meanwhile(monkeypatch, lambda desk: withheld.answer(desk, 4, 0, 1, 3))
    config = config_of(tmp_path)
    assert play(config)[0].statuses[WITHHOLDER] == Status.UNAVAILABLE
    check(config)


def test_an_update_too_large_to_be_asked_for_makes_the_round_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withheld = Withheld(monkeypatch)
    withheld.meanwhile(monkeypatch, withheld.answer)
    config = config_of(tmp_path, request_segments=4)
    first, second = play(config)
    assert (first.metric, second.statuses) == (None, (Status.COMMITTED,) * 3)
    check(config)
    with reopen(RunFolder(Path(config.out))) as recorded:
        voided = recorded.histories[0].voided
        assert voided is not None
        assert voided.reason == VoidReason.SETTLE_OVERDUE


def test_the_bond_for_a_large_update_comes_back_when_another_request_has_ended_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withheld = Withheld(monkeypatch)

    def ask_or_close(desk: RequestDesk) -> None:
        client = desk._client
        key = RequestKey(client.address, ROUND, WITHHOLDER, RequestKind.SEGMENT, 0, 0)
        asked = desk.book.request_of(key)
        if asked.status == RequestStatus.NONE:
            history = read_round(client.node, client.address, ROUND)
            desk.book.ask_sealed(CHALLENGER, key, open_commitment(client, history, WITHHOLDER))
        elif asked.status == RequestStatus.OPEN:
            client.node.wait_until(asked.answer_by + 1)
            desk.book.close(CHALLENGER, key)

    withheld.meanwhile(monkeypatch, ask_or_close)
    config = config_of(tmp_path, request_segments=4)
    reports = play(config)
    assert reports[0].statuses[WITHHOLDER] == Status.UNAVAILABLE
    assert withheld.waits == 2
    check(config)


def test_bytes_that_come_meanwhile_are_taken_and_the_request_is_answered_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withheld = Withheld(monkeypatch)

    def deliver(desk: RequestDesk) -> None:
        desk._store.put(withheld.root, withheld.data)

    withheld.meanwhile(monkeypatch, deliver)
    config = config_of(tmp_path)
    assert play(config)[0].statuses == (Status.COMMITTED,) * 3
    assert withheld.waits == 1
    check(config)
    with reopen(RunFolder(Path(config.out))) as recorded:
        desk = desk_of(recorded.client(), recorded.store())
        [asked] = desk.book.asked_of(recorded.ledger)
        assert desk.book.request_of(asked.key).status == RequestStatus.ANSWERED


@pytest.mark.parametrize(
    "at", [HEADER_BYTES - 1, HEADER_BYTES + 4 * 8192, HEADER_BYTES + 5 * 8192 - 1, HEADER_BYTES + 77]
)
def test_an_answer_that_shows_a_fault_makes_it_malformed_and_answers_for_it(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A header field, a value of the last segment, the padding; a value of the first one.
    def spoil(data: bytes) -> bytes:
        return data[:at] + b"\x80" + data[at + 1 :]

    withheld = Withheld(monkeypatch, spoil)
    withheld.meanwhile(monkeypatch, withheld.answer)
    answered: list[RequestStatus] = []
    settle = ChainRound.settle

    def ask_for_fault(self: ChainRound, settlement: Any, decision: Decision) -> None:
        settle(self, settlement, decision)
        if self.number != ROUND or answered:
            return
        desk = desk_of(self._client, self._store)
        key = RequestKey(self._client.address, ROUND, WITHHOLDER, RequestKind.FAULT)
        round_ = next(one for _, one in settled_rounds(self._client) if one is not None)
        desk.book.ask(CHALLENGER, key, round_.target(self._client, WITHHOLDER).opening)
        self.wait_for_window()
        answered.append(desk.book.request_of(key).status)

    monkeypatch.setattr(ChainRound, "settle", ask_for_fault)
    config = config_of(tmp_path)
    assert play(config)[0].statuses[WITHHOLDER] == Status.MALFORMED
    assert answered == [RequestStatus.ANSWERED]
    with reopen(RunFolder(Path(config.out))) as recorded:
        assert recorded.histories[0].overturned == 0


def test_whatever_others_ask_for_is_answered_while_the_window_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[RequestKey] = []
    settle = ChainRound.settle

    def ask_and_settle(self: ChainRound, settlement: Any, decision: Decision) -> None:
        ledger = self._client.address
        desk = desk_of(self._client, self._store)
        sealed = RequestKey(ledger, self.number, 0, RequestKind.SEGMENT, 0, 2)
        desk.book.ask_sealed(CHALLENGER, sealed, open_commitment(self._client, self.history(), 0))
        settle(self, settlement, decision)
        round_ = [one for _, one in settled_rounds(self._client) if one is not None][-1]
        # The depths are 3 (5 segments) and 2 (4 members): the whole tree, a member's part, a node in it.
        wanted = [
            RequestKey(ledger, self.number, 3, RequestKind.SEGMENT, 0, 4),
            RequestKey(ledger, self.number, 0, RequestKind.TRACE, 5, 0),
            RequestKey(ledger, self.number, 1, RequestKind.TRACE, 3, 1),
            RequestKey(ledger, self.number, 2, RequestKind.TRACE, 1, 2 * 4 + 1),
        ]
        for key in wanted:
            desk.book.ask(CHALLENGER, key, round_.target(self._client, key.index).opening)
        keys.extend([sealed, *wanted])

    monkeypatch.setattr(ChainRound, "settle", ask_and_settle)
    config = config_of(tmp_path)
    reports = play(config)
    assert all(report.approved == (True,) * 3 for report in reports)
    with reopen(RunFolder(Path(config.out))) as recorded:
        book = desk_of(recorded.client(), recorded.store()).book
        assert len(keys) == 10
        assert {book.request_of(key).status for key in keys} == {RequestStatus.ANSWERED}
        assert recorded.audit().ok


def test_a_run_killed_while_it_asks_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withheld = Withheld(monkeypatch)
    withheld.meanwhile(monkeypatch, lambda desk: withheld.answer(desk, 4, 0, 1, 3))
    whole = config_of(tmp_path, "whole")
    expected = [report.as_json() for report in play(whole)]
    killed = config_of(tmp_path, "killed")
    points: set[int] = set()
    asking: list[int] = []
    mine, obtain = EmbeddedChain.mine, RequestDesk.obtain

    def noted_obtain(self: RequestDesk, *arguments: Any) -> Any:
        asking.append(1)
        fates = obtain(self, *arguments)
        asking.clear()
        return fates

    def mine_and_die(self: EmbeddedChain, *arguments: Any, **named: Any) -> Any:
        mined = mine(self, *arguments, **named)
        if asking and mined.number not in points:
            asking.clear()
            points.add(mined.number)
            raise Killed
        return mined

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedChain, "mine", mine_and_die)
        patch.setattr(RequestDesk, "obtain", noted_obtain)
        while True:
            try:
                play(killed)
                break
            except Killed:
                assert len(points) < 60
    # The seed, five requests, four answers, looks at the clock, two at closing.
    assert len(points) > 12
    check(killed)
    unlike = {"gas", "seconds"}
    lines = RunFolder(Path(killed.out)).metric_lines()
    same = [{k: v for k, v in line.items() if k not in unlike} for line in lines]
    assert [line["statuses"] for line in same] == [line["statuses"] for line in expected]
    assert [line["model_root"] for line in same][:1] == [line["model_root"] for line in expected][:1]
    with reopen(RunFolder(Path(killed.out))) as recorded:
        asked = desk_of(recorded.client(), recorded.store()).book.asked_of(recorded.ledger)
        assert sorted(one.key.position for one in asked) == [0, 1, 2, 3, 4], "each thing was asked for once"


@pytest.mark.parametrize("depth", [2, 4])
def test_what_a_reorganisation_takes_away_while_it_asks_is_asked_again(
    depth: int, fork: ForkingChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withheld = Withheld(monkeypatch)

    def reorganise_once(_: RequestDesk) -> None:
        # 2 blocks: the request and the stored seed; 4: the seed's block and the seal, too.
        if withheld.waits == 1:
            fork.reorganise(depth)

    withheld.meanwhile(monkeypatch, reorganise_once)
    config = config_of(tmp_path, rpc_url="http://reorganised")
    first, second = play(config)
    assert fork.depths == [depth]
    assert first.statuses == (Status.COMMITTED, Status.UNAVAILABLE, Status.COMMITTED)
    assert second.statuses == (Status.COMMITTED,) * 3
    node, folder = Node(fork), RunFolder(Path(config.out))
    report = audit(node, ledger_address(folder.deployment, node.chain_id), BlobStore(folder.blobs))
    assert report.ok, report.differences


def test_an_answer_that_a_contract_passes_on_is_found() -> None:
    data = bytes(range(96)) + bytes(8192)
    key = RequestKey("0x" + "Ab" * 20, 1, 2, RequestKind.SEGMENT, 0, 0)
    answer = SegmentAnswer.build(key, UpdateTree([data], keep=(0,)))
    other = replace(answer, key=replace(key, index=3))
    passed_on = b"\x12\x34\x56\x78" + bytes(71) + other.calldata() + bytes(5) + answer.calldata() + bytes(31)
    [found] = SegmentAnswer.find(key, passed_on)
    assert (found.header, found.segment, found.siblings) == (answer.header, answer.segment, answer.siblings)
    assert list(SegmentAnswer.find(key, answer.calldata()[:100])) == []
    assert list(SegmentAnswer.find(key, answer.calldata()[:4] * 1000)) == []


def test_requests_need_challenges_and_have_an_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs chain\.challenges"):
        tiny_run(chain={"data_requests": True, "challenges": False})
    with pytest.raises(ConfigError, match="request_segments"):
        tiny_run(chain={"request_segments": 0})
    out = str(tmp_path / "run")
    arguments = ["run", "--task", "digits_mlp", "--workers", "2", "--rounds", "1", "-H", "1", "--out", out]
    called = CliRunner().invoke(hallmark, [*arguments, "--data-requests"], standalone_mode=False)
    assert called.exception is None
    with reopen(RunFolder(Path(out))) as recorded:
        assert int(recorded.facts.data_requests, 16) != 0
