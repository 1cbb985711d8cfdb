import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse
from websockets.sync.client import ClientConnection, connect

from ledger.chain import (
    BoundAddress,
    EmbeddedChain,
    EmbeddedProvider,
    Genesis,
    LogicalClock,
    RpcDispatcher,
    ServerConfig,
    serve,
)
from ledger.chain.accounts import MNEMONIC, local_keys

SMALL = Genesis(accounts=10)
REPOSITORY = Path(__file__).parents[3]


def sign(
    sender: int,
    nonce: int,
    *,
    to: bytes | None = b"\x11" * 20,
    data: bytes = b"",
    value: int = 0,
    gas: int = 100_000,
    chain_id: int = 31337,
    max_fee: int = 10 * 10**9,
) -> bytes:
    """Sign a transaction of the local account with index ``sender``."""
    fields: dict[str, object] = {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "value": value,
        "gas": gas,
        "maxFeePerGas": max_fee,
        "maxPriorityFeePerGas": 10**9,
        "data": data,
    }
    if to is not None:
        fields["to"] = to
    return bytes(Account.sign_transaction(fields, local_keys(0, 10)[sender].to_bytes()).raw_transaction)


@pytest.fixture
def chain() -> Iterator[EmbeddedChain]:
    with EmbeddedChain.open(None, genesis=SMALL, clock=LogicalClock()) as opened:
        yield opened


@pytest.fixture
def rpc(chain: EmbeddedChain) -> RpcDispatcher:
    return RpcDispatcher(chain)


@contextmanager
def running_server(chain: EmbeddedChain, config: ServerConfig | None = None) -> Iterator[BoundAddress]:
    """Serve a chain from a thread of its own."""
    bound: list[BoundAddress] = []
    failures: list[BaseException] = []
    ready = threading.Event()
    handles: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        handles.append((asyncio.get_running_loop(), stop))

        def on_bound(address: BoundAddress) -> None:
            bound.append(address)
            ready.set()

        await serve(chain, config or ServerConfig(port=0), on_bound=on_bound, stop=stop)

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to the test below
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        assert ready.wait(30)
        if failures:
            raise failures[0]
        yield bound[0]
    finally:
        loop, stop = handles[0]
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        assert not thread.is_alive()


class SyncWebSocketProvider(JSONBaseProvider):
    """web3.py's wire format over a WebSocket, for synchronous tests: binary frames, as web3.py sends them."""

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__()
        self._connection = connection

    def make_request(self, method: RPCEndpoint, params: object) -> RPCResponse:
        self._connection.send(self.encode_rpc_request(method, params))
        answer = self._connection.recv(60)
        return self.decode_rpc_response(answer.encode() if isinstance(answer, str) else answer)


def find_binary(name: str) -> Path:
    """Find anvil or cast, or skip the test."""
    default = REPOSITORY / f"contracts/node_modules/@foundry-rs/{name}-linux-amd64/bin/{name}"
    path = Path(os.environ.get(f"HALLMARK_{name.upper()}", default))
    if not path.exists():
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed; set HALLMARK_{name.upper()}")
        path = Path(found)
    return path


@contextmanager
def running_anvil(*options: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(str(find_binary("anvil")), "--port", str(port), "--silent"),
        *("--chain-id", "31337", "--mnemonic", MNEMONIC, "--hardfork", "prague", "--accounts", "10"),
        *options,
    ]
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@contextmanager
def _closing_http(url: str) -> Iterator[Web3]:
    provider = HTTPProvider(url)
    try:
        yield Web3(provider)
    finally:
        for session in provider._request_session_manager.session_cache._data.values():
            session.close()


@pytest.fixture(params=["in-process", "http", "websocket", pytest.param("anvil", marks=pytest.mark.node)])
def w3(request: pytest.FixtureRequest) -> Iterator[Web3]:
    """The same client over every way to reach a chain."""
    if request.param == "anvil":
        with running_anvil() as url, _closing_http(url) as client:
            yield client
        return
    with EmbeddedChain.open(None, genesis=SMALL) as opened:
        if request.param == "in-process":
            yield Web3(EmbeddedProvider(RpcDispatcher(opened)))
            return
        with running_server(opened) as address:
            if request.param == "http":
                with _closing_http(address.http_url) as client:
                    yield client
            else:
                with connect(address.websocket_url, max_size=None) as connection:
                    yield Web3(SyncWebSocketProvider(connection))
