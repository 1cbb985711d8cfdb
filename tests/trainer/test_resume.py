"""Runs that are killed, everywhere and again and again, end like a run that was not."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trainer.run as run_module
from ledger.blobs import BlobStore
from ledger.chain import EmbeddedChain, LogicalClock
from ledger.deployment import DeploymentError, Journal
from ledger.digests import BLOCKHASH_REACH, VoidReason
from ledger.node import Node
from tests.trainer.eventful import ROUNDS, make_eventful
from tests.trainer.recorded import Recorded, record, reopen
from tests.trainer.toys import tiny_run
from trainer.audit import audit
from trainer.chain_round import ChainRound, DisagreementError
from trainer.chain_session import RunTarget, open_recorded_run
from trainer.config import RunConfig, load_config
from trainer.errors import ConfigError
from trainer.folder import RunFolder
from trainer.reporting import RoundReport, SilentObserver
from trainer.run import run


class Killed(BaseException):
    """Stands for kill -9: nothing in the product may catch it."""


def die(*_: object) -> None:
    raise Killed


class Killer:
    """Kills once after each step that lasts: a block, a file, a line.

    Attributes:
        points: Where it has killed.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.points: list[object] = []
        self._kill_after(
            patch, EmbeddedChain, "mine", lambda self, raw=(), **_: (self.head().block_number, *raw)
        )
        self._kill_after(patch, EmbeddedChain, "set_next_timestamp", lambda _, timestamp: timestamp)
        self._kill_after(patch, BlobStore, "put", lambda _, root, *__: root)
        self._kill_after(patch, Journal, "put", lambda _, step, value: (step, str(value)))
        self._kill_after(patch, RunFolder, "add_metric", lambda _, line: line["round"])
        self._kill_after(
            patch, run_module, "save_checkpoint", lambda _, checkpoint, *__, **___: checkpoint.round_number
        )

    def _kill_after(
        self, patch: pytest.MonkeyPatch, owner: Any, name: str, key: Callable[..., object]
    ) -> None:
        original = getattr(owner, name)

        def and_die(*arguments: Any, **named: Any) -> Any:
            point = (name, key(*arguments, **named))
            result = original(*arguments, **named)
            if point not in self.points:
                self.points.append(point)
                raise Killed(str(point))
            return result

        patch.setattr(owner, name, and_die)


def outcome(recorded: Recorded) -> tuple[bytes, bytes]:
    """Give the last model root and the hash of the chain's head."""
    node = Node(recorded.provider)
    final = next(history.final for history in reversed(recorded.histories) if history.final is not None)
    return final.model_root, bytes(node.block()["hash"])


def rounds_told(folder: RunFolder) -> list[int]:
    return [line["round"] for line in folder.metric_lines()]


def assert_kills_change_nothing(
    config: RunConfig, whole: Recorded, reports: list[RoundReport], points: range
) -> None:
    """Kill a run at every point, and compare how it ends with one that was not killed.

    Args:
        config: The run.
        whole: The one that was not killed.
        reports: What that one reported.
        points: At how many points it is killed.
    """
    with pytest.MonkeyPatch.context() as patch:
        killer = Killer(patch)
        while True:
            try:
                run(config, SilentObserver())
                break
            except Killed:
                assert len(killer.points) < points.stop
    assert len(killer.points) in points
    with reopen(RunFolder(Path(config.out))) as killed:
        assert outcome(killed) == outcome(whole)
        assert killed.audit().ok
        assert rounds_told(killed.folder) == [report.round_number for report in reports]
    unlike = {"gas", "seconds"}  # a killed process has taken its measurements with it
    for line, report in zip(killed.folder.metric_lines(), reports, strict=True):
        assert {k: v for k, v in line.items() if k not in unlike} == {
            k: v for k, v in report.as_json().items() if k not in unlike
        }


