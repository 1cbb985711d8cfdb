"""The embedded chain over HTTP and WebSocket, on one port."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from ledger.chain import params
from ledger.chain.chain import EmbeddedChain
from ledger.chain.errors import BindError, PortInUseError
from ledger.chain.hosts import bind_address, may_serve
from ledger.chain.params import RpcError
from ledger.chain.rpc import RpcDispatcher, RpcLimits
from ledger.chain.subscriptions import SubscribingDispatcher
from ledger.chain.wire import answer_body, encode, failure

_QUEUED_MESSAGES: Final = 20_000
_HEARTBEAT_S: Final = 30.0
_SHUTDOWN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where and how to serve.

    Attributes:
        host: Address to listen on: an IP address or ``localhost``.
        port: Port to listen on; 0 picks a free one.
        allow_public: Whether ``host`` may be reached from other machines. Whoever
            reaches it can spend the local accounts.
        allowed_hosts: Further names under which clients may address it.
        max_body_bytes: Largest request, or WebSocket message.
        max_batch: Most requests of one batch.
        max_websockets: Most WebSocket connections at a time.
        limits: What one request may cost.
    """

    host: str = "127.0.0.1"
    port: int = 8545
    allow_public: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    max_body_bytes: int = 16 << 20
    max_batch: int = 1_000
    max_websockets: int = 256
    limits: RpcLimits = field(default_factory=RpcLimits)


@dataclass(frozen=True, slots=True)
class BoundAddress:
    """Where the server listens.

    Attributes:
        host: Its address.
        port: Its port, also where 0 was asked for.
    """

    host: str
    port: int

    @property
    def http_url(self) -> str:
        """URL for HTTP."""
        return f"http://{self._authority}"

    @property
    def websocket_url(self) -> str:
        """URL for WebSocket."""
        return f"ws://{self._authority}"

    @property
    def _authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class _Session:
    """One WebSocket connection: a reader, and a writer behind a bounded queue."""

    def __init__(self, server: _Server, socket: web.WebSocketResponse) -> None:
        self._server = server
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[str] = asyncio.Queue(_QUEUED_MESSAGES)
        self._dispatcher = SubscribingDispatcher(server.dispatcher, self._send_from_any_thread)
        self._lagging = False

    async def run(self) -> None:
        writer = asyncio.create_task(self._write())
        try:
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._server.in_worker(self._answer, message.data)
        finally:
            self._dispatcher.close()
            writer.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await writer

    async def close(self) -> None:
        await self._socket.close(code=WSCloseCode.GOING_AWAY, message=b"server stops")

    def _answer(self, body: bytes | str) -> None:
        # Under the lock until the answer is queued: a notification must not overtake the
        # answer that tells the client its subscription's id.
        with self._server.dispatcher.chain.lock:
            self._send_from_any_thread(
                encode(answer_body(self._dispatcher, body, max_batch=self._server.config.max_batch))
            )

    def _send_from_any_thread(self, text: str) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is listening any more
            self._loop.call_soon_threadsafe(self._enqueue, text)

    def _enqueue(self, text: str) -> None:
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            # A client that does not read must not fill the memory; it can reconnect and ask for logs.
            self._lagging = True

    async def _write(self) -> None:
        while True:
            text = await self._queue.get()
            if self._lagging:
                await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"client reads too slowly")
                return
            await self._socket.send_str(text)


