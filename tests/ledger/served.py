"""An HTTP server that sends what it is told to, byte for byte, at the pace it is told to."""

import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socket import create_server, socket
from threading import Event, Thread

PAUSE_S = 0.02


@dataclass
class Served:
    """What a server has seen.

    Attributes:
        port: Where it listens on 127.0.0.1.
        requests: The first line of each request.
        sent: Bytes sent.
        is_over: Set when the test is over.
    """

    port: int
    requests: list[str] = field(default_factory=list)
    sent: int = 0
    is_over: Event = field(default_factory=Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def pause(self) -> None:
        """Wait a little between two parts; `time.sleep` may be patched."""
        self.is_over.wait(PAUSE_S)


Answer = Callable[[Served, str], Iterable[bytes]]


@contextmanager
def server(answer: Answer, tls: ssl.SSLContext | None = None, *, reads: bool = True) -> Iterator[Served]:
    """Serve until the context is left; every connection ends with its first answer.

    Args:
        answer: Gives the bytes of an answer, head and all, for the first line of a request.
        tls: Certificate and key; None for plain HTTP.
        reads: Whether requests are read at all.
    """
    with create_server(("127.0.0.1", 0)) as listening:
        served = Served(listening.getsockname()[1])
        listening.settimeout(0.1)
        threads: list[Thread] = []

        def handle(connection: socket) -> None:
            with suppress(OSError), connection:
                connection.settimeout(30)
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                with connection:
                    if not reads:
                        served.is_over.wait()
                        return
                    first = _request(connection)
                    served.requests.append(first)
                    for part in answer(served, first):
                        connection.sendall(part)
                        served.sent += len(part)
                        if served.is_over.is_set():
                            return

        def accept() -> None:
            while not served.is_over.is_set():
                with suppress(TimeoutError):
                    threads.append(Thread(target=handle, args=(listening.accept()[0],)))
                    threads[-1].start()

        accepting = Thread(target=accept)
        accepting.start()
        try:
            yield served
        finally:
            served.is_over.set()
            accepting.join()
            for thread in threads:
                thread.join()


def _request(connection: socket) -> str:
    """Read a request, and give its first line; "" at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(1 << 16)
        if not part:
            return ""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
    left = length - len(body)
    while left > 0:
        part = connection.recv(left)
        if not part:
            return ""
        left -= len(part)
    return lines[0]


def plain(status: int, *parts: bytes, length: int | None = None) -> Answer:
    """Answer everything alike and at once; without a length the end of the connection ends it."""

    def answer(_served: Served, _first: str) -> Iterator[bytes]:
        said = b"" if length is None else b"Content-Length: %d\r\n" % length
        yield b"HTTP/1.1 %d Said\r\n%s\r\n" % (status, said)
        yield from parts

    return answer


def dripping(before: bytes, drop: bytes = b"a", count: int | None = None, after: bytes = b"") -> Answer:
    """Answer with something at once, then with a drop now and then, for ever or so many times."""

    def answer(served: Served, _first: str) -> Iterator[bytes]:
        yield before
        left = count
        while left is None or left > 0:
            served.pause()
            yield drop
            left = None if left is None else left - 1
        yield after

    return answer
