"""The commands on a run with several guards, as a person or a script sees them."""

from pathlib import Path

import pytest

from cli.errors import ExitCode
from cli.main import main
from tests.cli.test_commands import Call, call

__all__ = ["call"]  # the fixture

RUN = (
    "run", "--task", "digits_mlp", "--workers", "4", "--guards", "3", "--malicious-guards", "1", "-H", "5",
    "--root-samples", "60", "--rounds", "3",
)  # fmt: skip


@pytest.fixture(scope="module")
def guarded_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three rounds with four workers and three guards, the last of which cheats."""
    folder = tmp_path_factory.mktemp("runs") / "guarded"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["hallmark", *RUN, "--out", str(folder)])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code
    return folder


def test_run_tells_how_far_the_guards_agree(call: Call, tmp_path: Path) -> None:
    called = call(*RUN, "--rounds", "1", "--out", str(tmp_path / "run"))
    assert called.code == ExitCode.OK
    assert 'an "unavailable" rests on the votes of a majority of the guards' in called.err
    line = next(line for line in called.err.splitlines() if line.startswith("round"))
    scores = line.split("guards ")[1].split("  ")[0].split()
    assert len(scores) == 3
    assert [score.endswith("*") for score in scores] == [False, False, True]
    assert all(-256 <= int(score.rstrip("*")) <= 256 for score in scores)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--guards", "2"), "guards must be odd and in [1, 15]"),
        (("--guards", "17"), "guards must be odd and in [1, 15]"),
        (("--guards", "3", "--workers", "254"), "at most 256: 254 + 3"),
        (("--guards", "3", "--malicious-guards", "4"), "attack.guards must be in [0, 3]"),
        (("--task", "digits_mlp", "--guards", "15", "--root-samples", "100"), "for each of 15 guards"),
    ],
)
def test_guards_that_no_run_can_have_are_refused(
    call: Call, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    called = call("run", *options, "--out", str(tmp_path / "run"))
    assert called.code == ExitCode.KEY_OR_CONFIG
    assert message in called.err


def test_same_folder_with_other_guards_is_refused(call: Call, guarded_folder: Path) -> None:
    called = call(*RUN, "--guards", "5", "--out", str(guarded_folder))
    assert called.code == ExitCode.KEY_OR_CONFIG
    assert "another configuration" in called.err


def test_reputation_lists_guards_as_guards(call: Call, guarded_folder: Path) -> None:
    rows = call("reputation", "--run", str(guarded_folder), "--json").json
    assert isinstance(rows, list)
    assert [row["guard"] for row in rows] == [None] * 4 + [0, 1, 2]
    assert all(row["llr"] == 0 for row in rows[4:])
    assert [row["accepted"] + row["refused"] for row in rows[4:]] == [3, 3, 3]
    shown = call("reputation", "--run", str(guarded_folder)).out
    assert [f"guard {number}" in shown for number in range(4)] == [True, True, True, False]
    one = call("reputation", rows[5]["worker"], "--run", str(guarded_folder), "--json").json
    assert one == [rows[5]]


def test_history_and_explain_of_a_guard(call: Call, guarded_folder: Path) -> None:
    entries = call("history", "6", "--run", str(guarded_folder), "--json").json
    assert isinstance(entries, list)
    assert [entry["guard"] for entry in entries] == [2, 2, 2]
    assert {entry["outcome"] for entry in entries} <= {"anchor", "outvoted"}
    assert call("history", "6", "--run", str(guarded_folder)).out.startswith("Guard 2, member 6  0x")
    explained = call("explain", "2:6", "--run", str(guarded_folder)).out
    assert "Round 2, guard 2, member 6 (0x" in explained
    score = entries[1]["score"]
    assert "its score against the majority of the" in explained
    assert f"{score} of 256 against the majority of the guards" in explained
    assert "nats against it" not in explained


def test_audit_challenger_and_bundle_of_a_guarded_run(
    call: Call, guarded_folder: Path, tmp_path: Path
) -> None:
    assert call("audit", str(guarded_folder)).code == ExitCode.OK
    assert call("challenger", str(guarded_folder), "--once", "--dry-run").code == ExitCode.OK
    path = tmp_path / "run.bundle"
    assert call("bundle", str(guarded_folder), "-o", str(path)).code == ExitCode.OK
    called = call("audit", "--bundle", str(path))
    assert called.code == ExitCode.OK
    assert "OK: nothing differs" in called.out
