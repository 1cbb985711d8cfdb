import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from web3 import AsyncWeb3
from web3.providers.persistent import WebSocketProvider
from web3.utils.subscriptions import LogsSubscription, NewHeadsSubscription
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from ledger.chain import BoundAddress, EmbeddedChain, ServerConfig
from ledger.chain.errors import BindError, PortInUseError, PublicAddressError
from ledger.chain.hosts import bind_address, host_name, may_serve
from ledger.chain.params import INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, Json
from tests.ledger.chain.conftest import REPOSITORY, SMALL, running_server, sign
from tests.ledger.chain.test_chain import deploy, note

JSON_TYPE = {"Content-Type": "application/json"}


def post(
    address: BoundAddress, body: bytes, headers: dict[str, str] | None = None, method: str = "POST"
) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    try:
        connection.request(method, "/", body, JSON_TYPE if headers is None else headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def ask(method: str, *parameters: Json) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}).encode()


def error_code(answer: dict[str, object]) -> object:
    error = answer["error"]
    assert isinstance(error, dict)
    assert isinstance(error["message"], str)
    assert len(error["message"]) < 400
    return error["code"]


HOSTILE = [
    (b"", PARSE_ERROR),
    (b"garbage", PARSE_ERROR),
    (b"\xff\xfe\x00", PARSE_ERROR),
    (b"[" * 100_000, PARSE_ERROR),
    (b'{"a":' * 100_000, PARSE_ERROR),
    (b'{"jsonrpc":"2.0","id":NaN,"method":"eth_chainId"}', PARSE_ERROR),
    (b'{"jsonrpc":"2.0","id":' + b"9" * 10_000 + b',"method":"eth_chainId"}', PARSE_ERROR),
    (b"[]", INVALID_REQUEST),
    (b"null", INVALID_REQUEST),
    (b'"eth_chainId"', INVALID_REQUEST),
    (b"{}", INVALID_REQUEST),
    (b'{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}', INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","method":"eth_chainId"}', INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}', INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":true,"method":"eth_chainId"}', INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","extra":1}', INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{"a":1}}', -32602),
    (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":"x"}', -32602),
    (b'{"jsonrpc":"2.0","id":1,"method":"no_such"}', METHOD_NOT_FOUND),
    (b'{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}', METHOD_NOT_FOUND),
    (b'{"jsonrpc":"2.0","id":"\\ud800","method":"\\ud800"}', METHOD_NOT_FOUND),
]


def test_hostile_bodies_get_an_error_and_the_server_lives(chain: EmbeddedChain) -> None:
    with running_server(chain) as address:
        for body, code in HOSTILE:
            status, answer = post(address, body)
            assert (status, error_code(answer)) == (200, code), body[:80]
        with connect(address.websocket_url, max_size=None) as socket_:
            for body, code in HOSTILE:
                if b"eth_subscribe" in body:
                    continue
                socket_.send(body)
                assert error_code(json.loads(socket_.recv(30))) == code, body[:80]
            socket_.send(ask("eth_chainId").decode())
            assert json.loads(socket_.recv(30))["result"] == "0x7a69"
        assert post(address, ask("eth_chainId")) == (200, {"jsonrpc": "2.0", "id": 1, "result": "0x7a69"})


