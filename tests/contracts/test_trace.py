"""Differential: what the chain computes of one segment leads from one state of a trace to the next."""

import random

import numpy as np
import pytest
from web3.contract import Contract

from guard.signs import SeedSigns
from guard.sketch import Engine, Sketch
from guard.spec import trace as spec
from guard.trace import Tracer, encode_state, leaf_of, state_before
from tests.contracts.model import Constants
from tests.contracts.support import TestChain
from tests.vectors.generate import aligned, values_of
from tests.vectors.load import Case, name_of, raw, section

SEGMENT = 8192


@pytest.fixture(scope="module")
def gate_spec() -> Contract:
    return TestChain(members=1).deploy("GateSpec", Constants().as_tuple())


def decoded(state: bytes) -> tuple[list[int], int]:
    sums = [int.from_bytes(state[at : at + 6], "big", signed=True) for at in range(0, 1536, 6)]
    return sums, int.from_bytes(state[1536:], "big")


def stepped(gate_spec: Contract, seed: bytes, state: bytes, index: int, segment: bytes) -> bytes:
    """Give the state after a segment as the chain computes it."""
    added, squares = gate_spec.functions.projectSegment(seed, index, segment).call()
    sums, norm2 = decoded(state)
    return spec.encode_state([a + b for a, b in zip(sums, added, strict=True)], norm2 + squares)


def random_payload(rng: random.Random) -> bytes:
    return bytes(rng.choice([value for value in range(256) if value != 128]) for _ in range(3 * SEGMENT))


def aligned_payload(seed: bytes, output: int, sign: int) -> bytes:
    return (np.array(aligned(seed, 24, output), dtype=np.int8) * np.int8(sign)).tobytes()


def payloads(seed: bytes) -> dict[str, bytes]:
    rng = random.Random(seed)
    return {
        "random": random_payload(rng),
        "all 127": b"\x7f" * 3 * SEGMENT,
        "all -127": b"\x81" * 3 * SEGMENT,
        "127 and -127": bytes(rng.choice(b"\x7f\x81") for _ in range(3 * SEGMENT)),
        "one value a segment": (b"\xff" + bytes(SEGMENT - 1)) * 3,
        "most positive sum": aligned_payload(seed, 0, 1),
        "most negative sum": aligned_payload(seed, 255, -1),
    }


@pytest.mark.parametrize("kind", payloads(bytes(32)))
def test_chain_leads_from_every_state_to_the_next(gate_spec: Contract, kind: str) -> None:
    seed = random.Random(kind).randbytes(32)
    payload, signs = payloads(seed)[kind], SeedSigns(seed)
    tracer = Tracer(Sketch(signs, engine=Engine.NUMBA))
    tracer.update(payload)
    leaves = tracer.leaves()
    for s in range(3):
        segment = payload[SEGMENT * s : SEGMENT * (s + 1)]
        after = stepped(gate_spec, seed, state_before(payload, signs, s), s, segment)
        assert after == state_before(payload, signs, s + 1)
        assert leaf_of(after) == leaves[32 * s : 32 * s + 32]


def test_chain_and_trace_agree_far_into_an_update(gate_spec: Contract) -> None:
    """The last segment of the longest update, on top of sums as large as they can be."""
    seed, index = random.Random("far").randbytes(32), 2**27 - 1
    segment = random_payload(random.Random("far"))[:SEGMENT]
    sketch = Sketch(seed, engine=Engine.NUMBA)
    sketch.rows = 8 * index
    sketch._sums[:] = [127 * SEGMENT * index, -127 * SEGMENT * index, -1, 0] * 64
    sketch.norm2 = 127**2 * SEGMENT * index
    before = encode_state(sketch.sums(), sketch.norm2)
    assert stepped(gate_spec, seed, before, index, segment) == sketch.states(segment)[0, 8:].tobytes()


@pytest.mark.parametrize("case", [c for c in section("traces") if len(c["leaves"]) > 1], ids=name_of)
def test_chain_ends_in_the_last_leaf_of_the_vector(gate_spec: Contract, case: Case) -> None:
    seed = raw(case["seed"])
    payload = bytes(value % 256 for value in values_of(case["values"]))
    payload += bytes(-len(payload) % SEGMENT)
    last = len(case["leaves"]) - 1
    before = state_before(payload, SeedSigns(seed), last)
    assert spec.leaf(before) == raw(case["leaves"][last - 1])
    after = stepped(gate_spec, seed, before, last, payload[SEGMENT * last :])
    assert after == raw(case["lastState"])
    assert spec.leaf(after) == raw(case["leaves"][last])
