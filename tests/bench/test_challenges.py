"""Gas of challenges, exactly. A change shows up in the reviewed snapshot.

`HALLMARK_UPDATE_GAS=1 pytest tests/bench/test_challenges.py -m ""` writes the snapshot again.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.challenges import bench_challenges

SNAPSHOT = Path(__file__).with_name("challenge_gas.json")
SIZES = [8, pytest.param(16, marks=pytest.mark.slow), pytest.param(64, marks=pytest.mark.slow)]


@pytest.mark.parametrize("workers", SIZES)
def test_gas_of_challenges_at_268m_values(workers: int) -> None:
    gas = bench_challenges([workers])[workers]
    content: dict[str, Any] = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {}
    if os.environ.get("HALLMARK_UPDATE_GAS"):
        content[str(workers)] = gas
        SNAPSHOT.write_text(json.dumps(content, indent=1) + "\n")
    assert content[str(workers)] == gas
