"""Fixtures: chains and deployed runs are built once, tests run between snapshot and revert."""

import os
import random
from collections.abc import Iterator

import pytest

# Three times faster than the default; read when eth_hash is first used.
os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")

from tests.contracts.support import Registry, Run, TestChain, actor

WORKERS = 5


@pytest.fixture(scope="session")
def _deployed() -> Run:
    chain = TestChain(members=16)
    return Run.deploy(chain, WORKERS)


@pytest.fixture
def run(_deployed: Run) -> Iterator[Run]:
    """A run of five workers and a guard, its first round open."""
    snapshot = _deployed.chain.tester.take_snapshot()
    lanes, yardstick = list(_deployed.lanes), _deployed.yardstick
    yield _deployed
    _deployed.chain.tester.revert_to_snapshot(snapshot)
    _deployed.lanes, _deployed.yardstick = lanes, yardstick


@pytest.fixture
def chain(run: Run) -> TestChain:
    """The chain of `run`."""
    return run.chain


@pytest.fixture(scope="session")
def _registry() -> Registry:
    registry = Registry.deploy(TestChain(members=12))
    for number in range(4):
        registry.join(actor(number))
    return registry


@pytest.fixture
def registry(_registry: Registry) -> Iterator[Registry]:
    """A registry with four active members."""
    snapshot = _registry.chain.tester.take_snapshot()
    yield _registry
    _registry.chain.tester.revert_to_snapshot(snapshot)


@pytest.fixture
def rng() -> random.Random:
    """Random numbers, the same in each run of a test."""
    return random.Random(20261121)
