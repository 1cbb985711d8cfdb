"""The audit as a stream: page by page, taken up again, in parallel, asking little."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from web3.types import RPCEndpoint, RPCResponse

from ledger.asking import NodeAnswerError
from ledger.blobs import BlobStore
from ledger.chain import EmbeddedProvider
from ledger.history import RoundStream, read_rounds
from ledger.node import Node
from tests.trainer.recorded import ForgingProvider, Recorded, record, reopen
from tests.trainer.test_tampering import edit
from tests.trainer.toys import tiny_run
from trainer.audit import AuditOptions, AuditReport, audit
from trainer.audit.cursor import KEEP
from trainer.config import RunConfig, load_config
from trainer.folder import RunFolder
from trainer.reporting import SilentObserver
from trainer.run import run

# Pages of logs


class Capped(ForgingProvider):
    """A node that refuses a range of more than so many blocks, in the words of one of the public ones."""

    def __init__(self, inner: EmbeddedProvider, most: int, refusal: dict[str, Any]) -> None:
        super().__init__(inner)
        self.ranges: list[tuple[int, int]] = []
        self.methods: set[str] = set()
        self._most = most
        self._refusal = refusal

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        self.methods.add(method)
        if method == "eth_getLogs":
            first, last = (int(params[0][name], 16) for name in ("fromBlock", "toBlock"))
            if last - first >= self._most:
                return {"jsonrpc": "2.0", "id": 1, "error": self._refusal}  # type: ignore[typeddict-item]
            self.ranges.append((first, last))
        return super().make_request(method, params)


REFUSALS = [
    {"code": -32005, "message": "query returned more than 10000 results"},
    {"code": -32602, "message": "eth_getLogs is limited to a 10,000 range"},
    {"code": -32000, "message": "block range is too wide"},
    {"code": -32600, "message": "You can make eth_getLogs requests with up to a 500 block range"},
    {"code": -32000, "message": "exceed maximum block range: 5000"},
    {"code": -32603, "message": "Log response size exceeded"},
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: str(refusal["message"])[:20])
@pytest.mark.parametrize("most", [1, 2, 7])
def test_logs_of_a_node_that_caps_ranges_are_all_read(
    recorded: Recorded, most: int, refusal: dict[str, Any]
) -> None:
    provider = Capped(recorded.provider, most, refusal)
    node = Node(provider)
    logs = node.logs(recorded.ledger, 5)
    assert logs == Node(recorded.provider).logs(recorded.ledger, 5)
    assert logs == Node(recorded.provider).logs(recorded.ledger)
    assert provider.ranges[0][0] == 5
    assert provider.ranges[-1][1] == node.block_number()
    for (_, end), (begin, _) in zip(provider.ranges, provider.ranges[1:], strict=False):
        assert begin == end + 1
    assert all(end - begin < most for begin, end in provider.ranges)


def test_a_node_that_refuses_one_block_fails(recorded: Recorded) -> None:
    with pytest.raises(NodeAnswerError, match="range"):
        Node(Capped(recorded.provider, 0, REFUSALS[2])).logs(recorded.ledger)


def test_a_refusal_for_another_reason_is_not_tried_again(recorded: Recorded) -> None:
    with pytest.raises(NodeAnswerError, match="unauthorised"):
        Node(Capped(recorded.provider, 3, {"code": -32000, "message": "unauthorised"})).logs(recorded.ledger)


def test_an_audit_reads_no_block_before_the_first_and_asks_seven_questions(recorded: Recorded) -> None:
    provider = Capped(recorded.provider, 3, REFUSALS[0])
    options = AuditOptions(first_block=9)
    assert audit(Node(provider), recorded.ledger, BlobStore(recorded.folder.blobs), options).ok
    assert min(first for first, _ in provider.ranges) == 9
    assert provider.methods == {
        "eth_chainId", "eth_blockNumber", "eth_getBlockByNumber", "eth_getCode", "eth_getLogs",
        "eth_getTransactionByHash", "eth_call",
    }  # fmt: skip


def test_an_audit_that_begins_too_late_says_what_it_lacks(recorded: Recorded) -> None:
    late = recorded.histories[1].commitments[0].block
    options = AuditOptions(first_block=late)
    report = audit(Node(recorded.provider), recorded.ledger, BlobStore(recorded.folder.blobs), options)
    assert {(0, "RunOpened"), (2, "RoundOpened")} <= {(d.round, d.field) for d in report.differences}


def test_a_stream_gives_what_reading_all_at_once_gives(recorded: Recorded) -> None:
    errors: list[object] = []
    stream = RoundStream(Node(recorded.provider), recorded.ledger, lambda *error: errors.append(error))
    assert list(stream) == read_rounds(Node(recorded.provider), recorded.ledger)
    assert (errors, stream.opened_count) == ([], 1)


# Jobs


@pytest.mark.parametrize("jobs", [2, 3, 16])
def test_jobs_do_not_change_a_report(recorded: Recorded, tmp_path: Path, jobs: int) -> None:
    blobs = recorded.copied_blobs(tmp_path / "blobs")
    Path(BlobStore(blobs).location(recorded.root(2, 1))).unlink()

    def report(jobs: int) -> AuditReport:
        return audit(Node(recorded.provider), recorded.ledger, BlobStore(blobs), AuditOptions(jobs=jobs))

    assert report(jobs) == report(1)
    assert report(jobs).unchecked_count == 1


# Cursors


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Six rounds of a run that is not over."""
    config = tiny_run(out=str(tmp_path_factory.mktemp("growing") / "run"), rounds=6)
    with record(config):
        pass
    return config


