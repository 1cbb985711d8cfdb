"""The border to web3: what a node may answer, and what becomes of it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import requests
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from ledger.asking import NodeAnswerError, NodeUnavailableError
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


@pytest.mark.parametrize(
    ("refusal", "shown"),
    [
        ({"code": -32000, "message": "header not found"}, "header not found"),
        ({"code": -32005, "message": "no", "data": "range of 9000 blocks"}, "no: range of 9000 blocks"),
        ({"code": -32000, "message": "no", "data": "0x08c379a0"}, "no"),
        ({"code": -32000, "message": "a\x1b[2Jb\nc"}, "a [2Jb c"),
        ({"code": -32000, "message": "m" * 10_000}, "m" * 400 + "…"),
        ({"code": -32000}, "-32000"),
        ("no", "no"),
        (["\x1b"] * 1000, "\\x1b"),
    ],
)
def test_what_a_node_refuses_is_told_in_its_words(refusal: Any, shown: str) -> None:
    node = Node(Canned(lambda *_: {"error": refusal}))
    for question in (node.block_number, lambda: node.request("eth_blockNumber")):
        with pytest.raises(NodeAnswerError) as caught:
            question()
        assert shown in str(caught.value)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500


BLOCK = {"number": "0x7", "timestamp": "0x9", "hash": "0x" + "ab" * 32}


@pytest.mark.parametrize("name", BLOCK)
@pytest.mark.parametrize("value", [None, [], {}, "0x", "no", "left out"])
def test_a_block_without_number_time_or_hash_is_the_environments_fault(name: str, value: Any) -> None:
    assert Node(Canned(lambda *_: BLOCK)).block()["number"] == 7
    without = {key: item for key, item in BLOCK.items() if key != name}
    answer = without if value == "left out" else {**BLOCK, name: value}
    node = Node(Canned(lambda *_: answer))
    for question in (node.block, lambda: node.block(7), node.timestamp):
        with pytest.raises(NodeAnswerError, match="read block"):
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


@pytest.mark.parametrize("logs", [[{}], [{"address": 7}], "0x", [None], [{"topics": []}]])
def test_logs_that_are_none_are_the_environments_fault(logs: Any) -> None:
    with pytest.raises(NodeAnswerError):
        Node(Canned(lambda *_: logs)).logs("0x" + "12" * 20)


def test_another_chain_is_refused(node: Node) -> None:
    with pytest.raises(WrongChainError):
        Node(node.web3.provider, expected_chain_id=5)


@pytest.mark.parametrize("url", ["", "localhost:8545", "ws://x", "file:///etc/passwd"])
def test_connect_takes_http_only(url: str) -> None:
    with pytest.raises(InputError, match="not an http"):
        Node.connect(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://a..b/x", f"http://{'a' * 70}.b"])
def test_connect_to_nobody_is_unavailable(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("ledger.asking.time.sleep", lambda _: None)
    with pytest.raises(NodeUnavailableError) as caught:
        Node.connect(url)
    assert "--rpc-url" in caught.value.hint


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
