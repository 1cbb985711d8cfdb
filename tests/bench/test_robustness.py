import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchInputError
from bench.robustness.catalogue import catalogue
from bench.robustness.cell import Row, cell_config, run_cells, same_run
from bench.robustness.grid import ATTACKS, DEFENCES, GRIDS, Cell, Choice, plan
from bench.robustness.report import below_reference, by_setting, write_report
from bench.robustness.results import append_rows, cell_of, read_rows
from bench.robustness.runner import Progress, fill
from trainer.errors import ConfigError, NumericError

ISSUE_KEYS = {
    "task", "split", "share", "attack", "defence", "seed", "accuracy", "backdoor_success", "honest_refused",
    "malicious_refused", "seconds",
}  # fmt: skip

TINY = Choice(
    splits=["iid"],
    shares=[0.0, 0.4],
    attacks=["sign_flip", "backdoor"],
    defences=["honest_only", "mean", "hallmark"],
    seeds=[0],
    rounds=1,
)


def quietly(progress: Progress) -> None:
    pass


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    folder = tmp_path_factory.mktemp("robustness")
    return folder, fill(plan(TINY), folder, 1, quietly)


def test_rows_have_the_promised_keys(filled: tuple[Path, list[Row]]) -> None:
    _, rows = filled
    assert len(rows) == 9
    for row in rows:
        assert set(row) >= ISSUE_KEYS
        assert len(row["accuracy_by_round"]) == row["rounds"] == 1
    reference, poisoned = rows[0], next(r for r in rows if r["attack"] == "backdoor")
    assert reference["attack"] == "none"
    assert reference["malicious_refused"] is None
    assert reference["backdoor_success"] is None
    assert poisoned["backdoor_success"] is not None


def test_reference_runs_once_for_all_attacks_without_a_wish() -> None:
    cells = plan(Choice(shares=[0.4], splits=["iid"], defences=["honest_only"], seeds=[0]))
    groups = same_run(cells)
    assert len(cells) == len(ATTACKS)
    assert len(groups) == 3
    rows = run_cells([Cell("digits_mlp", "iid", 0.4, a, "honest_only", 0, 1) for a in ("zero", "alie")])
    assert [row["attack"] for row in rows] == ["zero", "alie"]
    assert rows[0]["accuracy"] == rows[1]["accuracy"]


def test_filled_cells_are_not_run_again(
    filled: tuple[Path, list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rows = filled
    monkeypatch.setattr("bench.robustness.runner.run_cells", pytest.fail)
    assert fill(plan(TINY), folder, 1, quietly) == rows


def test_torn_last_line_is_dropped_and_its_cell_run_again(tmp_path: Path) -> None:
    cells = plan(Choice(splits=["iid"], attacks=["zero"], defences=["mean"], seeds=[0, 1], rounds=1))
    whole = fill(cells, tmp_path, 1, quietly)
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert [cell_of(row) for row in read_rows(tmp_path)] == [cell_of(whole[0])]
    again = fill(cells, tmp_path, 1, quietly)
    assert [row["accuracy"] for row in again] == [row["accuracy"] for row in whole]
    assert len(path.read_text().splitlines()) == 2


def test_sizes_of_the_root_are_cells_of_their_own(tmp_path: Path) -> None:
    choice = Choice(splits=["iid"], attacks=["zero"], defences=["hallmark"], seeds=[0], rounds=2)
    cells = plan(replace(choice, root_samples=[0, 20]))
    assert [cell.root_samples for cell in cells] == [0, 20]
    assert [cell_config(cell).root_samples for cell in cells] == [100, 20]
    rows = fill(cells, tmp_path, 1, quietly)
    assert [cell_of(row) for row in read_rows(tmp_path)] == cells
    assert "root_samples" not in rows[0]
    assert rows[0]["accuracy_by_round"] != rows[1]["accuracy_by_round"]
    assert [setting.root_samples for setting in by_setting(rows)] == [0, 20]
    assert "20 trusted samples" in write_report(rows, tmp_path)[0].read_text()


def test_file_of_something_else_raises(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"no": "row"}\n')
    with pytest.raises(BenchInputError, match="line 1"):
        read_rows(tmp_path)


@pytest.mark.slow
def test_same_cell_in_another_process_gives_the_same_row(
    filled: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    _, rows = filled
    again = fill(plan(TINY)[:3], tmp_path, 2, quietly)
    for row, other in zip(rows, again, strict=False):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}


def test_unknown_names_raise_before_anything_runs(tmp_path: Path) -> None:
    for choice in (Choice(attacks=["sign_flap"]), Choice(defences=["wall"]), Choice(splits=["odd"])):
        with pytest.raises(ConfigError):
            fill(plan(choice), tmp_path, 1, quietly)
    assert not (tmp_path / "results.jsonl").exists()


def test_run_that_ends_early_is_a_row_with_the_worst_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*arguments: object, **options: object) -> None:
        raise NumericError("its training diverged")

    monkeypatch.setattr("bench.robustness.cell.simulate", diverge)
    (row,) = run_cells([Cell("digits_mlp", "iid", 0.4, "zero", "hallmark", 0, 1)])
    assert row["accuracy"] == 0.0
    assert row["error"] == "its training diverged"
    assert json.loads(json.dumps(row)) == row


def test_grids_hold_what_is_registered() -> None:
    listed = catalogue()
    for name in GRIDS:
        for cell in plan(Choice(), name):
            assert cell.attack in listed["attacks"]
            assert cell.defence in listed["defences"]
            assert (cell.share == 0) == (cell.attack == "none")
    assert set(DEFENCES) == set(listed["defences"])


def test_named_axes_narrow_a_grid() -> None:
    cells = plan(Choice(defences=["hallmark"], seeds=[7]), "ci")
    assert cells
    assert {cell.defence for cell in cells} == {"hallmark"}
    assert {cell.seed for cell in cells} == {7}
    with pytest.raises(BenchInputError, match="no cell"):
        plan(Choice(tasks=["byte_lm"]), "ci")
    with pytest.raises(BenchInputError, match="unknown grid"):
        plan(Choice(), "huge")


def test_forty_five_percent_is_nine_of_twenty() -> None:
    config = cell_config(Cell("digits_mlp", "iid", 0.45, "zero", "mean", 0))
    assert (config.workers, len(config.malicious), config.rounds) == (20, 9, 20)
    config = cell_config(Cell("digits_mlp", "iid", 0.4, "zero", "mean", 0))
    assert (config.workers, len(config.malicious)) == (10, 4)
    assert (config.inner.steps, config.inner.batch_size, config.inner.lr) == (10, 32, 3e-3)


def test_report_shows_distance_to_the_reference(filled: tuple[Path, list[Row]], tmp_path: Path) -> None:
    _, rows = filled
    files = write_report(rows, tmp_path)
    assert all(file.stat().st_size > 0 for file in files)
    text = files[0].read_text()
    assert "digits_mlp, iid, 40% malicious" in text
    assert "| sign_flip |" in text
    cells = by_setting(rows)[next(s for s in by_setting(rows) if s.share)]
    assert below_reference(cells, "honest_only", "sign_flip") == 0


def test_rows_survive_the_disk(tmp_path: Path) -> None:
    rows = run_cells([Cell("digits_mlp", "iid", 0.0, "none", "mean", 0, 1)])
    append_rows(tmp_path, rows)
    assert read_rows(tmp_path) == rows
