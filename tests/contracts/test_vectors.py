"""Solidity against the golden vectors that the spec and the fast path are tested with as well."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from guard.gate import GateParameters, Reading, Status, WorkerEvidence, lane_word_count
from guard.lanes import unpack_lanes
from guard.settlement import Settlement, encode_settlement
from guard.spec import gate as gate_spec
from ledger import artifacts
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.node import Node
from ledger.parties import local_operator
from ledger.reverts import RevertedError
from ledger.update import UpdateHeader
from tests.vectors.generate import expand
from tests.vectors.load import Case, name_of, number, posted_of, raw, section

HARNESS = Path(__file__).parents[2] / "contracts" / "artifacts" / "test" / "LibraryHarness.json"


class Bench:
    """A chain with the library harness and one GateSpec for each set of constants."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.operator = local_operator(node.chain_id)
        compiled = json.loads(HARNESS.read_text())
        code = bytes.fromhex(compiled["bytecode"].removeprefix("0x"))
        address, _ = node.deploy(self.operator, compiled["abi"], code)
        self.harness = node.web3.eth.contract(address=address, abi=compiled["abi"]).functions  # type: ignore[call-overload]
        self.gate = cache(self._gate)

    def _gate(self, constants: tuple[int, ...]) -> Any:
        artifact = artifacts.load("GateSpec")
        address, _ = self.node.deploy(self.operator, artifact.abi, artifact.bytecode, constants)
        return self.node.web3.eth.contract(address=address, abi=artifact.abi).functions  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
        yield Bench(Node(EmbeddedProvider(RpcDispatcher(chain))))


@pytest.mark.parametrize("case", section("gates") + section("committeeGates"), ids=name_of)
def test_gate_gives_the_vector(bench: Bench, case: Case) -> None:
    spec = bench.gate(tuple(case["spec"].values()))
    lanes = [number(word) for word in case["laneWordsBefore"]]
    guards = max(1, len(case.get("guards", [])))
    approved, yardstick, after = bench.node.call(
        spec.judge(
            case["round"],
            len(case["workers"]) + guards,
            guards,
            number(case["presence"]),
            raw(case["payload"]),
            case["yardstickBefore"],
            lanes,
        )
    )
    assert approved == number(case["approved"])
    assert yardstick == case["yardstickAfter"]
    assert after == [number(word) for word in case["laneWordsAfter"]]


@pytest.mark.parametrize("case", [c for c in section("committees") if len(c["guards"]) > 1], ids=name_of)
def test_committee_reads_the_vector(bench: Bench, case: Case) -> None:
    """Behind one worker that is absent; a header that is off by anything is refused."""
    spec = bench.gate(GateParameters().as_tuple())
    guards = [posted_of(posted) for posted in case["guards"]]
    entries = [gate_spec.Posted(0), *guards]
    presence = sum(1 << index for index, posted in enumerate(entries) if posted.status)
    lanes = [0] * lane_word_count(len(entries))

    def judged(header: gate_spec.Posted) -> Any:
        payload = gate_spec.encode_payload(header, 0, entries)
        return bench.node.call(spec.judge(1, len(entries), len(guards), presence, payload, 0, lanes))

    if case["reading"] is None:
        sound = [posted for posted in guards if posted.status == 1]
        with pytest.raises(RevertedError, match="CommitteeNoQuorum"):
            judged((sound or [gate_spec.Posted(1)])[0])
        return
    reading = posted_of(case["reading"])
    approved, yardstick, after = judged(reading)
    assert (approved, yardstick) == (0, 0)
    emas = [lane.ema for lane in unpack_lanes(after, len(entries))[1:]]
    assert emas == [0 if s is None else 16 * s for s in case["scores"]]
    with pytest.raises(RevertedError, match="CommitteeWrongCode"):
        judged(reading._replace(code=reading.code ^ 1))
    with pytest.raises(RevertedError, match="CommitteeWrongNorm"):
        judged(reading._replace(norm2=reading.norm2 ^ 1))
    with pytest.raises(RevertedError, match="CommitteeWrongNorm"):
        judged(reading._replace(exponent=reading.exponent - 1 if reading.exponent > 0 else 63))


@pytest.mark.parametrize("case", section("specs"), ids=lambda case: str(case["accepted"]))
def test_spec_digest_and_refusals_are_the_vectors(bench: Bench, case: Case) -> None:
    constants = tuple(case["spec"].values())
    if not case["accepted"]:
        with pytest.raises(RevertedError):
            bench.gate(constants)
        return
    assert bench.node.call(bench.gate(constants).specDigest()) == raw(case["digest"])


@pytest.mark.parametrize("case", section("segments"), ids=name_of)
def test_segment_projects_to_the_vector(bench: Bench, case: Case) -> None:
    segment = bytes(value & 0xFF for value in expand(case["values"]))
    sums, norm2 = bench.node.call(bench.harness.projectSegment(raw(case["seed"]), case["segment"], segment))
    assert sums == case["sums"]
    assert norm2 == int(case["norm2"])


@pytest.mark.parametrize("case", section("sketches"), ids=name_of)
def test_sums_give_the_code_of_the_vector(bench: Bench, case: Case) -> None:
    assert bench.node.call(bench.harness.code(case["sums"])) == number(case["code"])


@pytest.mark.parametrize("case", section("updates"), ids=name_of)
def test_header_and_payload_root_bind_to_the_root_of_the_vector(bench: Bench, case: Case) -> None:
    header = raw(case["headerBytes"])
    assert UpdateHeader.parse(header).pack() == header
    assert bench.node.call(bench.harness.updateRoot(header, raw(case["payloadRoot"]))) == raw(case["root"])


def rotated(word: int, by: int) -> int:
    return (word << by | word >> (256 - by)) & (1 << 256) - 1


@pytest.mark.parametrize("case", section("medians"), ids=lambda case: f"{case['scores']} {case['x']}")
def test_posted_median_is_accepted_only_if_it_is_the_median(bench: Bench, case: Case) -> None:
    anchor = Reading(0, 1, 0)
    # No two words are the same, and with duplicateBits = 0 none is a copy.
    words = [rotated((1 << (256 - score) // 2) - 1, 37 * k) for k, score in enumerate(case["scores"])]
    assert len(set(words)) == len(words)
    workers = tuple(WorkerEvidence(Status.COMMITTED, Reading(word, 1, 0)) for word in words)
    payload = encode_settlement(Settlement(anchor, case["x"], workers))
    members = len(workers) + 2  # one more worker, who is absent, and the guard
    presence = (1 << len(workers)) - 1 | 1 << members - 1
    lanes = [0] * lane_word_count(members)
    gate = bench.gate(GateParameters(duplicate_bits=0).as_tuple())
    call = gate.judge(1, members, 1, presence, payload, 0, lanes)
    if case["isMedian"]:
        bench.node.call(call)
    else:
        with pytest.raises(RevertedError, match="Median"):
            bench.node.call(call)
