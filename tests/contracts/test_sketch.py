"""Differential: one segment's projection on the chain against numpy."""

import random
from collections.abc import Callable

import pytest
from web3.contract import Contract

from tests.contracts.model import Constants, column_signs, project, row_signs
from tests.contracts.support import TestChain

SEED = bytes(range(32))


@pytest.fixture(scope="module")
def bench() -> TestChain:
    return TestChain(members=1)


@pytest.fixture(scope="module")
def spec(bench: TestChain) -> Contract:
    return bench.deploy("GateSpec", Constants().as_tuple())


def random_bytes(rng: random.Random) -> bytes:
    return bytes(rng.choice([b for b in range(256) if b != 128]) for _ in range(8192))


SEGMENTS: dict[str, Callable[[random.Random], bytes]] = {
    "random": random_bytes,
    "zero": lambda _: bytes(8192),
    "all +127": lambda _: bytes([127]) * 8192,
    "all -127": lambda _: bytes([129]) * 8192,
    "extremes": lambda rng: bytes(rng.choice([127, 129]) for _ in range(8192)),
    "sparse": lambda rng: bytes(rng.choice([1, 255]) if rng.random() < 0.01 else 0 for _ in range(8192)),
}


@pytest.mark.parametrize("kind", SEGMENTS)
@pytest.mark.parametrize("index", [0, 1, 2, 3, 2**27 - 1])
def test_project_segment(spec: Contract, kind: str, index: int) -> None:
    rng = random.Random(f"{kind} {index}")
    segment = SEGMENTS[kind](rng)
    seed = rng.randbytes(32)
    sums, norm2 = spec.functions.projectSegment(seed, index, segment).call()
    assert (list(sums), norm2) == project(seed, index, segment)


def test_project_segment_aligned_with_its_signs_reaches_the_bound(spec: Contract) -> None:
    # Each row follows its own column signs, so that sum 0 of every row is 1024 * 127.
    segment = b""
    for row in range(8):
        signs = column_signs(SEED, row) * row_signs(SEED, row)[0]
        segment += bytes(127 if sign > 0 else 129 for sign in signs)
    sums, norm2 = spec.functions.projectSegment(SEED, 0, segment).call()
    assert sums[0] == 8 * 1024 * 127
    assert (list(sums), norm2) == project(SEED, 0, segment)


@pytest.mark.parametrize("position", [0, 31, 32, 1023, 4096, 8191])
def test_project_segment_refuses_minus_128(bench: TestChain, spec: Contract, position: int) -> None:
    segment = bytearray(random_bytes(random.Random(position)))
    segment[position] = 128
    error = bench.error(spec.functions.projectSegment(SEED, 0, bytes(segment)))
    assert error.name == "SketchMinusHundredTwentyEight"
    assert error.arguments == (position // 32 * 32,)


def test_project_segment_refuses_other_lengths(bench: TestChain, spec: Contract) -> None:
    for length in (0, 8191, 8193):
        error = bench.error(spec.functions.projectSegment(SEED, 0, bytes(length)))
        assert (error.name, error.arguments) == ("SketchWrongSegmentLength", (length,))


def test_code_reads_signs(spec: Contract) -> None:
    rng = random.Random(4)
    for _ in range(5):
        sums = [rng.choice([0, -1, 1, -(2**60), 2**60, rng.randint(-9, 9)]) for _ in range(256)]
        assert spec.functions.code(sums).call() == sum((value >= 0) << j for j, value in enumerate(sums))
    assert spec.functions.code([0] * 256).call() == 2**256 - 1
