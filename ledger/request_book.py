"""A DataRequests contract on a node: what was asked for, asking, and closing."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address

from ledger import artifacts
from ledger.challenges import Opening, RequestKey, RequestKind, ask, close
from ledger.client import LedgerClient, check_code, has_code
from ledger.deployment import NO_ADDRESS
from ledger.node import Node, NodeAnswerError, Sent

_GAS = 2_000_000


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


class RequestBook:
    """A DataRequests contract."""

    def __init__(self, node: Node, address: str) -> None:
        """Bind to a contract and read its constants.

        Raises:
            NotOurContractError: No code there, or not this version's.
            EnvironmentFault: The node failed.
        """
        check_code(node, address, "DataRequests")
        self.node = node
        self.address = to_checksum_address(address)
        contract = node.web3.eth.contract(address=self.address, abi=artifacts.load("DataRequests").abi)
        self._functions: Any = contract.functions
        self.bond_wei = int(node.call(self._functions.requestBondWei()))
        self.answer_window_s = int(node.call(self._functions.answerWindowS()))

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
        data = ask(key, opening)
        return self.node.send_data(
            sender, self.address, data, "request data", local_gas=_GAS, value_wei=self.bond_wei
        )

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
