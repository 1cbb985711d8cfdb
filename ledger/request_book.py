"""A DataRequests contract on a node: what was asked for, asking, answering, and closing."""

from dataclasses import dataclass
from enum import IntEnum

from eth_account.signers.local import LocalAccount
from eth_utils import to_canonical_address, to_checksum_address

from ledger.asking import NodeAnswerError
from ledger.challenges import CommitmentOpening, Opening, RequestKey, RequestKind, ask, ask_sealed, close
from ledger.client import LedgerClient, functions_at, has_code
from ledger.deployment import NO_ADDRESS
from ledger.history import decode_log, event_topic
from ledger.node import Node
from ledger.sending import Sent

CONTRACT = "DataRequests"

_GAS = 2_000_000
_ANSWER_GAS = 3_000_000
_KINDS = frozenset(RequestKind)


class RequestStatus(IntEnum):
    """What became of a request."""

    NONE = 0
    OPEN = 1
    ANSWERED = 2
    UNANSWERED = 3


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as the contract has it.

    Attributes:
        status: What became of it.
        answer_by: Last second, Unix time of the chain, in which an answer counts; 0 if it was never made.
    """

    status: RequestStatus
    answer_by: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as its event tells it.

    Attributes:
        key: What was asked for.
        root: The root that an answer must lead to, 32 bytes.
        answer_by: Last second, Unix time of the chain, in which an answer counts.
        asker: Who has put up the bond.
    """

    key: RequestKey
    root: bytes
    answer_by: int
    asker: str


class RequestBook:
    """A DataRequests contract."""

    def __init__(self, node: Node, address: str) -> None:
        """Bind to a contract and read its constants.

        Raises:
            NotOurContractError: No code there, or not this version's.
            EnvironmentFault: The node failed.
        """
        self.node = node
        self.address = to_checksum_address(address)
        self._functions = functions_at(node, self.address, CONTRACT)
        self.bond_wei = int(node.call(self._functions.requestBondWei()))
        self.answer_window_s = int(node.call(self._functions.answerWindowS()))

    def asked_of(self, ledger: str, first_block: int = 0, last_block: int | None = None) -> list[Asked]:
        """Read what was asked for about a ledger's rounds, oldest first.

        Args:
            ledger: Its address.
            first_block: First block to look into.
            last_block: Last one; None for the newest.

        Raises:
            HistoryError: A log has not the form that it must have.
            EnvironmentFault: The node failed.
        """
        wanted = to_checksum_address(ledger)
        about = bytes(12) + to_canonical_address(ledger)
        found = []
        topics = [event_topic(CONTRACT, "DataRequested"), None, about]
        for log in self.node.logs(self.address, first_block, last_block, topics):
            event = decode_log(log, CONTRACT)
            if event is None or event.name != "DataRequested":
                continue
            arguments = event.arguments
            if to_checksum_address(arguments["ledger"]) != wanted or int(arguments["kind"]) not in _KINDS:
                continue  # a node that ignores what it was asked
            key = RequestKey(
                wanted,
                int(arguments["round"]),
                int(arguments["index"]),
                RequestKind(int(arguments["kind"])),
                int(arguments["height"]),
                int(arguments["position"]),
            )
            asker = to_checksum_address(arguments["asker"])
            found.append(Asked(key, bytes(arguments["root"]), int(arguments["answerBy"]), asker))
        return found

    def answer_to(self, key: RequestKey, first_block: int = 0) -> bytes | None:
        """Read the data of the transaction that answered a request; None if the node knows none.

        Raises:
            EnvironmentFault: The node failed.
        """
        topics = [event_topic(CONTRACT, "DataRequestAnswered"), key.id]
        logs = self.node.logs(self.address, first_block, None, topics)
        if not logs:
            return None
        return bytes(self.node.transaction(bytes(logs[-1]["transactionHash"]))["input"])

    def credit_of(self, owner: str) -> int:
        """Read the bonds, in wei, that are owed to somebody."""
        return int(self.node.call(self._functions.creditOf(to_checksum_address(owner))))

    def request_of(self, key: RequestKey) -> Request:
        """Read what became of a request."""
        _, answer_by, status, _ = self.node.call(self._functions.requestOf(key.id))
        if not 0 <= int(status) < len(RequestStatus):
            raise NodeAnswerError(f"the node says that a request has the status {status}")
        return Request(RequestStatus(int(status)), int(answer_by))

    def unanswered_of(self, ledger: str, round_: int) -> dict[RequestKind, int]:
        """Read the bitmaps of the members that were asked in vain, by kind of request."""
        return {
            kind: int(self.node.call(self._functions.unansweredOf(ledger, round_, int(kind))))
            for kind in RequestKind
        }

    def ask(self, sender: LocalAccount, key: RequestKey, opening: Opening) -> Sent:
        """Ask for something of a settled or final round, with the bond (anybody).

        Raises:
            RevertedError: The contract refused; somebody may have asked before.
            EnvironmentFault: The node failed.
        """
        return self._ask(sender, ask(key, opening), "request data")

    def ask_sealed(self, sender: LocalAccount, key: RequestKey, opening: CommitmentOpening) -> Sent:
        """Ask for a segment of a sealed round, with the bond (anybody).

        Raises:
            RevertedError: The contract refused; somebody may have asked before.
            EnvironmentFault: The node failed.
        """
        return self._ask(sender, ask_sealed(key, opening), "request a segment")

    def answer(self, sender: LocalAccount, calldata: bytes) -> Sent:
        """Answer a request; the bond is then owed to the sender (anybody).

        Args:
            sender: Who answers.
            calldata: Of a SegmentAnswer, TraceAnswer or FaultAnswer that was checked.

        Raises:
            RevertedError: The contract refused; somebody may have answered before.
            EnvironmentFault: The node failed.
        """
        return self.node.send_data(sender, self.address, calldata, "answer a request", local_gas=_ANSWER_GAS)

    def close(self, sender: LocalAccount, key: RequestKey) -> Sent:
        """Close a request whose time is over without an answer (anybody).

        Raises:
            RevertedError: The contract refused; somebody may have closed or answered it.
            EnvironmentFault: The node failed.
        """
        return self.node.send_data(sender, self.address, close(key), "close a request", local_gas=_GAS)

    def claim(self, owner: LocalAccount) -> Sent:
        """Take back the bonds that are owed to the sender (anybody).

        Raises:
            RevertedError: Nothing is owed.
            EnvironmentFault: The node failed.
        """
        return self.node.send(owner, self._functions.claim(owner.address), local_gas=_GAS)

    def _ask(self, sender: LocalAccount, data: bytes, action: str) -> Sent:
        return self.node.send_data(
            sender, self.address, data, action, local_gas=_GAS, value_wei=self.bond_wei
        )


def request_book(client: LedgerClient) -> RequestBook | None:
    """Give the DataRequests contract that a ledger names; None if it names none, or its guards vote instead.

    Raises:
        NotOurContractError: It names a contract of another make.
        EnvironmentFault: The node failed.
    """
    address = client.facts.data_requests
    if address == NO_ADDRESS or has_code(client.node, address, "GuardVotes"):
        return None
    return RequestBook(client.node, address)
