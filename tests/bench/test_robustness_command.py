import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.bench import bench


def call(*arguments: str) -> str:
    result = CliRunner().invoke(bench, ["robustness", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_names_what_is_registered() -> None:
    listed = json.loads(call("--list", "--json"))
    assert {"digits_mlp", "digits_cnn", "byte_lm"} <= set(listed["tasks"])
    assert {"none", "alie", "decorrelated_backdoor_x1"} <= set(listed["attacks"])
    assert {"hallmark", "honest_only", "published_guard"} <= set(listed["defences"])
    assert "two_classes" in call("--list")


def test_json_is_one_row_a_line_and_the_report_is_written(tmp_path: Path) -> None:
    out = call(
        *("--tasks", "digits_mlp", "--splits", "iid", "--shares", "0.4", "--attacks", "zero,alie"),
        *("--defences", "mean", "--seeds", "0", "--rounds", "1", "--processes", "1"),
        *("--out", str(tmp_path), "--json"),
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["attack"] for row in rows] == ["zero", "alie"]
    assert [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()] == rows
    assert (tmp_path / "report.md").exists()


@pytest.mark.parametrize("arguments", [("--seeds", "one"), ("--grid", "huge"), ("--rounds", "0")])
def test_wrong_option_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(bench, ["robustness", *arguments]).exit_code == 2
