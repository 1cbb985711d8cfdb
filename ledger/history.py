"""What happened in a run, read from the chain alone: logs and calldata.

Nothing here is checked beyond its form; the audit does that. No local index
is used or written.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
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
        signature: 64 bytes; None for one that a member sent itself, and for one by a contract's signature.
        transaction: Hash of the transaction, 32 bytes.
        block: Block number.
        sender: Account that sent a commitment of its own straight to the ledger; else None.
    """

    index: int
    update_root: bytes
    tokens: int
    deadline: int
    signature: bytes | None
    transaction: bytes
    block: int
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class Seal:
    """The end of the commit phase: RoundSealed."""

    presence: int
    accumulator: bytes
    seal_block: int
    transaction: bytes
    block: int


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
    sender: str


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


@dataclass(frozen=True, slots=True)
class Overturning:
    """ContributionOverturned, or RoundOverturned.

    Attributes:
        index: Cohort index of the worker; None for the whole round.
        is_late: Whether the round was final before.
        transaction: Hash of the transaction, 32 bytes.
        block: Block number.
    """

    index: int | None
    is_late: bool
    transaction: bytes
    block: int


@dataclass(frozen=True, slots=True)
class Rollback:
    """ModelRolledBack: the rounds after `to_round` up to `from_round` are in no model any more."""

    from_round: int
    to_round: int
    model_root: bytes
    transaction: bytes
    block: int


@dataclass(slots=True)
class RoundHistory:
    """Everything that the chain says about one round, in the order it happened.

    Attributes:
        overturnings: What was shown to be false about it.
        rollbacks: Rollbacks made while it was the last round.
    """

    round: int
    commit_deadline: int
    parent_model: bytes
    commitments: list[Commitment] = field(default_factory=list)
    seal: Seal | None = None
    verdicts: Verdicts | None = None
    final: Finalization | None = None
    voided: Voiding | None = None
    overturnings: list[Overturning] = field(default_factory=list)
    rollbacks: list[Rollback] = field(default_factory=list)

    @property
    def roots(self) -> dict[int, bytes]:
        """Committed update roots, 32 bytes each, by cohort index."""
        return {commitment.index: commitment.update_root for commitment in self.commitments}

    @property
    def overturned(self) -> int:
        """Bitmap of the workers whose own contribution was overturned; not those of an overturned round."""
        return _bitmap(self.overturnings)

    @property
    def overturned_in_time(self) -> int:
        """The same, of what was overturned before the merge was recorded: these are not in the model."""
        return _bitmap(item for item in self.overturnings if not item.is_late)

    @property
    def is_overturned(self) -> bool:
        """Whether the round as a whole was overturned."""
        return any(item.index is None for item in self.overturnings)

    def transactions(self) -> set[bytes]:
        """Give the hashes of all transactions that moved the round on."""
        steps = (self.seal, self.verdicts, self.final, self.voided)
        found = {commitment.transaction for commitment in self.commitments}
        found |= {overturning.transaction for overturning in self.overturnings}
        found |= {rollback.transaction for rollback in self.rollbacks}
        return found | {step.transaction for step in steps if step is not None}


def _bitmap(overturnings: Iterable[Overturning]) -> int:
    bitmap = 0
    for item in overturnings:
        bitmap |= 0 if item.index is None else 1 << item.index
    return bitmap


def read_rounds(
    node: Node, ledger: str, on_error: Callable[[HistoryError], None] | None = None, first_block: int = 0
) -> list[RoundHistory]:
    """Read all rounds of a run from its ledger's logs and transactions.

    Args:
        node: The chain.
        ledger: Address of the ContributionLedger.
        on_error: Told of what cannot be read, which is then left out; None to raise it.
        first_block: A block not after the one in which the ledger was created.

    Returns:
        The rounds, first to last.

    Raises:
        HistoryError: A log or a transaction has not the form or the place that it must have.
        EnvironmentFault: The node failed.
    """
    rounds: dict[int, RoundHistory] = {}
    for log in node.logs(ledger, first_block):
        try:
            event = decode_log(log)
            if event is not None and event.name in _READERS:
                _take(node, ledger, rounds, event)
        except HistoryError as error:
            if on_error is None:
                raise
            on_error(error)
    return [rounds[number] for number in sorted(rounds)]