def test_large_bodies_and_batches_are_refused(chain: EmbeddedChain) -> None:
    config = ServerConfig(port=0, max_body_bytes=10_000, max_batch=5)
    with running_server(chain, config) as address:
        assert post(address, b" " * 20_000)[0] == 413
        batch = b"[" + b",".join([ask("eth_chainId")] * 6) + b"]"
        assert error_code(post(address, batch)[1]) == INVALID_REQUEST
        good = b"[" + b",".join([ask("eth_chainId"), ask("no_such")]) + b"]"
        status, answers = post(address, good)
        assert status == 200
        assert [sorted(set(answer) - {"jsonrpc", "id"}) for answer in answers] == [["result"], ["error"]]
        with connect(address.websocket_url) as socket_:
            socket_.send(" " * 20_000)
            with pytest.raises(Exception, match=r"1009|too big|message"):
                socket_.recv(10)
        assert post(address, ask("eth_chainId"))[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (JSON_TYPE | {"Host": "evil.example"}, 403),
        (JSON_TYPE | {"Host": "evil.example:8545"}, 403),
        (JSON_TYPE | {"Host": "localhost.evil.example"}, 403),
        (JSON_TYPE | {"Host": "192.168.1.1"}, 403),
        (JSON_TYPE | {"Host": ""}, 403),
        (JSON_TYPE | {"Host": "localhost:1"}, 200),
        (JSON_TYPE | {"Host": "LOCALHOST"}, 200),
        (JSON_TYPE | {"Host": "127.0.0.1"}, 200),
        (JSON_TYPE | {"Host": "[::1]:8545"}, 200),
        (JSON_TYPE | {"Host": "ledger.internal"}, 200),
        (JSON_TYPE | {"Origin": "https://evil.example"}, 403),
        (JSON_TYPE | {"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_requests_of_web_pages_are_refused(
    chain: EmbeddedChain, headers: dict[str, str], status: int
) -> None:
    with running_server(chain, ServerConfig(port=0, allowed_hosts=frozenset({"ledger.internal"}))) as address:
        found, _ = post(address, ask("eth_blockNumber"), headers)
        assert found == status


def test_other_methods_and_websockets_of_web_pages_are_refused(chain: EmbeddedChain) -> None:
    with running_server(chain) as address:
        for method in ("GET", "OPTIONS", "PUT", "DELETE"):
            assert post(address, b"", method=method)[0] == 405
        with (
            pytest.raises(InvalidStatus),
            connect(address.websocket_url, origin=Origin("https://evil.example")),
        ):
            pass


def test_host_rules() -> None:
    assert bind_address("localhost", allow_public=False) == "127.0.0.1"
    assert bind_address("::1", allow_public=False) == "::1"
    assert bind_address("0.0.0.0", allow_public=True) == "0.0.0.0"  # noqa: S104
    for public in ("0.0.0.0", "::", "192.168.0.1", "example.org", ""):  # noqa: S104
        with pytest.raises(PublicAddressError):
            bind_address(public, allow_public=False)
    assert host_name("[::1]:80") == "::1"
    assert host_name("A.b:80") == "a.b"
    nothing: frozenset[str] = frozenset()
    assert may_serve("10.0.0.5:8545", host="0.0.0.0", extra=nothing, is_public=True)  # noqa: S104
    assert not may_serve("evil.example", host="0.0.0.0", extra=nothing, is_public=True)  # noqa: S104
    assert not may_serve(None, host="0.0.0.0", extra=nothing, is_public=True)  # noqa: S104


def test_taken_port_and_public_address_are_named(chain: EmbeddedChain) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError) as caught, running_server(chain, ServerConfig(port=port)):
            pass
        assert caught.value.port == port
        assert str(port) in str(caught.value)
        assert "another port" in caught.value.hint
    with pytest.raises(PublicAddressError), running_server(chain, ServerConfig(host="0.0.0.0")):  # noqa: S104
        pass
    with pytest.raises(BindError), running_server(chain, ServerConfig(host="203.0.113.1", allow_public=True)):
        pass


async def test_slow_call_does_not_block_the_loop(chain: EmbeddedChain) -> None:
    # Not a statement about speed: the loop must answer a bad request while the worker is busy.
    probe = f"0x{deploy(chain).hex()}"
    spin: Json = {"to": probe, "data": "0x" + "00" * 4}
    with running_server(chain) as address:
        async with aiohttp.ClientSession() as session:
            url = address.http_url
            with chain.lock:
                busy = asyncio.create_task(session.post(url, data=ask("eth_call", spin), headers=JSON_TYPE))
                await asyncio.sleep(0.1)
                async with session.get(url) as refusal:
                    assert refusal.status == 405
                assert not busy.done()
            (await busy).close()


async def test_subscriptions_deliver_heads_and_logs(chain: EmbeddedChain) -> None:
    probe = deploy(chain)
    heads: list[int] = []
    logs: list[int] = []
    with running_server(chain) as address:
        async with AsyncWeb3(WebSocketProvider(address.websocket_url)) as w3:

            async def on_head(context: object) -> None:
                heads.append(context.result["number"])  # type: ignore[attr-defined]

            async def on_log(context: object) -> None:
                logs.append(int.from_bytes(context.result["topics"][1], "big"))  # type: ignore[attr-defined]
                if len(logs) == 4:
                    await w3.subscription_manager.unsubscribe_all()

            await w3.subscription_manager.subscribe(
                [
                    NewHeadsSubscription(handler=on_head),
                    LogsSubscription(address=w3.to_checksum_address(probe), handler=on_log),
                ]
            )
            await asyncio.to_thread(chain.mine, [note(1, 0, probe, 5), sign(2, 0)])
            await asyncio.to_thread(chain.mine, [note(1, 1, probe, 6), note(1, 2, probe, 7)])
            await w3.eth.send_raw_transaction(note(1, 3, probe, 8))
            await asyncio.wait_for(w3.subscription_manager.handle_subscriptions(), 30)
    assert logs == [5, 6, 7, 8]
    assert heads == [2, 3, 4]


def test_subscription_rules(chain: EmbeddedChain) -> None:
    with running_server(chain) as address, connect(address.websocket_url) as client:

        def call(method: str, *parameters: Json) -> dict[str, object]:
            client.send(ask(method, *parameters))
            answer: dict[str, object] = json.loads(client.recv(30))
            return answer

        for wrong in (
            [],
            ["newPendingTransactions"],
            ["newHeads", {}],
            ["logs", {"fromBlock": "0x0"}],
            ["logs", {"x": 1}],
            ["logs", {}, {}],
        ):
            assert error_code(call("eth_subscribe", *wrong)) == -32602, wrong
        identifier = call("eth_subscribe", "newHeads")["result"]
        chain.mine()
        message = json.loads(client.recv(30))
        assert message["params"]["subscription"] == identifier
        assert message["params"]["result"]["number"] == "0x1"
        assert call("eth_unsubscribe", str(identifier))["result"] is True
        assert call("eth_unsubscribe", str(identifier))["result"] is False
        chain.mine()
        assert call("eth_blockNumber")["result"] == "0x2"
        for _ in range(100):
            call("eth_subscribe", "newHeads")
        assert error_code(call("eth_subscribe", "newHeads")) == -32005


def test_stop_closes_websockets(chain: EmbeddedChain) -> None:
    start = time.monotonic()
    with running_server(chain) as address:
        client = connect(address.websocket_url).__enter__()
    assert time.monotonic() - start < 10
    with pytest.raises(Exception, match=r"1001|going away"):
        client.recv(5)
    client.__exit__(None, None, None)
    assert chain.mine().number == 1


SERVER = """
import sys
from pathlib import Path
from ledger.chain import EmbeddedChain, ServerConfig, run_server
from tests.ledger.chain.conftest import SMALL

def bound(address):
    sys.stdout.write(f"{address.http_url}\\n")
    sys.stdout.flush()

with EmbeddedChain.open(Path(sys.argv[1]), genesis=SMALL) as chain:
    run_server(chain, ServerConfig(port=0), on_bound=bound)
sys.stdout.write("closed\\n")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_server_gracefully(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
        status, _ = post(BoundAddress(host, int(port)), ask("evm_mine"))
        assert status == 200
        os.kill(process.pid, number)
        assert process.stdout.read() == "closed\n"
        assert process.wait(10) == 0
    with EmbeddedChain.open(tmp_path, genesis=SMALL) as chain:
        assert chain.head().block_number == 1
