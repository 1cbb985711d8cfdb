"""Every command as a person or a script calls it: output, JSON, exit codes."""

import json
import re
import shlex
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.errors import ExitCode
from cli.main import COMMANDS, main
from ledger.parties import local_parties
from ledger.reverts import RevertedError


@dataclass(frozen=True, slots=True)
class Called:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)


Call = Callable[..., Called]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: str) -> Called:
        monkeypatch.setattr("sys.argv", ["hallmark", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Called(int(stopped.value.code or 0), captured.out, captured.err)

    return run


TINY = ("--task", "digits_mlp", "--workers", "4", "--malicious", "0.25", "-H", "2", "--root-samples", "20")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds with one cheating worker."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["run", *TINY, "--attack", "malformed", "--rounds", "2", "--out", str(folder)]
        patch.setattr("sys.argv", ["hallmark", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code
    return folder


def test_an_error_does_nothing_to_the_terminal(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        words = "no\x1b]0;title\x07\r\u202e"
        raise RevertedError("ask", "Error", {"reason": words}, b"", hint=words)

    monkeypatch.setattr("cli.main.hallmark.main", refuse)
    called = call("history", "0")
    assert called.code == ExitCode.REVERTED
    assert called.err.splitlines()[1] == "hint:  no ]0;title   "
    assert called.err.replace("\n", "").isprintable()


def test_help_lists_every_command(call: Call) -> None:
    called = call("--help")
    assert called.code == ExitCode.OK
    assert all(name in called.out for name in COMMANDS)


@pytest.mark.parametrize("name", [n for n in COMMANDS if n not in ("demo", "chain", "bench")])
def test_help_of_each_command_has_an_example(call: Call, name: str) -> None:
    called = call(name, "--help")
    assert called.code == ExitCode.OK
    assert f"hallmark {name}" in called.out
    assert "--json" in called.out


@pytest.mark.parametrize("name", COMMANDS)
def test_addresses_in_examples_are_of_a_local_run(call: Call, name: str) -> None:
    members = {party.identity.address for party in local_parties(10).members}
    assert set(re.findall(r"0x[0-9a-fA-F]{40}", call(name, "--help").out)) <= members


def test_the_latest_run_is_one_that_was_deployed(
    call: Call, run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(run_folder, tmp_path / "runs" / "tiny")
    monkeypatch.chdir(tmp_path)
    # More trusted samples than there are: refused when the run has a folder already.
    refused = call("run", "--task", "digits_mlp", "--root-samples", "100000", "--out", "runs/refused")
    assert refused.code == ExitCode.KEY_OR_CONFIG
    assert (tmp_path / "runs" / "refused" / "run.toml").exists()
    assert call("reputation").code == ExitCode.OK


def test_what_to_call_next_can_be_pasted(call: Call, run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "a [b] c")
    out = str(tmp_path / "a [b] c")
    called = call("run", *TINY, "--attack", "malformed", "--rounds", "3", "--out", out)
    assert shlex.split(called.out.splitlines()[-1])[-3:] == ["hallmark", "audit", out]


def documented(row: str) -> list[str]:
    """Give the fields that docs/json.md names for a command."""
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    cells = re.search(rf"^\| {re.escape(row)} \|(.*)$", text, re.MULTILINE)
    assert cells, row
    return re.findall(r"`(\w+)`", cells[1])


@pytest.mark.parametrize(
    ("row", "arguments"),
    [
        ("`explain`, and each round of `history`", ("explain", "1:3", "--run")),
        ("`explain`, and each round of `history`", ("history", "3", "--run")),
        ("each member of `reputation`", ("reputation", "--run")),
        ("`audit`", ("audit",)),
        ("`bundle`", ("bundle", "-o", "a.bundle")),
        ("`challenge`", ("challenge", "1:3", "--dry-run", "--run")),
        ("`challenger`", ("challenger", "--once", "--dry-run")),
    ],
)
def test_json_has_the_documented_fields(
    call: Call,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    row: str,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    content = call(*arguments, str(run_folder), "--json").json
    for item in content if isinstance(content, list) else [content]:
        assert isinstance(item, dict)
        assert list(item) == documented(row)


def test_metrics_and_json_of_a_run_have_the_documented_fields(call: Call, run_folder: Path) -> None:
    lines = (run_folder / "metrics.jsonl").read_text().splitlines()
    assert all([*json.loads(line), "guards"] == documented("a line of `metrics.jsonl`") for line in lines)
    content = call(
        "run", *TINY, "--attack", "malformed", "--rounds", "2", "--out", str(run_folder), "--json"
    ).json
    assert isinstance(content, dict)
    assert list(content) == documented("`run`")[:2]


def test_run_again_finds_everything_done(call: Call, run_folder: Path) -> None:
    called = call("run", "--config", str(run_folder / "run.toml"), "--out", str(run_folder))
    assert called.code == ExitCode.OK
    assert "done already" in called.out


def test_run_with_other_options_in_the_same_folder_is_refused(call: Call, run_folder: Path) -> None:
    called = call("run", *TINY, "--seed", "7", "--out", str(run_folder))
    assert called.code == ExitCode.KEY_OR_CONFIG
    assert "another configuration" in called.err


def test_more_rounds_continue_a_finished_run(call: Call, run_folder: Path) -> None:
    called = call(
        "run", "--config", str(run_folder / "run.toml"), "--out", str(run_folder), "--rounds", "3", "--json"
    )
    assert called.code == ExitCode.OK
    document = called.json
    assert isinstance(document, dict)
    assert [entry["round"] for entry in document["rounds"]] == [3]


def test_history_names_outcome_and_reason(call: Call, run_folder: Path) -> None:
    called = call("history", "3", "--run", str(run_folder), "--json")
    assert called.code == ExitCode.OK
    entries = called.json
    assert isinstance(entries, list)
    assert entries[0]["outcome"] == "refused"
    assert entries[0]["status"] == "malformed"
    assert "malformed" in entries[0]["reason"]
    assert entries[0]["evidence_after"] == 2560


def test_history_by_identity_equals_history_by_index(call: Call, run_folder: Path) -> None:
    by_index = call("history", "0", "--run", str(run_folder), "--json").json
    assert isinstance(by_index, list)
    assert call("history", by_index[0]["worker"], "--run", str(run_folder), "--json").json == by_index


def test_explain_by_round_and_by_root_agree(call: Call, run_folder: Path) -> None:
    by_place = call("explain", "1:0", "--run", str(run_folder), "--json").json
    assert isinstance(by_place, dict)
    by_root = call("explain", by_place["update_root"], "--run", str(run_folder), "--json").json
    assert by_root == by_place
    assert by_place["outcome"] == "approved"
    assert by_place["commit_transaction"].startswith("0x")


def test_explain_for_people_says_why(call: Call, run_folder: Path) -> None:
    called = call("explain", "2:3", "--run", str(run_folder))
    assert called.code == ExitCode.OK
    assert "refused" in called.out
    assert "because the bytes under the committed root are malformed" in called.out
    assert "seed 0x" in called.out


@pytest.mark.parametrize("name", ["9:0", "1:99", "x:0", "1:bob", "0x" + "11" * 32, "nonsense"])
def test_explain_unknown_contribution_is_a_clear_error(call: Call, run_folder: Path, name: str) -> None:
    called = call("explain", name, "--run", str(run_folder))
    assert called.code == ExitCode.KEY_OR_CONFIG
    assert called.err.startswith("error: ")


def test_reputation_comes_from_the_contract(call: Call, run_folder: Path) -> None:
    rows = call("reputation", "--run", str(run_folder), "--json").json
    assert isinstance(rows, list)
    assert len(rows) == 4
    assert rows[0]["accepted"] >= 2
    assert rows[3]["accepted"] == 0
    assert rows[3]["refused"] >= 2
    one = call("reputation", "3", "--run", str(run_folder), "--json").json
    assert one == [rows[3]]


def test_audit_ok_has_the_promised_keys(call: Call, run_folder: Path) -> None:
    called = call("audit", str(run_folder), "--json")
    assert called.code == ExitCode.OK
    report = called.json
    assert isinstance(report, dict)
    assert report["ok"] is True
    assert report["differences"] == []
    assert set(report["checked"]) == {
        "rounds",
        "contributions",
        "signatures",
        "words",
        "verdicts",
        "models",
    }


def test_audit_of_a_damaged_run_exits_3_and_names_the_worker(
    call: Call, run_folder: Path, tmp_path: Path
) -> None:
    explained = call("explain", "1:1", "--run", str(run_folder), "--json").json
    assert isinstance(explained, dict)
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for path in (run_folder / "blobs").iterdir():
        data = bytearray(path.read_bytes())
        if path.name.startswith(explained["update_root"]):
            data[5000] ^= 1
        (blobs / path.name).write_bytes(data)
    called = call("audit", str(run_folder), "--blobs", str(blobs), "--json")
    assert called.code == ExitCode.VERIFICATION_FAILED
    report = called.json
    assert isinstance(report, dict)
    named = {(entry["round"], entry["worker"]) for entry in report["differences"]}
    assert (1, explained["worker"]) in named


def test_audit_for_people_tells_missing_from_false(call: Call, run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    called = call("audit", str(run_folder), "--blobs", str(tmp_path / "blobs"))
    assert called.code == ExitCode.VERIFICATION_FAILED
    assert "CANNOT BE CHECKED" in called.out
    assert "FALSE" not in called.out
    assert "withheld" in called.out


def test_audit_with_replay_computes_the_models(call: Call, run_folder: Path) -> None:
    options = (("--no-replay",), ())
    plain, replayed = (call("audit", str(run_folder), *extra, "--json").json for extra in options)
    assert isinstance(plain, dict)
    assert isinstance(replayed, dict)
    assert (plain["replayed"], plain["checked"]["models"]) == (False, 1)
    assert plain["unreplayed_models"] == plain["checked"]["rounds"]
    assert (replayed["replayed"], replayed["unreplayed_models"], replayed["ok"]) == (True, 0, True)
    assert replayed["checked"]["models"] == replayed["checked"]["rounds"] + 1


def test_names_with_brackets_are_shown_as_they_are(call: Call, run_folder: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "a[b]", tmp_path / "[red].bundle"
    shutil.copytree(run_folder, folder)
    told = call("run", "--config", str(folder / "run.toml"), "--out", str(folder))
    assert str(folder) in told.out
    told = call("bundle", str(folder), "-o", str(file))
    assert told.out.count(str(file)) == 2


def test_audit_goes_on_from_the_cursor_in_the_folder(call: Call, run_folder: Path) -> None:
    first = call("audit", str(run_folder), "--incremental", "--json").json
    again = call("audit", str(run_folder), "--incremental", "--json").json
    (run_folder / "audit.cursor.json").unlink()
    assert isinstance(first, dict)
    assert isinstance(again, dict)
    assert again["resumed_after"] == first["checked"]["rounds"] == again["checked"]["rounds"]


def test_a_cursor_goes_with_a_bundle_and_with_incremental(
    call: Call, run_folder: Path, tmp_path: Path
) -> None:
    file, cursor = tmp_path / "run.bundle", tmp_path / "cursor.json"
    assert call("bundle", str(run_folder), "-o", str(file)).code == ExitCode.OK
    resumed = []
    for options in ((), ("--incremental",), ()):
        called = call("audit", "--bundle", str(file), "--cursor", str(cursor), *options, "--json")
        assert called.code == ExitCode.OK
        assert isinstance(called.json, dict)
        resumed.append(called.json["resumed_after"])
    assert resumed[0] == 0
    assert resumed[1] == resumed[2] > 0


def test_bundle_and_audit_of_it(call: Call, run_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.bundle"
    made = call("bundle", str(run_folder), "-o", str(file), "--json")
    assert made.code == ExitCode.OK
    summary = made.json
    assert isinstance(summary, dict)
    assert (summary["verdict"], summary["size_bytes"]) == ("ok", file.stat().st_size)
    head = summary["head"]["hash"]
    called = call("audit", "--from-bundle", str(file), "--head", head, "--replay", "--json")
    assert called.code == ExitCode.OK
    report = called.json
    assert isinstance(report, dict)
    assert report["head"] == summary["head"]
    other = call("audit", "--bundle", str(file), "--head", "0x" + "12" * 32)
    assert other.code == ExitCode.VERIFICATION_FAILED
    assert "another chain" in other.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--bundle", "x", "--ledger", "0x12"), "leave out"),
        (("--bundle", "x", "--from-block", "7"), "leave out"),
        (("--head", "0x12"), "--bundle"),
        (("--bundle", "x", "--head", "0x"), "32 bytes"),
        (("--bundle", "x", "--head", "0x12"), "32 bytes"),
        (("--bundle", "x", "--head", "xyz"), "hex"),
        (("--bundle", "x", "--incremental"), "--bundle with --cursor FILE"),
        (("--ledger", "0x12", "--blobs", "x", "--incremental"), "--ledger with --cursor FILE"),
    ],
)
def test_audit_options_that_contradict_are_usage(call: Call, arguments: tuple[str, ...], says: str) -> None:
    called = call("audit", *arguments)
    assert called.code == ExitCode.USAGE
    assert says in called.err


def test_audit_of_a_bundle_that_is_not_there_fails(call: Call, tmp_path: Path) -> None:
    called = call("audit", "--bundle", str(tmp_path / "none.bundle"))
    assert called.code == ExitCode.VERIFICATION_FAILED
    assert "cannot be opened" in called.err


def test_audit_where_there_is_no_run_is_a_config_error(call: Call, tmp_path: Path) -> None:
    called = call("audit", str(tmp_path))
    assert called.code == ExitCode.KEY_OR_CONFIG
    assert "not the folder of a run" in called.err


@pytest.mark.parametrize("command", [("audit",), ("challenge", "1:0"), ("challenger",)])
def test_by_address_without_blobs_is_usage(call: Call, command: tuple[str, ...]) -> None:
    called = call(*command, "--rpc-url", "http://127.0.0.1:1", "--ledger", "0x" + "11" * 20)
    assert called.code == ExitCode.USAGE
    assert "--blobs" in called.err


def test_rpc_url_alone_does_not_say_which_run(call: Call) -> None:
    called = call("reputation", "--rpc-url", "http://127.0.0.1:1")
    assert called.code == ExitCode.USAGE
    assert "--ledger" in called.err


def test_rpc_url_ranks_above_the_folder_but_its_variable_does_not(
    call: Call, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("reputation", "--run", str(run_folder), "--rpc-url", "foo").code == ExitCode.KEY_OR_CONFIG
    monkeypatch.setenv("ETH_RPC_URL", "foo")
    assert call("reputation", "--run", str(run_folder)).code == ExitCode.OK


def test_tables_in_a_pipe_have_whole_addresses(call: Call, run_folder: Path) -> None:
    rows = call("reputation", "--run", str(run_folder), "--json").json
    assert isinstance(rows, list)
    assert all(row["worker"] in call("reputation", "--run", str(run_folder)).out for row in rows)


def test_run_into_a_file_is_a_clear_error(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    called = call("run", *TINY, "--out", str(tmp_path / "file"))
    assert called.code == ExitCode.KEY_OR_CONFIG
    assert called.err.splitlines()[-1].startswith("error: cannot use ")


def test_misspelt_config_key_names_the_right_one(call: Call, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text("wokers = 4\n")
    called = call("run", "--config", str(config))
    assert called.code == ExitCode.KEY_OR_CONFIG
    assert "wokers" in called.err
    assert "workers" in called.err.split("hint:")[1]


def test_unknown_attack_names_the_nearest(call: Call) -> None:
    called = call("run", "--attack", "sign_flp")
    assert called.code == ExitCode.KEY_OR_CONFIG
    assert "sign_flip" in called.err


def test_unknown_option_is_usage(call: Call) -> None:
    assert call("run", "--no-such-option").code == ExitCode.USAGE


def test_attack_list_goes_to_stdout(call: Call) -> None:
    called = call("run", "--attack", "list")
    assert called.code == ExitCode.OK
    assert {"none", "sign_flip_x10", "alie", "null_space"} <= set(called.out.split())


def test_node_that_does_not_answer_is_an_environment_error(call: Call, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    called = call("run", *TINY, "--rpc-url", url, "--out", str(tmp_path / "r"))
    assert called.code == ExitCode.ENVIRONMENT
    assert "hallmark chain start" in called.err


def test_chain_start_on_a_port_in_use_says_so(call: Call, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        called = call("chain", "start", "--data", str(tmp_path / "chain"), "--port", str(port))
    assert called.code == ExitCode.ENVIRONMENT
    assert str(port) in called.err


def test_chain_start_refuses_a_public_address(call: Call, tmp_path: Path) -> None:
    called = call("chain", "start", "--data", str(tmp_path / "chain"), "--host", "0.0.0.0")  # noqa: S104
    assert called.code != ExitCode.OK
    assert "--public" in called.err or "public" in called.err


def test_index_of_thousands_of_digits_is_no_member(call: Call, run_folder: Path) -> None:
    called = call("history", "9" * 5000, "--run", str(run_folder))
    assert called.code == ExitCode.KEY_OR_CONFIG, called.err
    assert "there is no index" in called.err


def test_bench_gas_has_the_promised_keys(call: Call) -> None:
    called = call("bench", "gas", "--workers", "2", "--json")
    assert called.code == ExitCode.OK
    report = called.json
    assert isinstance(report, dict)
    assert report["hardfork"] == "prague"
    assert set(report["per_contribution"]["2"]) == {"commit", "seal", "settle", "finalize", "total"}
    assert {"segment", "boundary", "exponent", "malformed", "two_roots", "withheld", "unfounded"} < set(
        report["challenge"]
    )
    assert report["challenge_workers"] == 2
    assert report["challenge_by_workers"] == {"2": report["challenge"]}


def test_bench_assay_has_the_promised_keys(call: Call) -> None:
    called = call("bench", "assay", "--values", "1000000", "--repeats", "1", "--json")
    assert called.code == ExitCode.OK
    report = called.json
    assert isinstance(report, dict)
    assert set(report["seconds"]) == {"assay", "sha256", "copy"}
    assert report["ratio_to_sha256"] > 0
    assert report["trace"] == report["traced_s"] / report["seconds"]["assay"]
    assert report["peak_bytes"] > 1_000_000


def test_bench_audit_has_the_promised_keys(call: Call) -> None:
    called = call("bench", "audit", "--rounds", "1", "--rounds", "4", "--values", "100000", "--json")
    assert called.code == ExitCode.OK
    report = called.json
    assert isinstance(report, dict)
    assert set(report["peak_bytes"]) == set(report["seconds"]) == {"1", "4"}
    assert all(peak > 50_000_000 for peak in report["peak_bytes"].values())
    assert min(report[f"{name}_bytes_per_s"] for name in ("blob", "sha256")) > 0
    assert report["verdicts_per_s"] > 0
