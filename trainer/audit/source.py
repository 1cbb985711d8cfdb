"""What an audit asks of a chain: seven questions, answered by a node or by a bundle."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from web3.providers.base import BaseProvider, JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from ledger.node import Node


class Source(Protocol):
    """A chain as an audit sees it; parameters and answers are those of JSON-RPC, before any decoding.

    Whatever it answers may be false: an audit checks it.
    """

    def chain_id(self) -> Any:
        """Give the chain id, a quantity."""

    def head(self) -> Any:
        """Give the number of the newest block, a quantity."""

    def block(self, number: str) -> Any:
        """Give the header of a block by its number in hex or "latest"; None if there is no such block."""

    def code(self, address: str) -> Any:
        """Give the code at an address, on the newest state."""

    def logs(self, query: Mapping[str, Any]) -> Any:
        """Give the logs of one contract in a range of blocks: `address`, `fromBlock`, `toBlock`, `topics`."""

    def transaction(self, transaction_hash: str) -> Any:
        """Give a transaction that one of those logs names; None if there is none."""

    def call(self, request: Mapping[str, Any]) -> Any:
        """Evaluate a view, `to` and `data`, on the newest state."""


class RefusedError(Exception):
    """A source refused a question.

    Attributes:
        error: JSON-RPC's error object.
    """

    def __init__(self, error: Any) -> None:
        super().__init__(str(error))
        self.error = error


class NodeSource:
    """A node, asked no more than that."""

    def __init__(self, provider: BaseProvider) -> None:
        self._provider = provider

    def chain_id(self) -> Any:
        """Give the chain id."""
        return self._ask("eth_chainId")

    def head(self) -> Any:
        """Give the number of the newest block."""
        return self._ask("eth_blockNumber")

    def block(self, number: str) -> Any:
        """Give a header."""
        return self._ask("eth_getBlockByNumber", number, False)

    def code(self, address: str) -> Any:
        """Give the code at an address."""
        return self._ask("eth_getCode", address, "latest")

    def logs(self, query: Mapping[str, Any]) -> Any:
        """Give logs."""
        return self._ask("eth_getLogs", dict(query))

    def transaction(self, transaction_hash: str) -> Any:
        """Give a transaction."""
        return self._ask("eth_getTransactionByHash", transaction_hash)

    def call(self, request: Mapping[str, Any]) -> Any:
        """Evaluate a view."""
        return self._ask("eth_call", dict(request), "latest")

    def _ask(self, method: str, *parameters: Any) -> Any:
        response = self._provider.make_request(RPCEndpoint(method), list(parameters))
        if "error" in response:
            raise RefusedError(response["error"])
        return response.get("result")


class SourceProvider(JSONBaseProvider):
    """Lets the client of a ledger read a source, and nothing else."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._answers: dict[str, Callable[[Sequence[Any]], Any]] = {
            "eth_chainId": lambda _: source.chain_id(),
            "eth_blockNumber": lambda _: source.head(),
            "eth_getBlockByNumber": lambda p: source.block(p[0]),
            "eth_getCode": lambda p: source.code(p[0]),
            "eth_getLogs": lambda p: source.logs(p[0]),
            "eth_getTransactionByHash": lambda p: source.transaction(p[0]),
            "eth_call": lambda p: source.call(p[0]),
        }

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Answer one of the seven questions; refuse all others."""
        answer = self._answers.get(method)
        if answer is None:
            error = {"code": -32601, "message": f"an audit does not ask {method}"}
            return {"jsonrpc": "2.0", "id": 1, "error": error}  # type: ignore[typeddict-item]
        try:
            return {"jsonrpc": "2.0", "id": 1, "result": answer(params)}
        except RefusedError as refused:
            return {"jsonrpc": "2.0", "id": 1, "error": refused.error}


def reading(source: Source) -> Node:
    """Give a node that can be asked what a source answers.

    Raises:
        EnvironmentFault: It does not even tell its chain id.
    """
    return Node(SourceProvider(source))


def narrowed(node: Node) -> Node:
    """Give the same chain, but for reading what an audit needs."""
    return reading(NodeSource(node.web3.provider))