class _Server:
    def __init__(self, chain: EmbeddedChain, config: ServerConfig) -> None:
        self.config = config
        self.dispatcher = RpcDispatcher(chain, limits=config.limits)
        # One thread: the chain takes one request at a time anyway, and the loop stays free.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chain")
        self._sessions: set[_Session] = set()

    def application(self) -> web.Application:
        application = web.Application(client_max_size=self.config.max_body_bytes)
        application.router.add_route("*", "/", self._route)
        application.on_shutdown.append(self._shut_down)
        return application

    async def in_worker(self, work: Callable[[bytes | str], None], body: bytes | str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._worker, work, body)

    def stop_worker(self) -> None:
        self._worker.shutdown(wait=True)

    async def _shut_down(self, _: web.Application) -> None:
        await asyncio.gather(*(session.close() for session in tuple(self._sessions)))

    async def _route(self, request: web.Request) -> web.StreamResponse:
        config = self.config
        if not may_serve(
            request.headers.get("Host"),
            host=config.host,
            extra=config.allowed_hosts,
            is_public=config.allow_public,
        ):
            return _refusal(
                HTTPStatus.FORBIDDEN, "invalid host specified: this server answers to its own names only"
            )
        if "Origin" in request.headers:
            # Browsers always send it across sites; a WebSocket or a plain form needs no CORS to do harm.
            return _refusal(HTTPStatus.FORBIDDEN, "requests from web pages are refused")
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._websocket(request)
        if request.method != "POST":
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "send JSON-RPC by POST, or open a WebSocket")
        if request.content_type != "application/json":
            return _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")
        return await self._post(request)

    async def _post(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            limit = self.config.max_body_bytes
            return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"request is larger than {limit} bytes")
        text = await asyncio.get_running_loop().run_in_executor(self._worker, self._answer, body)
        return web.Response(text=text, content_type="application/json")

    def _answer(self, body: bytes) -> str:
        return encode(answer_body(self.dispatcher, body, max_batch=self.config.max_batch))

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if len(self._sessions) >= self.config.max_websockets:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
        socket = web.WebSocketResponse(
            max_msg_size=self.config.max_body_bytes, heartbeat=_HEARTBEAT_S, timeout=_SHUTDOWN_S
        )
        await socket.prepare(request)
        session = _Session(self, socket)
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
        return socket


async def serve(
    chain: EmbeddedChain,
    config: ServerConfig | None = None,
    *,
    on_bound: Callable[[BoundAddress], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve a chain until told to stop, or cancelled. The chain stays open.

    Args:
        chain: The open chain.
        config: Where and how to serve; the defaults if None.
        on_bound: Called once with the address when clients can connect.
        stop: Ends the service when set; requests in progress are finished first.

    Raises:
        PublicAddressError: The host is not a loopback address, and that is not allowed.
        PortInUseError: Somebody else listens there.
        BindError: The address cannot be bound for another reason.
    """
    config = config or ServerConfig()
    address = bind_address(config.host, allow_public=config.allow_public)
    server = _Server(chain, config)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=_SHUTDOWN_S)
    try:
        await runner.setup()
        await _listen(runner, address, config.port)
        if on_bound is not None:
            bound = runner.addresses[0]
            on_bound(BoundAddress(str(bound[0]), int(bound[1])))
        await (stop or asyncio.Event()).wait()
    finally:
        await runner.cleanup()
        server.stop_worker()


def run_server(
    chain: EmbeddedChain,
    config: ServerConfig | None = None,
    *,
    on_bound: Callable[[BoundAddress], None] | None = None,
) -> None:
    """Serve a chain on the main thread until SIGINT or SIGTERM.

    Args:
        chain: The open chain; the caller closes it afterwards.
        config: Where and how to serve; the defaults if None.
        on_bound: Called once with the address when clients can connect.

    Raises:
        PublicAddressError: The host is not a loopback address, and that is not allowed.
        PortInUseError: Somebody else listens there.
        BindError: The address cannot be bound for another reason.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await serve(chain, config, on_bound=on_bound, stop=stop)

    asyncio.run(main())


async def _listen(runner: web.AppRunner, address: str, port: int) -> None:
    try:
        await web.TCPSite(runner, address, port).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(address, port) from error
        raise BindError(address, port, error.strerror or str(error)) from error


def _refusal(status: HTTPStatus, message: str) -> web.Response:
    body = encode(failure(None, RpcError(params.INVALID_REQUEST, message)))
    return web.Response(status=status, text=body, content_type="application/json")
