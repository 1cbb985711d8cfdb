import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.decision import (
    BLOCK,
    EXPONENT,
    RULES,
    bench_decision,
    geometric_median_step,
    hallmark_step,
    krum_step,
    mean_step,
    measure,
    nnm_trimmed_mean_step,
    write_updates,
)
from bench.errors import BenchInputError
from cli.bench import bench
from trainer.defences.coordinates import trimmed_mean
from trainer.defences.geometric_median import SMOOTHING, STEPS, geometric_median
from trainer.defences.krum import krum_scores
from trainer.defences.nnm import nearest_neighbour_mixing

WORKERS, VALUES = 7, BLOCK + 1500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("updates")
    write_updates(made, WORKERS, VALUES)
    return made


@pytest.fixture(scope="module")
def updates(folder: Path) -> np.ndarray:
    rows = [np.fromfile(folder / str(i), dtype=np.int8) for i in range(WORKERS)]
    return np.stack(rows).astype(np.float32) * np.float32(2.0**EXPONENT)


def test_published_rules_in_blocks_give_what_the_defences_give(folder: Path, updates: np.ndarray) -> None:
    faults = 2
    krum = updates[np.argmin(krum_scores(updates, faults))]
    assert np.array_equal(krum_step(folder, WORKERS, VALUES), krum)
    mixed = trimmed_mean(nearest_neighbour_mixing(updates, faults), faults)
    assert np.allclose(nnm_trimmed_mean_step(folder, WORKERS, VALUES), mixed, rtol=0, atol=1e-7)
    middle = geometric_median(updates, STEPS, SMOOTHING)
    assert np.allclose(geometric_median_step(folder, WORKERS, VALUES), middle, rtol=0, atol=1e-7)
    assert np.allclose(mean_step(folder, WORKERS, VALUES), updates.mean(axis=0), rtol=0, atol=1e-7)


def test_our_step_is_a_mix_of_honest_updates(folder: Path, updates: np.ndarray) -> None:
    """Half of each update is common to all: the merged step agrees with it as their mean does."""
    step, mean = -hallmark_step(folder, WORKERS, VALUES), updates.mean(axis=0)
    cosine = step @ mean / np.linalg.norm(step) / np.linalg.norm(mean)
    assert cosine > 0.98
    assert 0.9 < np.linalg.norm(step) / np.linalg.norm(mean) < 1.1


def test_memory_of_a_rule_that_needs_all_updates_exceeds_the_stack(tmp_path: Path) -> None:
    write_updates(tmp_path, 8, 1 << 21)
    all_at_once = measure("krum", tmp_path, 8, 1 << 21, 1).extra_bytes
    one_by_one = measure("mean", tmp_path, 8, 1 << 21, 1).extra_bytes
    if all_at_once is None or one_by_one is None:
        pytest.skip("this kernel does not tell private resident memory")
    assert all_at_once > 0.9 * 8 * 4 * (1 << 21)
    assert one_by_one < all_at_once / 2


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(BenchInputError, match="workers is 2"):
        bench_decision(workers=2)
    with pytest.raises(BenchInputError, match="values is 0"):
        bench_decision(values=0)


def test_command_names_every_rule_and_compares_with_ours() -> None:
    arguments = ["decision", "--workers", "3", "--values", "5000", "--repeats", "1", "--json"]
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout)
    assert list(measured["rules"]) == list(RULES) == list(measured["time_against_ours"])
    assert measured["time_against_ours"]["hallmark"] == 1
    assert all(cost["seconds"] > 0 for cost in measured["rules"].values())
