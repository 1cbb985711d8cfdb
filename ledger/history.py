"""What happened in a run, read from the chain alone: logs and calldata.

Nothing here is checked beyond its form; the audit does that. No local index
is used or written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils import keccak
from web3.types import LogReceipt

from ledger import artifacts
from ledger.calldata import decode_batch
from ledger.errors import ProofError
from ledger.node import Node


class HistoryError(ProofError):
    """The chain's record of a round cannot be read as one.

    Attributes:
        round: Round that it is about, 0 if none.
        field: What could not be read.
    """

    code = "history"

    def __init__(self, round_: int, field_: str, message: str) -> None:
        super().__init__(f"round {round_}, {field_}: {message}")
        self.round = round_
        self.field = field_


@dataclass(frozen=True, slots=True)
class Commitment:
    """One commitment as it stands in the chain.

    Attributes:
        index: Cohort index.
        update_root: 32 bytes.
        tokens: As claimed.
        deadline: Unix seconds.
        signature: 64 bytes, or None for one sent by the member itself.
        transaction: Hash of the transaction, 32 bytes.
        block: Block number.
    """

    index: int
    update_root: bytes
    tokens: int
    deadline: int
    signature: bytes | None
    transaction: bytes
    block: int


@dataclass(frozen=True, slots=True)
class Seal:
    """The end of the commit phase: RoundSealed."""

    presence: int
    accumulator: bytes
    seal_block: int


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The settlement: RoundSettled and the payload of the call that caused it."""

    payload: bytes
    approved: int
    yardstick: int
    seed: bytes
    record: bytes
    transaction: bytes
    block: int


@dataclass(frozen=True, slots=True)
class Finalization:
    """The merge: RoundFinalized."""

    model_root: bytes
    weights_digest: bytes
    record: bytes
    transaction: bytes
    block: int


@dataclass(frozen=True, slots=True)
class Voiding:
    """RoundVoided."""

    reason: int
    record: bytes
    transaction: bytes
    block: int


@dataclass(slots=True)
class RoundHistory:
    """Everything that the chain says about one round, in the order it happened."""

    round: int
    commit_deadline: int
    parent_model: bytes
    commitments: list[Commitment] = field(default_factory=list)
    seal: Seal | None = None
    verdicts: Verdicts | None = None
    final: Finalization | None = None
    voided: Voiding | None = None


def read_rounds(node: Node, ledger: str) -> list[RoundHistory]:
    """Read all rounds of a run from its ledger's logs and transactions.

    Args:
        node: The chain.
        ledger: Address of the ContributionLedger.

    Returns:
        The rounds, first to last.

    Raises:
        HistoryError: A log or a transaction has not the form it must have.
        EnvironmentFault: The node failed.
    """
    rounds: dict[int, RoundHistory] = {}
    for log in node.logs(ledger):
        event = decode_log(log)
        if event is not None and event.name in _READERS:
            _take(node, ledger, rounds, event)
    return [rounds[number] for number in sorted(rounds)]


def read_round(node: Node, ledger: str, number: int, first_block: int = 0) -> RoundHistory:
    """Read one round.

    Args:
        node: The chain.
        ledger: Address of the ContributionLedger.
        number: The round.
        first_block: A block not after the one in which the round was opened.

    Raises:
        HistoryError: There is no such round, or it cannot be read.
        EnvironmentFault: The node failed.
    """
    rounds: dict[int, RoundHistory] = {}
    for log in node.logs(ledger, first_block):
        event = decode_log(log)
        if event is not None and event.name in _READERS and int(event.arguments["round"]) == number:
            _take(node, ledger, rounds, event)
    if number not in rounds:
        raise HistoryError(number, "RoundOpened", "the chain has no such round")
    return rounds[number]


def _take(node: Node, ledger: str, rounds: dict[int, RoundHistory], event: "Event") -> None:
    number = int(event.arguments["round"])
    if event.name == "RoundOpened":
        deadline = int(event.arguments["commitDeadline"])
        rounds[number] = RoundHistory(number, deadline, bytes(event.arguments["parentModel"]))
        return
    if number not in rounds:
        raise HistoryError(number, event.name, "the round was never opened")
    _READERS[event.name](node, ledger, rounds[number], event)


@dataclass(frozen=True, slots=True)
class Event:
    """A decoded log."""

    name: str
    arguments: Mapping[str, Any]
    transaction: bytes
    block: int


def decode_log(log: LogReceipt, contract: str = "ContributionLedger") -> Event | None:
    """Decode a log of one of our contracts; None if it is none of its events.

    Raises:
        HistoryError: It claims to be one, but its bytes do not decode.
    """
    topics = [bytes(topic) for topic in log["topics"]]
    entry = _events(contract).get(topics[0]) if topics else None
    if entry is None:
        return None
    indexed = [item for item in entry["inputs"] if item["indexed"]]
    plain = [item for item in entry["inputs"] if not item["indexed"]]
    try:
        values = dict(
            zip(
                [i["name"] for i in plain],
                decode([i["type"] for i in plain], bytes(log["data"])),
                strict=True,
            )
        )
        for item, topic in zip(indexed, topics[1:], strict=True):
            values[item["name"]] = decode([item["type"]], topic)[0]
    except (DecodingError, ValueError, OverflowError) as error:
        raise HistoryError(0, entry["name"], f"log does not decode: {error}") from error
    return Event(entry["name"], values, bytes(log["transactionHash"]), int(log["blockNumber"]))


