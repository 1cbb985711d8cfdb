"""The border to web3: what a node may answer, and what becomes of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import requests
from eth_utils import to_checksum_address
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from ledger.asking import NodeAnswerError, NodeUnavailableError, ask
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.errors import EnvironmentFault, InputError
from ledger.node import Node, WrongChainError
from ledger.parties import local_parties

Answer = Callable[[str, Sequence[Any]], Any]


class Canned(JSONBaseProvider):
    """A node that answers by a function: a result, or an exception to raise."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        found = "0x7a69" if method == "eth_chainId" else self._answer(method, params)
        if isinstance(found, Exception):
            raise found
        if isinstance(found, dict) and "error" in found:
            return {"jsonrpc": "2.0", "id": 1, "error": found["error"]}
        return {"jsonrpc": "2.0", "id": 1, "result": found}


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.node.time.sleep", lambda _: None)


@pytest.fixture
def node() -> Iterator[Node]:
    with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
        yield Node(EmbeddedProvider(RpcDispatcher(chain)))


@pytest.mark.parametrize(
    "error", [ConnectionError(), TimeoutError(), requests.ConnectionError(), requests.Timeout()]
)
def test_node_that_does_not_answer_is_unavailable(error: Exception) -> None:
    with pytest.raises(NodeUnavailableError, match="does not answer") as caught:
        Node(Canned(lambda *_: error)).block_number()
    assert "nothing was lost" in caught.value.hint


@contextmanager
def server(status: int, parts: Iterable[bytes]) -> Iterator[str]:
    """A server that answers everything with these bytes; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            with suppress(ConnectionError):
                for part in parts:
                    self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = Thread(target=served.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_port}"
        finally:
            served.shutdown()
            thread.join()


def test_http_status_is_told_and_the_key_in_the_url_is_not() -> None:
    with (
        server(403, [b"no"]) as url,
        pytest.raises(NodeUnavailableError, match="HTTP status 403") as caught,
    ):
        Node.connect(f"{url}/secret")
    assert "secret" not in str(caught.value)


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of it is bounded, and it is not asked for again."""
    monkeypatch.setattr("ledger.node._ANSWER_BYTES_MAX", 1 << 20)
    sent = []

    def endless() -> Iterator[bytes]:
        while True:
            sent.append(1 << 16)
            yield bytes(1 << 16)

    with server(200, endless()) as url, pytest.raises(NodeAnswerError, match="more than 1048576 bytes"):
        Node.connect(url)
    assert sum(sent) < 64 << 20


def test_an_answer_may_be_as_large_as_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b'{"jsonrpc": "2.0", "id": 0, "result": "0x7a69"}'
    monkeypatch.setattr("ledger.node._ANSWER_BYTES_MAX", len(answer))
    with server(200, [answer[:9], answer[9:]]) as url:
        assert Node.connect(url).chain_id == 31337


def test_node_that_answers_the_fourth_time_is_good_enough() -> None:
    tries: list[str] = []

    def answer(method: str, _: Sequence[Any]) -> Any:
        tries.append(method)
        return "0x10" if len(tries) == 4 else ConnectionError()

    assert Node(Canned(answer)).block_number() == 16


@pytest.mark.parametrize("result", ["zz", None, {}, [], "0xzz", {"error": {"code": -32000, "message": "no"}}])
def test_nonsense_is_the_environments_fault(result: Any) -> None:
    node = Node(Canned(lambda *_: result))
    for question in (
        node.block_number,
        node.block,
        node.timestamp,
        lambda: node.transaction(bytes(32)),
        lambda: node.gas_used(bytes(32)),
    ):
        with pytest.raises(EnvironmentFault):
            question()


@pytest.mark.parametrize("response", [None, 7, [1], "no"])
def test_a_response_that_is_no_object_is_the_environments_fault(
    monkeypatch: pytest.MonkeyPatch, response: Any
) -> None:
    node = Node(Canned(lambda *_: "0x0"))
    monkeypatch.setattr(Canned, "make_request", lambda *_: response)
    with pytest.raises(NodeAnswerError):
        node.request("eth_getBlockByNumber", "0x0", True)
    with pytest.raises(EnvironmentFault):
        Node(Canned(lambda *_: "0x0"))


