"""JSON-RPC over HTTP: answers that are too long, too slow, or lead elsewhere."""

import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from web3.types import RPCEndpoint

from ledger import http_provider
from ledger.asking import AnswerTimeoutError, NodeAnswerError, NodeUnavailableError
from ledger.http_provider import HttpProvider
from ledger.node import Node
from tests.ledger.served import PAUSE_S, Answer, Served, dripping, plain, server

CHAIN_ID = b'{"jsonrpc": "2.0", "id": 0, "result": "0x7a69"}'
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def _asks_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.asking.time.sleep", lambda _: None)


def test_http_status_is_told_and_the_key_in_the_url_is_not() -> None:
    with (
        server(plain(403, b"no")) as served,
        pytest.raises(NodeUnavailableError, match="HTTP status 403") as caught,
    ):
        Node.connect(f"{served.url}/secret")
    assert "secret" not in str(caught.value)


# Length


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of it is bounded, and it is not asked for again."""
    monkeypatch.setattr(http_provider, "_ANSWER_BYTES_MAX", 1 << 20)

    def endless(_served: Served, _first: str) -> Iterator[bytes]:
        yield OK + b"\r\n"
        while True:
            yield bytes(1 << 16)

    with server(endless) as served:
        with pytest.raises(NodeAnswerError, match="more than 1048576 bytes"):
            Node.connect(served.url)
        assert len(served.requests) == 1
        assert served.sent < 64 << 20


def test_an_answer_may_be_as_large_as_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_provider, "_ANSWER_BYTES_MAX", len(CHAIN_ID))
    with server(plain(200, CHAIN_ID[:9], CHAIN_ID[9:])) as served:
        assert Node.connect(served.url).chain_id == 31337


# Time

DRIPS = {
    "the status line": dripping(b"HTTP/1.1 200 "),
    "a header": dripping(OK + b"Date: "),
    "headers": dripping(OK, b"A: b\r\n"),
    "that it goes on": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body of some length": dripping(OK + b"Content-Length: 1000000\r\n\r\n"),
    "a body": dripping(OK + b"\r\n"),
    "parts": dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "the length of a part": dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
}


@pytest.mark.parametrize("answer", DRIPS.values(), ids=DRIPS)
def test_a_node_that_drips_is_given_up_within_the_deadline(answer: Answer) -> None:
    begun = time.monotonic()
    with server(answer) as served:
        with pytest.raises(NodeUnavailableError, match=r"not whole after 1 s") as caught:
            Node.connect(served.url, answer_timeout_s=1.0)
        assert 1.0 <= time.monotonic() - begun < 20
        assert served.requests == ["POST / HTTP/1.1"], "asked once"
    assert "--rpc-url" in caught.value.hint


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_deadline_holds_behind_a_proxy(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    begun = time.monotonic()
    with server(DRIPS["headers"]) as served:
        monkeypatch.setenv(f"{scheme}_proxy", served.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(NodeUnavailableError, match=r"not whole after 1 s"):
            Node.connect(f"{scheme}://node.invalid", answer_timeout_s=1.0)
        assert time.monotonic() - begun < 20
        method = "POST http://node.invalid/" if scheme == "http" else "CONNECT node.invalid:443"
        assert [one.startswith(method) for one in served.requests] == [True]


def test_a_node_that_does_not_read_is_given_up_within_the_deadline() -> None:
    begun = time.monotonic()
    with server(plain(200), reads=False) as served:
        provider = HttpProvider(served.url, answer_timeout_s=1.0)
        with pytest.raises(AnswerTimeoutError):
            provider.make_request(RPCEndpoint("eth_call"), ["00" * (32 << 20)])
        assert time.monotonic() - begun < 20


def test_a_slow_answer_within_the_deadline_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although it takes longer than one read may."""
    monkeypatch.setattr(http_provider, "_READ_TIMEOUT_S", 15 * PAUSE_S)
    answer = dripping(OK + b"\r\n", b" ", count=25, after=CHAIN_ID)
    with server(answer) as served:
        assert Node.connect(served.url, answer_timeout_s=30).chain_id == 31337


def test_a_node_that_falls_silent_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_provider, "_READ_TIMEOUT_S", 0.5)

    def silent_at_first(served: Served, _first: str) -> Iterator[bytes]:
        yield OK + b"\r\n"
        if len(served.requests) <= 2:
            served.is_over.wait()
        yield CHAIN_ID

    with server(silent_at_first) as served:
        assert Node.connect(served.url, answer_timeout_s=30).chain_id == 31337
        assert len(served.requests) >= 3


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key, in one file."""
    path = tmp_path / "server.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    name = ("-addext", "subjectAltName=IP:127.0.0.1")
    made = subprocess.run(
        ["openssl", *command.split(), *name, "-keyout", str(path), "-out", str(tmp_path / "certificate.pem")],
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    path.write_bytes(path.read_bytes() + (tmp_path / "certificate.pem").read_bytes())
    return path


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
@pytest.mark.parametrize("is_dripping", [True, False])
def test_the_deadline_holds_over_tls(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, *, is_dripping: bool
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    answer = dripping(OK) if is_dripping else plain(200, CHAIN_ID)
    begun = time.monotonic()
    with server(answer, tls) as served:
        url = f"https://127.0.0.1:{served.port}"
        if is_dripping:
            with pytest.raises(NodeUnavailableError, match=r"not whole after 1 s"):
                Node.connect(url, answer_timeout_s=1.0)
            assert time.monotonic() - begun < 20
        else:
            assert Node.connect(url, answer_timeout_s=30).chain_id == 31337
        assert len(served.requests) == 1


# Elsewhere


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_node_that_leads_elsewhere_is_not_followed(status: int) -> None:
    with server(plain(200, CHAIN_ID)) as other:

        def lead(_served: Served, _first: str) -> Iterator[bytes]:
            yield b"HTTP/1.1 %d Said\r\nLocation: %s/secret\r\n\r\n" % (status, other.url.encode())

        with server(lead) as served:
            with pytest.raises(NodeAnswerError, match="leads to another address") as caught:
                Node.connect(served.url)
            assert "secret" not in str(caught.value)
            assert len(served.requests) == 1
        assert other.requests == []


# Nonsense

BODIES = {
    "lists": b"[" * 200_000,
    "objects": b'{"result":' * 200_000,
    "no text": b"\xff",
    "NaN": b"NaN",
    "": b"",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_answer_that_is_no_json_or_nested_without_end_is_the_environments_fault(body: bytes) -> None:
    with server(plain(200, body)) as served, pytest.raises(NodeAnswerError, match="makes no sense"):
        Node.connect(served.url)
