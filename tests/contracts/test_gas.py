"""Gas of a steady round, exactly. A change shows up in the reviewed snapshot.

`HALLMARK_UPDATE_GAS=1 pytest tests/contracts/test_gas.py -m ""` writes the snapshot again.
"""

import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.model import Posting
from tests.contracts.support import Run, TestChain, with_median

SNAPSHOT = Path(__file__).with_name("gas_snapshot.json")
HARDFORK = "prague"
STEADY_ROUND = 3
SIZES = [8, pytest.param(16, marks=pytest.mark.slow), pytest.param(32, marks=pytest.mark.slow), 64]
SIZES.append(pytest.param(128, marks=pytest.mark.slow))


def measure(workers: int, guards: int = 1) -> dict[str, int | float]:
    """Give the gas of the third round's three transactions, everybody present, posted by the last guard.

    Whole transactions: 21,000 and calldata included. The workers' exponents differ by up to one from the
    anchor's, as they do in real runs.
    """
    rng = random.Random(workers)
    run = Run.deploy(TestChain(members=workers + guards + 1), workers, guards=guards)
    gas: dict[str, int | float] = {}
    for round_ in range(1, STEADY_ROUND + 1):
        gas["commit"] = run.commit_all(round_)["gasUsed"]
        run.chain.mine(1)
        posting = replace(realistic(run, rng), poster=guards - 1)
        gas["settle"] = run.settle(round_, posting)["gasUsed"]
        gas["finalize"] = run.finalize(round_)["gasUsed"]
        assert run.lane_words() == run.model_lane_words()
    gas["per_contribution"] = round(sum(gas.values()) / workers, 1)
    return gas


def realistic(run: Run, rng: random.Random) -> Posting:
    """Give a posting in which exponents differ by up to one."""
    posting = run.posting(rng)
    assays = tuple(replace(a, exponent=a.exponent + rng.choice([-1, 0, 0, 1])) for a in posting.assays)
    return with_median(run.constants, run.lanes, run.full, replace(posting, assays=assays), run.guards)


def compare(table: str, row: str, gas: dict[str, int | float]) -> None:
    """Compare with the snapshot, which is written before if it shall be."""
    content: dict[str, Any] = {"hardfork": HARDFORK, "workers": {}, "guards of 64 workers": {}}
    if SNAPSHOT.exists():
        content |= json.loads(SNAPSHOT.read_text())
    if os.environ.get("HALLMARK_UPDATE_GAS"):
        content[table][row] = gas
        content[table] = dict(sorted(content[table].items(), key=lambda item: int(item[0])))
        SNAPSHOT.write_text(json.dumps(content, indent=1) + "\n")
    assert content["hardfork"] == HARDFORK
    assert content[table][row] == gas


@pytest.mark.parametrize("workers", SIZES)
def test_gas_of_a_steady_round(workers: int) -> None:
    compare("workers", str(workers), measure(workers))


@pytest.mark.parametrize("guards", [3, *(pytest.param(g, marks=pytest.mark.slow) for g in (5, 15))])
def test_gas_of_a_steady_round_of_several_guards(guards: int) -> None:
    compare("guards of 64 workers", str(guards), measure(64, guards))
