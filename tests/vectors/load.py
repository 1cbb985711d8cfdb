"""The golden vectors, read once, and the conversions that every test of them needs."""

import json
from functools import cache
from typing import Any

from guard.gate import GateParameters, Reading, RoundEvidence, Status, WorkerEvidence
from guard.spec import gate
from tests.vectors.generate import PATH

Case = dict[str, Any]


@cache
def _sections() -> dict[str, list[Case]]:
    sections: dict[str, list[Case]] = json.loads(PATH.read_text(encoding="utf-8"))
    return sections


def section(name: str) -> list[Case]:
    return _sections()[name]


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def number(text: str) -> int:
    return int(text, 16)


def name_of(case: Case) -> str:
    return str(case.get("name", "case"))


def parameters_of(case: Case) -> GateParameters:
    return GateParameters(*case["spec"].values())


def reading_of(posted: Case) -> Reading:
    return Reading(number(posted["code"]), number(posted["norm2"]), posted["exponent"])


def worker_of(posted: Case) -> WorkerEvidence:
    status = Status(posted["status"])
    return WorkerEvidence(status, reading_of(posted) if status == Status.COMMITTED else None)


def posted_of(posted: Case) -> gate.Posted:
    return gate.Posted(posted["status"], number(posted["code"]), number(posted["norm2"]), posted["exponent"])


def guards_of(case: Case) -> tuple[WorkerEvidence, ...]:
    return tuple(worker_of(posted) for posted in case.get("guards", []))


def evidence_of(case: Case) -> RoundEvidence:
    return RoundEvidence(
        round=case["round"],
        anchor=reading_of(case["anchor"]),
        workers=tuple(worker_of(posted) for posted in case["workers"]),
        lane_words=tuple(number(word) for word in case["laneWordsBefore"]),
        yardstick=case["yardstickBefore"],
        median=case["median"],
        guards=guards_of(case),
    )