def test_run_killed_at_every_point_ends_like_one_that_was_not(
    eventful: tuple[Recorded, list[RoundReport]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_eventful(monkeypatch)
    config = tiny_run(out=str(tmp_path / "run"), workers=3, rounds=ROUNDS)
    assert_kills_change_nothing(config, *eventful, points=range(51, 201))


def test_audit_of_a_killed_run_finds_no_difference_and_says_how_far_it_got(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run(out=str(tmp_path / "run"), workers=2, rounds=2)
    mine, stages = EmbeddedChain.mine, []

    def mine_and_die(self: EmbeddedChain, *arguments: Any, **named: Any) -> Any:
        mine(self, *arguments, **named)
        raise Killed

    for _ in range(40):
        with monkeypatch.context() as patch:
            patch.setattr(EmbeddedChain, "mine", mine_and_die)
            try:
                run(config, SilentObserver())
            except Killed:
                pass
            else:
                break
        with contextlib.suppress(DeploymentError), reopen(RunFolder(Path(config.out))) as killed:
            report = killed.audit()
            assert report.ok, report.differences
            stages.append((report.checked.rounds, report.unfinished))
    # The folder knows its ledger only from the process after the one that deployed it.
    assert stages == [
        (1, "open"), (1, "sealed"), (1, "sealed"), (1, "settled"),
        (2, "open"), (2, "sealed"), (2, "sealed"), (2, "settled"), (2, ""),
    ]  # fmt: skip


def run_until(monkeypatch: pytest.MonkeyPatch, config: RunConfig, step: str) -> None:
    """Kill a run when its first round comes to a step of ChainRound."""
    with monkeypatch.context() as patch:
        patch.setattr(ChainRound, step, die)
        with pytest.raises(Killed):
            run(config, SilentObserver())


def test_run_resumed_after_the_deadline_leaves_the_round_void_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run(out=str(tmp_path / "run"), workers=2, rounds=2)
    run_until(monkeypatch, config, "commit")
    with EmbeddedChain.open(RunFolder(Path(config.out)).chain, clock=LogicalClock()) as chain:
        chain.skip_time(10_000)
        chain.mine()
    reports = run(config, SilentObserver())
    assert [report.metric is None for report in reports] == [True, False]
    with reopen(RunFolder(Path(config.out))) as recorded:
        report = recorded.audit()
        assert report.ok, report.differences
        assert (report.checked.rounds, report.checked.models) == (2, 2)


def test_run_resumed_on_a_chain_that_was_idle_past_the_deadline_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run(out=str(tmp_path / "run"), workers=2, rounds=2)
    run_until(monkeypatch, config, "commit")
    with EmbeddedChain.open(RunFolder(Path(config.out)).chain, clock=LogicalClock()) as chain:
        chain.skip_time(10_000)  # no block: only the next one will show how late it is
    assert [report.metric is None for report in run(config, SilentObserver())] == [True, False]


def test_round_whose_seed_was_missed_is_voided_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run(out=str(tmp_path / "run"), workers=2, rounds=2)
    run_until(monkeypatch, config, "settle")
    with EmbeddedChain.open(RunFolder(Path(config.out)).chain, clock=LogicalClock()) as chain:
        for _ in range(BLOCKHASH_REACH + 1):
            chain.mine()
    assert [report.metric is None for report in run(config, SilentObserver())] == [True, False]
    with reopen(RunFolder(Path(config.out))) as recorded:
        assert recorded.histories[0].voided is not None
        assert recorded.histories[0].voided.reason == VoidReason.SEED_MISSED
        assert recorded.audit().ok


def test_ledger_of_another_run_is_refused_and_the_folder_stays_as_it_was(tmp_path: Path) -> None:
    config = tiny_run(out=str(tmp_path / "run"), workers=2, rounds=1)
    run(config, SilentObserver())
    other = tiny_run(out=str(tmp_path / "other"), workers=2, rounds=1, seed=5)
    run(other, SilentObserver())
    # The same addresses on another chain: what --rpc-url to the wrong local chain comes to.
    shutil.rmtree(tmp_path / "run" / "chain")
    shutil.copytree(tmp_path / "other" / "chain", tmp_path / "run" / "chain")
    with pytest.raises(DeploymentError, match="not the chain of the deployment"):
        run(tiny_run(out=str(tmp_path / "run"), workers=2, rounds=3), SilentObserver())
    # A deployment of before blocks were written down is told by the run id.
    path = RunFolder(tmp_path / "run").deployment
    steps = json.loads(path.read_text())
    for step in steps.values():
        if isinstance(step, dict):
            step.pop("seen", None)
    path.write_text(json.dumps(steps))
    with pytest.raises(ConfigError, match="belongs to another run"):
        run(tiny_run(out=str(tmp_path / "run"), workers=2, rounds=3), SilentObserver())
    assert load_config(RunFolder(tmp_path / "run").config).rounds == 1


def test_recorded_run_is_read_without_importing_what_its_configuration_names(tmp_path: Path) -> None:
    config = tiny_run(out=str(tmp_path / "run"), workers=2, rounds=1)
    run(config, SilentObserver())
    path = RunFolder(Path(config.out)).config
    path.write_text(path.read_text().replace(f'"{config.task}"', '"nobody.has.this:task"'))
    with open_recorded_run(RunTarget(Path(config.out))) as recorded:
        assert audit(recorded.client.node, recorded.client.address, recorded.store).ok


def test_longer_run_goes_on_where_a_shorter_one_ended(tmp_path: Path) -> None:
    short = tiny_run(out=str(tmp_path / "run"), workers=2, rounds=1)
    assert [r.round_number for r in run(short, SilentObserver())] == [1]
    assert run(short, SilentObserver()) == []
    longer = tiny_run(out=str(tmp_path / "run"), workers=2, rounds=2)
    with record(longer) as recorded:
        assert recorded.audit().ok
        assert rounds_told(recorded.folder) == [1, 2]


def test_run_with_a_lost_checkpoint_says_so(recorded: Recorded, tmp_path: Path) -> None:
    shutil.copytree(recorded.folder.path, tmp_path / "run", ignore=shutil.ignore_patterns("*.lock", ".lock"))
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    config = tiny_run(out=str(tmp_path / "run"), rounds=4, attack={"name": "malformed", "share": 0.25})
    with pytest.raises(DisagreementError, match="has finished 3 rounds"):
        run(config, SilentObserver())


PROGRAM = """
import sys
from tests.trainer.toys import attacked
from trainer.reporting import SilentObserver
from trainer.run import run
run(attacked("sign_flip_x10", out=sys.argv[1]), SilentObserver())
"""


@pytest.mark.slow
def test_run_killed_by_the_system_at_random_moments_ends_like_one_that_was_not(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def start(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], env=environment)

    began = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    whole_s = time.monotonic() - began
    draw, kills = random.Random(1), 0
    while True:
        process = start(tmp_path / "killed")
        try:
            status = process.wait(timeout=whole_s * draw.uniform(0.3, 0.95))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            assert kills < 40
            continue
        assert status == 0
        if kills >= 5:
            break
        shutil.rmtree(tmp_path / "killed")
    with reopen(RunFolder(tmp_path / "whole")) as whole, reopen(RunFolder(tmp_path / "killed")) as killed:
        assert outcome(killed) == outcome(whole)
        assert killed.audit().ok
        assert rounds_told(killed.folder) == rounds_told(whole.folder) == [1, 2, 3]
