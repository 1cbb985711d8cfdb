"""The committed artifacts are what the sources say."""

import hashlib
import json
import os
import shutil
import subprocess

import pytest
from eth_utils import keccak

from tests.contracts.support import ARTIFACTS

CONTRACTS = ARTIFACTS.parent


def test_lock_matches_sources() -> None:
    lock = json.loads((ARTIFACTS / "lock.json").read_text())
    sources = {
        path.relative_to(CONTRACTS).as_posix(): "0x" + hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("src", "examples", "test", "prototype")
        for path in (CONTRACTS / folder).rglob("*.sol")
    }
    assert lock["sources"] == dict(sorted(sources.items())), "run `make artifacts`"


def test_lock_matches_init_code() -> None:
    lock = json.loads((ARTIFACTS / "lock.json").read_text())
    found = {}
    for path in ARTIFACTS.rglob("*.json"):
        content = json.loads(path.read_text())
        if content.get("bytecode", "0x") != "0x":
            code = bytes.fromhex(content["bytecode"].removeprefix("0x"))
            found[content["contractName"]] = "0x" + keccak(code).hex()
    assert lock["initCodeKeccak256"] == dict(sorted(found.items()))


@pytest.mark.parametrize(
    "name",
    [
        "Challenge",
        "ContributionLedger",
        "DataRequests",
        "GateSpec",
        "GuardVotes",
        "Judge",
        "Reputation",
        "StakeVault",
        "WorkerRegistry",
        "prototype/MergeProof",
    ],
)
def test_code_fits_a_contract(name: str) -> None:
    content = json.loads((ARTIFACTS / f"{name}.json").read_text())
    assert len(content["deployedBytecode"]) // 2 - 1 <= 24_576
    assert len(content["bytecode"]) // 2 - 1 <= 49_152


def test_package_lock_names_no_host() -> None:
    text = (CONTRACTS / "package-lock.json").read_text()
    assert "://" not in text
    assert "resolved" not in text


@pytest.mark.node
@pytest.mark.slow
def test_recompiling_gives_the_committed_artifacts() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (CONTRACTS / "node_modules").exists() and "NODE_PATH" not in os.environ:
        pytest.skip("run `npm ci --ignore-scripts` in contracts/")
    done = subprocess.run(
        [node, "compile.mjs", "--check"], cwd=CONTRACTS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
