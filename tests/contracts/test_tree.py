"""Differential: the segment tree on the chain against hashlib."""

import hashlib
import random

import pytest
from web3.contract import Contract

from tests.contracts.model import tree
from tests.contracts.support import TestChain


@pytest.fixture(scope="module")
def bench() -> TestChain:
    return TestChain(members=1)


@pytest.fixture(scope="module")
def harness(bench: TestChain) -> Contract:
    return bench.deploy("LibraryHarness")


def header(length: int) -> bytes:
    return random.Random(length).randbytes(72) + length.to_bytes(8, "little") + bytes(16)


@pytest.mark.parametrize("segments", [1, 2, 3, 5, 8, 9])
def test_root_from_every_proof(harness: Contract, segments: int) -> None:
    rng = random.Random(segments)
    payload = [rng.randbytes(8192) for _ in range(segments)]
    for length in ((segments - 1) * 8192 + 1, segments * 8192):
        root, siblings = tree(header(length), payload)
        for index in range(segments):
            assert (
                harness.functions.updateRootFromProof(
                    header(length), payload[index], index, siblings[index]
                ).call()
                == root
            )


def test_proofs_of_another_shape_are_refused(bench: TestChain, harness: Contract) -> None:
    segment, function = bytes(8192), harness.functions.updateRootFromProof
    three = header(3 * 8192)
    for call, name, arguments in (
        (function(three, segment, 3, [bytes(32)] * 2), "SegmentTreeNoSuchSegment", (3, 3)),
        (function(three, segment, 0, [bytes(32)]), "SegmentTreeWrongDepth", (1, 2)),
        (function(three, segment, 0, [bytes(32)] * 3), "SegmentTreeWrongDepth", (3, 2)),
        (function(three, segment[1:], 0, [bytes(32)] * 2), "SegmentTreeWrongSegmentLength", (8191,)),
        (function(three[1:], segment, 0, []), "SegmentTreeWrongHeaderLength", (95,)),
        (function(header(0), segment, 0, []), "SegmentTreeLengthOutOfRange", (0,)),
        (function(header(2**40 + 1), segment, 0, []), "SegmentTreeLengthOutOfRange", (2**40 + 1,)),
    ):
        error = bench.error(call)
        assert (error.name, error.arguments) == (name, arguments)


def test_parts(harness: Contract) -> None:
    rng = random.Random(3)
    segment, left, right = rng.randbytes(8192), rng.randbytes(32), rng.randbytes(32)
    assert harness.functions.leaf(segment).call() == hashlib.sha256(b"\0" + segment).digest()
    assert harness.functions.node(left, right).call() == hashlib.sha256(b"\1" + left + right).digest()
    head = header(5)
    assert harness.functions.updateRoot(head, left).call() == hashlib.sha256(b"\2" + head + left).digest()


def test_another_segment_gives_another_root(harness: Contract) -> None:
    rng = random.Random(6)
    payload = [rng.randbytes(8192) for _ in range(3)]
    head = header(3 * 8192)
    root, siblings = tree(head, payload)
    for segment, index in ((payload[0], 1), (payload[1], 0), (bytes(8192), 2)):
        assert harness.functions.updateRootFromProof(head, segment, index, siblings[index]).call() != root
