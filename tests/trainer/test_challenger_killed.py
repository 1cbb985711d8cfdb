"""`hallmark challenger` under kill -9, and how little it reads the second time."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ledger.chain import EmbeddedProvider
from ledger.client import LedgerClient
from ledger.history import decode_log
from ledger.node import Node
from ledger.parties import local_challenger
from tests.trainer.lying import CHALLENGER, code_bit, tell_lies
from tests.trainer.recorded import ForgingProvider, Recorded, reopen
from tests.trainer.toys import tiny_run
from trainer.challenger import ChallengeJournal, Challenger, PassReport
from trainer.folder import RunFolder
from trainer.reporting import SilentObserver
from trainer.run import run

PROGRAM = """
import os, signal, sys
from pathlib import Path

import trainer.challenger.journal as journal_module
from cli.main import hallmark
from ledger.chain import EmbeddedProvider

run, points, only = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
done = set(points.read_text().splitlines()) if points.exists() else set()

def step(name):
    if name in done or (only and only not in name):
        return
    with points.open("a") as file:
        file.write(name + chr(10))
        file.flush()
        os.fsync(file.fileno())
    os.kill(os.getpid(), signal.SIGKILL)

ask, write = EmbeddedProvider.make_request, journal_module.write_atomic

def make_request(self, method, params):
    height = int(ask(self, "eth_blockNumber", [])["result"], 16)
    step(f"before {method} at {height}")
    response = ask(self, method, params)
    step(f"after {method} at {height}")
    return response

written = [0]

def write_atomic(path, text):
    written[0] += 1
    step(f"before journal {written[0]} eth_sendRawTransaction")
    write(path, text)
    step(f"after journal {written[0]} eth_sendRawTransaction")

EmbeddedProvider.make_request, journal_module.write_atomic = make_request, write_atomic
import trainer.chain_session, trainer.challenger  # once, for all the processes that are killed

while True:
    sys.stdout.flush()
    if (child := os.fork()) == 0:
        done = set(points.read_text().splitlines()) if points.exists() else set()
        try:
            code = hallmark.main(["challenger", run, "--once"], standalone_mode=False) or 0
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            code = 99
        os._exit(code)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
    assert os.WTERMSIG(status) == signal.SIGKILL
"""


@pytest.mark.parametrize("only", ["eth_sendRawTransaction", pytest.param("", marks=pytest.mark.slow)])
def test_killed_at_each_step_it_sends_nothing_twice_and_loses_nothing(
    lied: Path, tmp_path: Path, only: str
) -> None:
    points = tmp_path / "points"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", PROGRAM, str(lied), str(points), only]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kills = points.read_text().splitlines()
    assert len(kills) == len(set(kills))
    assert len(kills) >= (8 if only else 40)
    with reopen(RunFolder(lied)) as recorded:
        node, account = Node(recorded.provider), local_challenger(31337)
        assert (recorded.client().overturned_of(1), recorded.client().overturned_of(3)) == (1 << 1, 1 << 2)
        mine = []
        for number in range(node.block_number() + 1):
            block = node.request("eth_getBlockByNumber", hex(number), True)
            mine += [t for t in block["transactions"] if t["from"].lower() == account.address.lower()]
        assert len(mine) == node.nonce(account.address) == 2
        events = [decode_log(log, "Challenge") for log in node.logs(recorded.facts.challenge)]
        assert [event.name for event in events if event is not None] == ["ContributionChallenged"] * 2
        kept = ChallengeJournal(RunFolder(lied).challenger, 31337, recorded.ledger)
        assert Challenger(recorded.client(), recorded.store(), account, kept).run_pass() == PassReport()


# Reading on from where it was


class Listening(ForgingProvider):
    """A node that notes which blocks were asked for events of one contract."""

    def __init__(self, inner: EmbeddedProvider, contract: str) -> None:
        super().__init__(inner)
        self.first: list[int] = []
        self._contract = contract

    def make_request(self, method: Any, params: Any) -> Any:
        if method == "eth_getLogs" and self._contract.lower() in str(params[0]["address"]).lower():
            self.first.append(int(params[0]["fromBlock"], 16))
        return super().make_request(method, params)


def look(recorded: Recorded, path: Path) -> tuple[PassReport, int]:
    """Let a new challenger look once; give what it found and the first block that it read events from."""
    listening = Listening(recorded.provider, recorded.ledger)
    client = LedgerClient(Node(listening), recorded.ledger)
    kept = ChallengeJournal(path, 31337, recorded.ledger)
    report = Challenger(client, recorded.store(), CHALLENGER, kept).run_pass()
    return report, min(listening.first)


def test_rounds_that_are_over_and_were_looked_at_are_not_read_again(tmp_path: Path) -> None:
    path, folder = tmp_path / "journal.json", RunFolder(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        tell_lies(patch, {4: code_bit(1, 3)})
        run(tiny_run(out=str(folder.path), rounds=2), SilentObserver())
        with reopen(folder) as recorded:
            assert look(recorded, path) == (PassReport(rounds=[1, 2]), 0)
            final = recorded.histories[1].final
            assert final is not None
            assert look(recorded, path) == (PassReport(), final.block)
        run(tiny_run(out=str(folder.path), rounds=4), SilentObserver())
    with reopen(folder) as recorded:
        report, first = look(recorded, path)
        assert (report.rounds, first) == ([3, 4], final.block)
        # Judged by the gate's state of the journal, the lie is found and the claim holds.
        [outcome] = report.outcomes
        assert (outcome.falsehood.round, outcome.falsehood.index) == (4, 1)
        assert recorded.client().overturned_of(4) == 1 << 1


def test_a_position_whose_block_is_gone_is_passed_over(tmp_path: Path) -> None:
    path, folder = tmp_path / "journal.json", RunFolder(tmp_path / "run")
    for rounds in (1, 2, 3):
        run(tiny_run(out=str(folder.path), rounds=rounds), SilentObserver())
        with reopen(folder) as recorded:
            look(recorded, path)

    content = json.loads(path.read_text())
    assert [position["round"] for position in content["positions"]] == [1, 2, 3]
    content["positions"][2]["block_hash"] = "12" * 32
    content["positions"][1]["block"] = 10**9
    path.write_text(json.dumps(content))
    with reopen(folder) as recorded:
        final = recorded.histories[0].final
        assert final is not None
        assert look(recorded, path) == (PassReport(), final.block)
        # And where the rounds behind it are others now, they are looked at again.
        path.write_text(json.dumps({**json.loads(path.read_text()), "record": "0x" + "11" * 32}))
        assert look(recorded, path)[0].rounds == [2, 3]