def decode_call(node: Node, ledger: str, transaction: bytes, function: str, round_: int) -> Mapping[str, Any]:
    """Read the arguments of a ledger call from its transaction.

    Raises:
        HistoryError: The transaction is not that call to the ledger.
    """
    content = node.transaction(transaction)
    data = bytes(content["input"])
    entry = _functions()[function]
    types = [item["type"] for item in entry["inputs"]]
    selector = keccak(text=f"{function}({','.join(types)})")[:4]
    if content.get("to") != ledger or data[:4] != selector:
        raise HistoryError(round_, function, f"transaction 0x{transaction.hex()} is no {function} call")
    try:
        values = decode(types, data[4:])
    except (DecodingError, ValueError, OverflowError) as error:
        raise HistoryError(round_, function, f"calldata does not decode: {error}") from error
    arguments = dict(zip([item["name"].strip("_") for item in entry["inputs"]], values, strict=True))
    if int(arguments["round"]) != round_:
        raise HistoryError(round_, function, f"calldata is for round {arguments['round']}")
    return arguments


def _read_commitment(_: Node, __: str, history: RoundHistory, event: Event) -> None:
    arguments = event.arguments
    history.commitments.append(
        Commitment(
            index=int(arguments["index"]),
            update_root=bytes(arguments["updateRoot"]),
            tokens=int(arguments["tokens"]),
            deadline=int(arguments["deadline"]),
            signature=None,
            transaction=event.transaction,
            block=event.block,
        )
    )


def _read_batch(node: Node, ledger: str, history: RoundHistory, event: Event) -> None:
    arguments = decode_call(node, ledger, event.transaction, "commitBatch", history.round)
    try:
        items = decode_batch(int(arguments["members"]), bytes(arguments["items"]))
    except ProofError as error:
        raise HistoryError(history.round, "commitBatch", str(error)) from error
    history.commitments += [
        Commitment(
            index=index,
            update_root=item.update_root,
            tokens=item.tokens,
            deadline=int(arguments["deadline"]),
            signature=item.signature,
            transaction=event.transaction,
            block=event.block,
        )
        for index, item in items.items()
    ]


def _read_seal(_: Node, __: str, history: RoundHistory, event: Event) -> None:
    arguments = event.arguments
    history.seal = Seal(
        int(arguments["presence"]), bytes(arguments["accumulator"]), int(arguments["sealBlock"])
    )


def _read_verdicts(node: Node, ledger: str, history: RoundHistory, event: Event) -> None:
    call = decode_call(node, ledger, event.transaction, "settle", history.round)
    history.verdicts = Verdicts(
        payload=bytes(call["payload"]),
        approved=int(event.arguments["approved"]),
        yardstick=int(event.arguments["yardstick"]),
        seed=bytes(event.arguments["seed"]),
        record=bytes(event.arguments["record"]),
        transaction=event.transaction,
        block=event.block,
    )


def _read_final(_: Node, __: str, history: RoundHistory, event: Event) -> None:
    history.final = Finalization(
        model_root=bytes(event.arguments["modelRoot"]),
        weights_digest=bytes(event.arguments["weightsDigest"]),
        record=bytes(event.arguments["record"]),
        transaction=event.transaction,
        block=event.block,
    )


def _read_void(_: Node, __: str, history: RoundHistory, event: Event) -> None:
    history.voided = Voiding(
        reason=int(event.arguments["reason"]),
        record=bytes(event.arguments["record"]),
        transaction=event.transaction,
        block=event.block,
    )


def _opened(_: Node, __: str, ___: RoundHistory, ____: Event) -> None:
    """RoundOpened is handled where the rounds are created."""


_Reader = Callable[[Node, str, RoundHistory, Event], None]

_READERS: dict[str, _Reader] = {
    "RoundOpened": _opened,
    "ContributionCommitted": _read_commitment,
    "BatchCommitted": _read_batch,
    "RoundSealed": _read_seal,
    "RoundSettled": _read_verdicts,
    "RoundFinalized": _read_final,
    "RoundVoided": _read_void,
}


@cache
def _events(contract: str) -> dict[bytes, dict[str, Any]]:
    entries = [entry for entry in artifacts.load(contract).abi if entry["type"] == "event"]
    return {
        keccak(text=f"{entry['name']}({','.join(item['type'] for item in entry['inputs'])})"): entry
        for entry in entries
    }


@cache
def _functions() -> dict[str, dict[str, Any]]:
    return {e["name"]: e for e in artifacts.load("ContributionLedger").abi if e["type"] == "function"}
