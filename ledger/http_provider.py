"""JSON-RPC over HTTP with an end to every answer: in bytes, and in time.

The timeout that HTTP libraries offer is one for each read, so a node that sends a byte now and then would
hold a call for ever. Here all that a node is waited for, from the connection to the last byte, has to be over
within one deadline.
"""

import http.client
import io
import math
import socket
import time
from contextvars import ContextVar
from typing import Any, cast

import requests
from eth_typing import URI
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from web3 import HTTPProvider
from web3.types import RPCEndpoint, RPCResponse

from ledger.asking import AnswerTimeoutError
from ledger.strict_json import loads

ANSWER_TIMEOUT_S = 300.0
"""For a whole answer: the largest that is read still comes over a line of 8 Mbit/s."""

_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 60.0
_PART_BYTES = 1 << 16
_SENT_BYTES = 1 << 14
_ANSWER_BYTES_MAX = 1 << 28

_until: ContextVar[float] = ContextVar("_until", default=math.inf)


class HttpProvider(HTTPProvider):
    """A node by URL. A lost connection is not tried again here; `ledger.asking.ask` does that."""

    def __init__(self, rpc_url: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Prepare a session; nothing is sent yet.

        Args:
            rpc_url: An http(s) URL.
            answer_timeout_s: Most seconds for one request and its whole answer.
        """
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter())
        super().__init__(
            rpc_url,
            request_kwargs={"timeout": (_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S)},
            session=session,
            exception_retry_configuration=None,
        )
        self._answer_timeout_s = answer_timeout_s

    def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:  # noqa: ARG002
        """Ask, and read the answer as far as it is not too long.

        Raises:
            AnswerTimeoutError: It was not whole in time.
            ValueError: It is too long, or leads elsewhere.
            requests.RequestException: No connection, or an HTTP status that says so.
        """
        until = time.monotonic() + self._answer_timeout_s
        token = _until.set(until)
        try:
            return self._answer(request_data)
        except (requests.RequestException, OSError) as error:
            if time.monotonic() < until:
                raise
            raise AnswerTimeoutError(self._answer_timeout_s) from error
        finally:
            _until.reset(token)

    def _answer(self, request_data: bytes) -> bytes:
        body = bytearray()
        with self._request_session_manager.get_response_from_post_request(
            URI(str(self.endpoint_uri)),
            data=request_data,
            stream=True,
            allow_redirects=False,  # on the way there, what else is sent would be read without a limit
            **self.get_request_kwargs(),
        ) as response:
            response.raise_for_status()
            if response.is_redirect:
                raise ValueError("it leads to another address; if that is meant, name it with --rpc-url")
            for part in response.iter_content(_PART_BYTES):
                body += part
                if len(body) > _ANSWER_BYTES_MAX:
                    raise ValueError(f"it has more than {_ANSWER_BYTES_MAX} bytes")
        return bytes(body)

    @staticmethod
    def decode_rpc_response(raw_response: bytes) -> RPCResponse:
        """Parse an answer; one that is nested without end must not end the process."""
        return cast(RPCResponse, loads(raw_response))


def _left_s(at_most_s: float | None) -> float:
    """Give the seconds that a wait may last; a TimeoutError if the deadline is over."""
    left = _until.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline is over")
    return left if at_most_s is None else min(left, at_most_s)


class _Reader(io.RawIOBase):
    """What comes over a socket; each read gets no more time than is left."""

    def __init__(self, connection: socket.socket, raw: io.RawIOBase) -> None:
        self._connection, self._raw = connection, raw
        self._timeout_s = connection.gettimeout()

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(_left_s(self._timeout_s))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Reader(sock, cast(Any, self.fp).detach()))


class _HttpConnection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        """Connect to one of the host's addresses, of which there may be any number."""
        failure: OSError | None = None
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise requests.exceptions.InvalidURL("the URL has no host's name") from error
        for family, kind, protocol, _, address in addresses:
            made = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    made.setsockopt(*option)
                made.settimeout(_left_s(_CONNECT_TIMEOUT_S))
                made.connect(address)
            except OSError as error:
                made.close()
                failure = error
            else:
                return made
        raise failure or OSError("the host has no address")

    def send(self, data: Any) -> None:
        """Send a request in parts: over TLS a timeout is one for each record."""
        for start in range(0, len(data), _SENT_BYTES):
            if self.sock is not None:
                self.sock.settimeout(_left_s(_READ_TIMEOUT_S))
            super().send(data[start : start + _SENT_BYTES])


class _HttpsConnection(_HttpConnection, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> ProxyManager:
        manager = cast(ProxyManager, super().proxy_manager_for(proxy, **options))
        if not proxy.lower().startswith("socks"):  # that has connections of its own
            manager.pool_classes_by_scheme = _POOLS
        return manager
