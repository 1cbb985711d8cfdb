"""Solidity against the golden vectors that the spec and the fast path are tested with as well."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from guard.gate import GateParameters, Reading, Status, WorkerEvidence, lane_word_count
from guard.settlement import Settlement, encode_settlement
from ledger import artifacts
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.node import Node
from ledger.parties import local_operator
from ledger.reverts import RevertedError
from ledger.update import UpdateHeader
from tests.vectors.generate import expand
from tests.vectors.load import Case, name_of, number, raw, section

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


@pytest.mark.parametrize("case", section("gates"), ids=name_of)
def test_gate_gives_the_vector(bench: Bench, case: Case) -> None:
    spec = bench.gate(tuple(case["spec"].values()))
    lanes = [number(word) for word in case["laneWordsBefore"]]
    members = len(case["workers"]) + 1
    approved, yardstick, after = bench.node.call(
        spec.judge(
            case["round"],
            members,
            1,
            number(case["presence"]),
            raw(case["payload"]),
            case["yardstickBefore"],
            lanes,
        )
    )
    assert approved == number(case["approved"])
    assert yardstick == case["yardstickAfter"]
    assert after == [number(word) for word in case["laneWordsAfter"]]


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


@pytest.mark.parametrize("case", section("medians"), ids=lambda case: f"{case['scores']} {case['x']}")
def test_posted_median_is_accepted_only_if_it_is_the_median(bench: Bench, case: Case) -> None:
    anchor = Reading(0, 1, 0)
    workers = tuple(
        WorkerEvidence(Status.COMMITTED, Reading((1 << (256 - score) // 2) - 1, 1, 0))
        for score in case["scores"]
    )
    payload = encode_settlement(Settlement(anchor, case["x"], workers))
    members = len(workers) + 2  # one more worker, who is absent, and the guard
    presence = (1 << len(workers)) - 1 | 1 << members - 1
    lanes = [0] * lane_word_count(members)
    call = bench.gate(GateParameters().as_tuple()).judge(1, members, 1, presence, payload, 0, lanes)
    if case["isMedian"]:
        bench.node.call(call)
    else:
        with pytest.raises(RevertedError, match="Median"):
            bench.node.call(call)