def read_run_opened(node: Node, ledger: str, first_block: int = 0) -> Mapping[str, Any]:
    """Read the arguments of RunOpened, which a ledger emits once, and its `block`.

    Raises:
        HistoryError: There is none, or more than one.
        EnvironmentFault: The node failed.
    """
    topic = event_topic("ContributionLedger", "RunOpened")
    every = node.logs(ledger, first_block, topics=[topic])
    found = [log for log in every if log["topics"] and bytes(log["topics"][0]) == topic]
    if len(found) != 1:
        raise HistoryError(0, "RunOpened", f"{len(found)} of these events instead of one")
    event = decode_log(found[0])
    return {**event.arguments, "block": event.block} if event is not None else {}


class RoundStream:
    """Reads a run round after round; two rounds are in memory at a time, however many there are.

    Attributes:
        opened: Arguments of RunOpened; None until it has been read.
        opened_count: How many of these events there were; a ledger emits one.
        block: Every event up to this block has been read.
        head: The newest block when the reading began, number and hash: while it is there, what was read
            before it is one chain's.
    """

    def __init__(
        self,
        node: Node,
        ledger: str,
        on_error: Callable[[HistoryError, int], None],
        *,
        first_block: int = 0,
        last_round: int = 0,
        members: int = 256,
    ) -> None:
        """Prepare to read.

        Args:
            node: The chain.
            ledger: Address of the ContributionLedger.
            on_error: Told of what cannot be read, which is then left out, and of the round near which it
                stands.
            first_block: A block not after that of the first event that is wanted.
            last_round: A round that was read before, whose last event is in `first_block`; 0 if none was.
            members: Size of the cohort: nobody can commit more often than twice as many times.
        """
        self.opened: Mapping[str, Any] | None = None
        self.opened_count = 0
        self.block = first_block - 1
        self.head = (-1, b"")
        self._node = node
        self._ledger = ledger
        self._on_error = on_error
        self._before = self._last_round = last_round
        self._first_block = first_block
        self._members = members
        self._rounds: dict[int, RoundHistory] = {}

    def __iter__(self) -> Iterator[RoundHistory]:
        """Give the rounds, first to last; the last one may not be over.

        A round is given when the round after the next one begins, or at the end.

        Raises:
            EnvironmentFault: The node failed.
        """
        # The chain may go on meanwhile; what is told of its state in the end must fit what was read of it.
        while (head := self._node.block_number()) > self.block:
            if self.head[0] < 0:
                self.head = head, bytes(self._node.block(head)["hash"])
            for last, page in self._node.log_pages(self._ledger, self.block + 1, head):
                for log in page:
                    self._read(log)
                    while len(self._rounds) > 2:
                        yield self._next()
                self.block = last
        while self._rounds:
            yield self._next()

    def following(self) -> RoundHistory | None:
        """Give the round after the one that was given last, None if there is none."""
        return next(iter(self._rounds.values()), None)

    def _next(self) -> RoundHistory:
        number = next(iter(self._rounds))
        self._before = number
        return self._rounds.pop(number)

    def _read(self, log: LogReceipt) -> None:
        try:
            event = decode_log(log)
            if event is not None and event.name == "RunOpened":
                self.opened_count += 1
                self.opened = self.opened or event.arguments
            elif event is not None and event.name in _READERS:
                self._take(event)
        except HistoryError as error:
            self._on_error(error, error.round or max(self._rounds, default=self._before))

    def _take(self, event: "Event") -> None:
        number = _round_of(event)
        if number <= self._last_round and event.block == self._first_block:
            return
        if number <= self._before and event.name in ("ContributionOverturned", "RoundOverturned"):
            return  # late, and the contract's `overturnedOf` says so, too
        if number <= self._before:
            raise HistoryError(number, event.name, "the event comes when later rounds are under way")
        if event.name == "RoundOpened" and self._rounds and number < max(self._rounds):
            raise HistoryError(number, event.name, "the round is opened after later ones")
        history = self._rounds.get(number)
        is_commitment = event.name in ("ContributionCommitted", "BatchCommitted")
        if is_commitment and history is not None and len(history.commitments) > 2 * self._members:
            raise HistoryError(number, event.name, "there are more commitments than members")
        _take(self._node, self._ledger, self._rounds, event)


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
        if event is not None and event.name in _READERS and _round_of(event) == number:
            _take(node, ledger, rounds, event)
    if number not in rounds:
        raise HistoryError(number, "RoundOpened", "the chain has no such round")
    return rounds[number]