BODIES = {
    "lists": b"[" * 200_000,
    "objects": b'{"result":' * 200_000,
    "no text": b"\xff",
    "NaN": b"NaN",
    "": b"",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_answer_that_is_no_json_or_nested_without_end_is_the_environments_fault(
    body: bytes,
) -> None:
    with server(200, [body]) as url, pytest.raises(NodeAnswerError, match="makes no sense"):
        Node.connect(url)


@pytest.mark.parametrize("logs", [[{}], [{"address": 7}], "0x", [None], [{"topics": []}]])
def test_logs_that_are_none_are_the_environments_fault(logs: Any) -> None:
    with pytest.raises(NodeAnswerError):
        Node(Canned(lambda *_: logs)).logs("0x" + "12" * 20)


def test_what_a_node_refuses_is_told_in_its_words() -> None:
    node = Node(Canned(lambda *_: {"error": {"code": -32603, "message": "the disk is full"}}))
    address = to_checksum_address("0x" + "11" * 20)
    with pytest.raises(NodeAnswerError) as caught:
        ask(lambda: node.web3.eth.get_balance(address), "balance")
    assert str(caught.value) == "balance: the disk is full"


def test_another_chain_is_refused(node: Node) -> None:
    with pytest.raises(WrongChainError):
        Node(node.web3.provider, expected_chain_id=5)


@pytest.mark.parametrize("url", ["", "localhost:8545", "ws://x", "file:///etc/passwd"])
def test_connect_takes_http_only(url: str) -> None:
    with pytest.raises(InputError, match="not an http"):
        Node.connect(url)


def test_connect_to_nobody_is_unavailable() -> None:
    with pytest.raises(NodeUnavailableError):
        Node.connect("http://127.0.0.1:9")


def test_what_is_no_address_is_the_callers_fault(node: Node) -> None:
    for question in (node.code, node.logs):
        with pytest.raises(InputError, match="not an address"):
            question("0x12")


def test_waiting_mines_on_a_local_chain(node: Node) -> None:
    node.wait_for_block(3)
    assert node.block_number() == 3
    node.wait_until(node.timestamp() + 1000)
    assert node.block_number() == 4
    node.wait_until(node.timestamp())
    assert node.block_number() == 4


def test_local_chain_that_cannot_mine_says_so() -> None:
    def answer(method: str, _: Sequence[Any]) -> Any:
        return (
            "0x0"
            if method == "eth_blockNumber"
            else {"error": {"code": -32601, "message": "method not found"}}
        )

    with pytest.raises(NodeAnswerError, match="evm_mine"):
        Node(Canned(answer)).wait_for_block(1)


def test_nonce_counts_mined_transactions(node: Node) -> None:
    assert node.nonce(local_parties(1).operator.address) == 0


class Raced(JSONBaseProvider):
    """A node that says an account's nonce, and lets another sender be quicker so many times."""

    def __init__(self, inner: EmbeddedProvider, times: int) -> None:
        super().__init__()
        self._inner, self._times = inner, times
        self.refused: list[str] = []

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        response = self._inner.make_request(method, params)
        if method == "eth_getTransactionCount" and self._times:
            self._times -= 1
            return {**response, "result": hex(int(str(response["result"]), 16) - 1)}
        if method == "eth_sendRawTransaction" and "error" in response:
            self.refused.append(str(response["error"]))
        return response


def pay(node: Node) -> int:
    operator, other = local_parties(1).operator, local_parties(1).guard.identity.address
    return node.transfer(operator, other, 7).block


def test_two_senders_of_one_key_both_get_through() -> None:
    with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
        provider = EmbeddedProvider(RpcDispatcher(chain))
        pay(Node(provider))
        raced = Raced(provider, times=2)
        guard = local_parties(1).guard.identity.address
        before = Node(provider).balance_wei(guard)
        pay(Node(raced))
        assert len(raced.refused) == 2
        assert Node(provider).balance_wei(guard) == before + 7, "paid once"


def test_a_nonce_that_is_never_taken_is_an_error() -> None:
    with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
        provider = EmbeddedProvider(RpcDispatcher(chain))
        pay(Node(provider))
        with pytest.raises(NodeAnswerError, match="nonce too low"):
            pay(Node(Raced(provider, times=100)))