def audit_on(
    recorded: Recorded, cursor: Path | None, *, replay: bool = True, seen: list[int] | None = None
) -> AuditReport:
    options = AuditOptions(replay=replay, cursor=cursor)
    told = (lambda _: None) if seen is None else seen.append
    return audit(
        Node(recorded.provider), recorded.ledger, BlobStore(recorded.folder.blobs), options, on_round=told
    )


@pytest.mark.parametrize("replay", [True, False])
def test_an_audit_goes_on_where_the_last_one_stopped(tmp_path: Path, replay: bool) -> None:
    cursor, config = tmp_path / "cursor.json", tiny_run(out=str(tmp_path / "run"), rounds=2)
    with record(config) as recorded:
        first = audit_on(recorded, cursor, replay=replay)
        assert (first.ok, first.checked.rounds, first.resumed_after) == (True, 2, 0)
    seen: list[int] = []
    run(tiny_run(out=str(tmp_path / "run"), rounds=4), SilentObserver())
    with reopen(RunFolder(tmp_path / "run")) as recorded:
        second = audit_on(recorded, cursor, replay=replay, seen=seen)
        whole = audit_on(recorded, None, replay=replay)
        assert (seen, second.resumed_after, second.ok) == ([3, 4], 2, True)
        assert second.checked == whole.checked
        assert (second.model_root, second.head_hash) == (whole.model_root, whole.head_hash)
        third = audit_on(recorded, cursor, replay=replay)
        assert (third.resumed_after, third.checked) == (4, whole.checked)


def test_a_cursor_keeps_a_bounded_number_of_positions(growing: RunConfig, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor.json"
    with reopen(RunFolder(Path(growing.out))) as recorded:
        assert audit_on(recorded, cursor, replay=False).ok
    positions = json.loads(cursor.read_text())["positions"]
    assert [position["round"] for position in positions] == [3, 4, 5, 6]
    assert len(positions) == KEEP


@pytest.mark.parametrize(("gone", "resumed"), [(1, 5), (3, 3), (4, 0)])
def test_a_reorg_takes_an_audit_back_to_a_block_that_is_still_there(
    growing: RunConfig, tmp_path: Path, gone: int, resumed: int
) -> None:
    cursor = tmp_path / "cursor.json"

    def reorganise(content: dict[str, Any]) -> None:
        for position in content["positions"][-gone:]:
            position["block_hash"] = "12" * 32

    with reopen(RunFolder(Path(growing.out))) as recorded:
        whole = audit_on(recorded, cursor, replay=False)
        edit(cursor, reorganise)
        again = audit_on(recorded, cursor, replay=False)
    assert (again.resumed_after, again.checked, again.ok) == (resumed, whole.checked, True)


def test_a_chain_that_is_shorter_than_the_cursor_is_a_reorg(growing: RunConfig, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor.json"
    with reopen(RunFolder(Path(growing.out))) as recorded:
        audit_on(recorded, cursor, replay=False)
        edit(cursor, lambda content: content["positions"][-1].update(block=10**9))
        assert audit_on(recorded, cursor, replay=False).resumed_after == 5


def test_a_cursor_without_models_is_no_start_for_a_replay(growing: RunConfig, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor.json"
    with reopen(RunFolder(Path(growing.out))) as recorded:
        audit_on(recorded, cursor, replay=False)
        replayed = audit_on(recorded, cursor, replay=True)
        assert (replayed.resumed_after, replayed.checked.models) == (0, 7)
        assert audit_on(recorded, cursor, replay=True).resumed_after == 6
        # The other way round nothing is missing.
        assert audit_on(recorded, cursor, replay=False).resumed_after == 6


def test_a_difference_is_told_again_by_the_next_audit(growing: RunConfig, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor.json"
    with reopen(RunFolder(Path(growing.out))) as recorded:
        store = BlobStore(recorded.copied_blobs(tmp_path / "blobs"))
        Path(store.location(recorded.root(2, 1))).unlink()
        options = AuditOptions(replay=False, cursor=cursor)
        first = audit(Node(recorded.provider), recorded.ledger, store, options)
        second = audit(Node(recorded.provider), recorded.ledger, store, options)
    assert first.differences == second.differences
    assert (len(second.differences), second.resumed_after) == (1, 6)


KILLED = """
import os, signal, sys
from pathlib import Path
from ledger.blobs import BlobStore
from trainer.audit import AuditOptions, audit
from trainer.chain_session import RunTarget, open_recorded_run

folder, cursor, at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
with open_recorded_run(RunTarget(folder)) as run:
    audit(
        run.client.node, run.client.address, run.store, AuditOptions(replay=False, cursor=cursor),
        on_round=lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == at else None,
    )
"""


def test_an_audit_that_was_killed_goes_on(growing: RunConfig, tmp_path: Path) -> None:
    cursor, seen = tmp_path / "cursor.json", list[int]()
    command = [sys.executable, "-c", KILLED, growing.out, str(cursor), "4"]
    assert subprocess.run(command, check=False).returncode == -9
    with reopen(RunFolder(Path(growing.out))) as recorded:
        report = audit_on(recorded, cursor, replay=False, seen=seen)
        assert report.checked == audit_on(recorded, None, replay=False).checked
    assert (seen, report.resumed_after, report.ok) == ([5, 6], 4, True)
    assert load_config(Path(growing.out) / "run.toml").rounds == 6