def _take(node: Node, ledger: str, rounds: dict[int, RoundHistory], event: "Event") -> None:
    number = _round_of(event)
    if event.name == "RoundOpened":
        if number in rounds:
            raise HistoryError(number, event.name, "the round was opened before")
        deadline = int(event.arguments["commitDeadline"])
        rounds[number] = RoundHistory(number, deadline, bytes(event.arguments["parentModel"]))
        return
    if number not in rounds:
        raise HistoryError(number, "RoundOpened", f"the round was never opened, but has {event.name}")
    history = rounds[number]
    _READERS[event.name](node, ledger, history, event)


def _round_of(event: "Event") -> int:
    """Give the round that an event belongs to; a rollback belongs to the last round before it."""
    return int(event.arguments["fromRound" if event.name == "ModelRolledBack" else "round"])


def _once(history: RoundHistory, event: "Event", *later: object) -> None:
    """Refuse an event that comes a second time, or after one that it must come before."""
    if any(entry is not None for entry in later):
        raise HistoryError(history.round, event.name, "the event comes twice, or too late")


@dataclass(frozen=True, slots=True)
class Event:
    """A decoded log."""

    name: str
    arguments: Mapping[str, Any]
    transaction: bytes
    block: int


def event_topic(contract: str, name: str) -> bytes:
    """Give the first topic, 32 bytes, of an event of one of our contracts."""
    return next(topic for topic, entry in _events(contract).items() if entry["name"] == name)


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
    """Read the arguments of a ledger call from its transaction, and its `sender`.

    Raises:
        HistoryError: The transaction is not that call to the ledger.
    """
    content = node.transaction(transaction)
    data = bytes(content["input"])
    entry = _functions()[function]
    types = [item["type"] for item in entry["inputs"]]
    if content.get("to") != ledger or data[:4] != _selector(function):
        raise HistoryError(round_, function, f"transaction 0x{transaction.hex()} is no {function} call")
    try:
        values = decode(types, data[4:])
    except (DecodingError, ValueError, OverflowError) as error:
        raise HistoryError(round_, function, f"calldata does not decode: {error}") from error
    arguments = dict(zip([item["name"].strip("_") for item in entry["inputs"]], values, strict=True))
    if int(arguments["round"]) != round_:
        raise HistoryError(round_, function, f"calldata is for round {arguments['round']}")
    return {**arguments, "sender": content["from"]}


def _read_commitment(node: Node, ledger: str, history: RoundHistory, event: Event) -> None:
    _once(history, event, history.seal, history.verdicts, history.final, history.voided)
    arguments = event.arguments
    sender, signature = _authority(node, ledger, event)
    history.commitments.append(
        Commitment(
            index=int(arguments["index"]),
            update_root=bytes(arguments["updateRoot"]),
            tokens=int(arguments["tokens"]),
            deadline=int(arguments["deadline"]),
            signature=signature,
            transaction=event.transaction,
            block=event.block,
            sender=sender,
        )
    )


