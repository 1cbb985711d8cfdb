from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.gate import Reading, Status
from guard.signs import SeedSigns
from guard.sketch import Engine
from guard.spec import sketch as sketch_spec
from guard.spec import update as update_spec
from ledger.challenges import ChallengeFacts, FaultKind, check_fault, find_fault
from ledger.contribution import Domain
from ledger.update import HEADER_BYTES, MalformedReason, UpdateFacts, UpdateHeader, encode_update, update_root
from tests.vectors.generate import expand
from tests.vectors.load import Case, name_of, raw, section
from trainer.assay import Assay, assay

SEED = bytes(range(32))
FACTS = UpdateFacts(1, 2, bytes(20), bytes(32), 70_000)
ENGINES = [Engine.NUMPY, Engine.NUMBA]


def update(seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).integers(-127, 128, FACTS.length, dtype=np.int8)
    return encode_update(FACTS.header(-9), values)


@pytest.mark.parametrize("engine", ENGINES)
def test_assay_of_sound_update(engine: Engine) -> None:
    data = update()
    payload = data[HEADER_BYTES:]
    expected = Assay(
        root=update_spec.update_root(data),
        status=Status.COMMITTED,
        code=sketch_spec.code(sketch_spec.project(SEED, payload)),
        norm2=sketch_spec.norm2(payload),
        exponent=-9,
    )
    assert assay(data, FACTS, SEED, engine=engine) == expected
    assert (
        assay(memoryview(data), FACTS, SeedSigns(SEED), committed_root=expected.root, engine=engine)
        == expected
    )
    assert expected.reading == Reading(expected.code, expected.norm2, -9)
    assert expected.evidence.reading == expected.reading


@pytest.mark.parametrize("case", section("malformed"), ids=name_of)
def test_assay_golden_malformed(case: Case) -> None:
    fields = case["expected"]
    facts = UpdateFacts(
        int(fields["run"], 16),
        fields["round"],
        raw(fields["worker"]),
        raw(fields["shapeDigest"]),
        fields["length"],
    )
    data = bytearray(
        encode_update(facts.header(fields["exponent"]), np.array(expand(case["values"]), np.int8))
    )
    del data[case["size"] :]
    data += bytes(case["size"] - len(data))
    for patch in case["patches"]:
        data[patch["offset"] : patch["offset"] + len(raw(patch["bytes"]))] = raw(patch["bytes"])
    result = assay(data, facts, SEED, committed_root=raw(case["root"]))
    assert result.root == raw(case["root"])
    if not case["rule"]:
        assert result.status == Status.COMMITTED
        return
    assert (result.status, result.reason) == (Status.MALFORMED, MalformedReason(case["rule"]))
    assert (result.code, result.norm2, result.exponent, result.reading) == (0, 0, 0, None)


def test_assay_of_other_bytes_is_unavailable() -> None:
    data, other = update(), update(1)
    result = assay(other, FACTS, SEED, committed_root=update_root(data))
    assert (result.root, result.status) == (update_root(other), Status.UNAVAILABLE)
    assert result.evidence.reading is None


@pytest.mark.parametrize("data", [b"", bytes(96), bytes(8287), update()[:-1], update() + bytes(8 * 8192)])
def test_assay_of_bytes_without_root_or_too_long_is_unavailable(data: bytes) -> None:
    assert assay(data, FACTS, SEED) == Assay(None, Status.UNAVAILABLE)


def test_assay_of_a_longer_file_is_malformed_while_its_tree_has_the_depth() -> None:
    # 9 segments make a tree of depth 4, which holds 16.
    assert FACTS.readable_bytes == HEADER_BYTES + 16 * 8192
    for more in (1, 7):
        data = update() + bytes(8192 * more)
        found = assay(data, FACTS, SEED, committed_root=update_root(data))
        assert (found.status, found.reason) == (Status.MALFORMED, MalformedReason.FORMAT)
        facts = ChallengeFacts(
            domain=Domain(1, "0x" + "11" * 20),
            run=FACTS.run,
            spec_digest=bytes(32),
            shape_digest=FACTS.shape_digest,
            length=FACTS.length,
            identities=("0x" + FACTS.worker.hex(),),
        )
        fault = find_fault(data, facts, FACTS.round, 0)
        assert fault is not None
        assert fault.kind == FaultKind.SIZE
        check_fault(fault, facts, FACTS.round, 0, update_root(data))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_assay_of_damaged_bytes_equals_spec(data: st.DataObject) -> None:
    facts = replace(FACTS, length=9000)
    damaged = bytearray(encode_update(facts.header(3), np.full(9000, 5, dtype=np.int8)))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, HEADER_BYTES - 1) | st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    literal = update_spec.Header(0, facts.run, facts.round, facts.worker, facts.shape_digest, facts.length)
    rule = update_spec.malformed_rule(bytes(damaged), literal)
    result = assay(damaged, facts, SEED)
    assert result.root == update_spec.update_root(bytes(damaged))
    assert (result.reason or 0) == rule
    if not rule:
        payload = bytes(damaged[HEADER_BYTES:])
        assert result.code == sketch_spec.code(sketch_spec.project(SEED, payload))
        assert result.norm2 == sketch_spec.norm2(payload)
        assert result.exponent == UpdateHeader.parse(damaged).exponent