def _authority(node: Node, ledger: str, event: Event) -> tuple[str | None, bytes | None]:
    """Give who sent `commit`, or the signature in `commitFor`; neither where a contract is in between."""
    content = node.transaction(event.transaction)
    if content.get("to") != ledger:
        return None, None
    data = bytes(content["input"])
    for name in ("commit", "commitFor"):
        types = [item["type"] for item in _functions()[name]["inputs"]]
        if data[:4] != _selector(name):
            continue
        if name == "commit":
            return str(content["from"]), None
        try:
            signature = bytes(decode(types, data[4:])[-1])
        except (DecodingError, ValueError, OverflowError):
            return None, None
        return None, _compact(signature)
    return None, None


def _compact(signature: bytes) -> bytes | None:
    """Turn r || s || v of an ordinary key into EIP-2098's 64 bytes."""
    if len(signature) != 65 or signature[64] not in (27, 28) or signature[32] >> 7:
        return None
    parity_and_s = int.from_bytes(signature[32:64], "big") | (signature[64] - 27) << 255
    return signature[:32] + parity_and_s.to_bytes(32, "big")


def _read_batch(node: Node, ledger: str, history: RoundHistory, event: Event) -> None:
    _once(history, event, history.seal, history.verdicts, history.final, history.voided)
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
    _once(history, event, history.seal, history.verdicts, history.final, history.voided)
    arguments = event.arguments
    history.seal = Seal(
        presence=int(arguments["presence"]),
        accumulator=bytes(arguments["accumulator"]),
        seal_block=int(arguments["sealBlock"]),
        transaction=event.transaction,
        block=event.block,
    )


def _read_verdicts(node: Node, ledger: str, history: RoundHistory, event: Event) -> None:
    _once(history, event, history.verdicts, history.final, history.voided)
    call = decode_call(node, ledger, event.transaction, "settle", history.round)
    history.verdicts = Verdicts(
        payload=bytes(call["payload"]),
        approved=int(event.arguments["approved"]),
        yardstick=int(event.arguments["yardstick"]),
        seed=bytes(event.arguments["seed"]),
        record=bytes(event.arguments["record"]),
        transaction=event.transaction,
        block=event.block,
        sender=str(call["sender"]),
    )


def _read_final(_: Node, __: str, history: RoundHistory, event: Event) -> None:
    _once(history, event, history.final, history.voided)
    history.final = Finalization(
        model_root=bytes(event.arguments["modelRoot"]),
        weights_digest=bytes(event.arguments["weightsDigest"]),
        record=bytes(event.arguments["record"]),
        transaction=event.transaction,
        block=event.block,
    )


def _read_void(_: Node, __: str, history: RoundHistory, event: Event) -> None:
    # Only a round whose anchor was overturned is void after its verdicts.
    _once(history, event, None if history.is_overturned else history.verdicts, history.final, history.voided)
    history.voided = Voiding(
        reason=int(event.arguments["reason"]),
        record=bytes(event.arguments["record"]),
        transaction=event.transaction,
        block=event.block,
    )


def _read_overturning(_: Node, __: str, history: RoundHistory, event: Event) -> None:
    if history.verdicts is None or history.voided is not None:
        raise HistoryError(history.round, event.name, "the round has no verdicts that could be overturned")
    index = int(event.arguments["index"]) if event.name == "ContributionOverturned" else None
    if history.is_overturned or any(item.index == index for item in history.overturnings):
        raise HistoryError(history.round, event.name, "the event comes twice, or too late")
    history.overturnings.append(Overturning(index, history.final is not None, event.transaction, event.block))


def _read_rollback(_: Node, __: str, history: RoundHistory, event: Event) -> None:
    if history.final is None and history.voided is None:
        raise HistoryError(history.round, event.name, "the round was not over")
    arguments = event.arguments
    history.rollbacks.append(
        Rollback(
            int(arguments["fromRound"]),
            int(arguments["toRound"]),
            bytes(arguments["modelRoot"]),
            event.transaction,
            event.block,
        )
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
    "ContributionOverturned": _read_overturning,
    "RoundOverturned": _read_overturning,
    "ModelRolledBack": _read_rollback,
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


@cache
def _selector(function: str) -> bytes:
    types = [item["type"] for item in _functions()[function]["inputs"]]
    return keccak(text=f"{function}({','.join(types)})")[:4]
