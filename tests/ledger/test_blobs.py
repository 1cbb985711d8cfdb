import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from ledger.blobs import (
    BlobCorruptError,
    BlobKind,
    BlobMissingError,
    BlobNameError,
    BlobStore,
    BlobStoreFault,
    BlobTooLargeError,
)
from ledger.errors import EnvironmentFault, InputError, ProofError
from ledger.update import UpdateFormatError
from tests.ledger.served import PAUSE_S, Answer, Served, dripping, plain, server

DATA = b"assayed metal" * 1000


def root_of(data: bytes) -> bytes:
    return sha256(data).digest()


ROOT = root_of(DATA)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "folder":
        return BlobStore(tmp_path / "not" / "yet")
    MemoryFileSystem.store.clear()
    return BlobStore("memory://run/blobs")


def test_put_then_get(store: BlobStore) -> None:
    assert not store.exists(ROOT)
    assert store.put(ROOT, DATA)
    assert store.exists(ROOT)
    assert store.get(ROOT, max_bytes=len(DATA), root_of=root_of) == DATA


def test_put_again_writes_nothing(store: BlobStore) -> None:
    store.put(ROOT, DATA)
    assert not store.put(ROOT, memoryview(DATA))


def test_put_repairs_other_bytes(store: BlobStore) -> None:
    store.put(ROOT, DATA[:-1])
    assert store.put(ROOT, DATA)
    assert store.get(ROOT, max_bytes=10**6, root_of=root_of) == DATA


def test_kinds_are_apart(store: BlobStore) -> None:
    store.put(ROOT, DATA, BlobKind.MODEL)
    assert not store.exists(ROOT, BlobKind.UPDATE)
    assert store.location(ROOT, BlobKind.MODEL).endswith(f"/0x{ROOT.hex()}.hmmd")


def test_get_missing_is_environment_fault(store: BlobStore) -> None:
    with pytest.raises(BlobMissingError) as caught:
        store.get(ROOT, max_bytes=10, root_of=root_of)
    assert isinstance(caught.value, EnvironmentFault)
    assert caught.value.hint


def test_get_too_large_is_proof_error(store: BlobStore) -> None:
    store.put(ROOT, DATA)
    with pytest.raises(BlobTooLargeError) as caught:
        store.get(ROOT, max_bytes=len(DATA) - 1, root_of=root_of)
    assert isinstance(caught.value, ProofError)


def test_get_of_other_bytes_is_proof_error(store: BlobStore) -> None:
    store.put(ROOT, DATA + b"!")
    with pytest.raises(BlobCorruptError) as caught:
        store.get(ROOT, max_bytes=10**6, root_of=root_of)
    assert caught.value.actual_root == root_of(DATA + b"!")
    assert isinstance(caught.value, ProofError)


def test_get_of_bytes_without_root_is_proof_error(store: BlobStore) -> None:
    def refuse(data: bytes) -> bytes:
        raise UpdateFormatError("no size")

    store.put(ROOT, DATA)
    with pytest.raises(BlobCorruptError) as caught:
        store.get(ROOT, max_bytes=10**6, root_of=refuse)
    assert caught.value.actual_root is None


@given(st.binary(max_size=40))
def test_no_root_leads_out_of_the_store(root: bytes) -> None:
    store = BlobStore("/srv/blobs")
    if len(root) != 32:
        with pytest.raises(InputError):
            store.location(root)
    else:
        assert os.path.normpath(store.location(root)) == f"/srv/blobs/0x{root.hex()}.hmrk"


def test_planted_link_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    store = BlobStore(tmp_path / "blobs")
    (tmp_path / "blobs").mkdir()
    Path(store.location(ROOT)).symlink_to(secret)
    with pytest.raises(BlobStoreFault):
        store.get(ROOT, max_bytes=10**6, root_of=root_of)
    assert store.put(ROOT, DATA + b"!")
    assert secret.read_bytes() == DATA


def test_planted_pipe_does_not_hang(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    os.mkfifo(store.location(ROOT))
    with pytest.raises(BlobStoreFault):
        store.get(ROOT, max_bytes=10**6, root_of=root_of)


def test_disk_fault_is_environment_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BlobStoreFault):
        BlobStore(tmp_path / "file").put(ROOT, DATA)


@pytest.mark.parametrize("url", ["nosuchprotocol://x"])
def test_unknown_url_is_input_error(url: str) -> None:
    with pytest.raises(BlobNameError):
        BlobStore(url)


def test_killed_writer_leaves_whole_blobs_only(tmp_path: Path) -> None:
    """Whatever was acknowledged on stdout before kill -9 is there, and nothing is there in part."""
    program = (
        "import sys, hashlib\n"
        "from ledger.blobs import BlobStore\n"
        "store = BlobStore(sys.argv[1])\n"
        "for i in range(10**9):\n"
        "    data = i.to_bytes(8, 'big') * 50000\n"
        "    root = hashlib.sha256(data).digest()\n"
        "    store.put(root, data)\n"
        "    print(root.hex(), flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(5)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.read().split()
    process.wait()
    process.stdout.close()
    store = BlobStore(tmp_path)
    for name in acknowledged[:-1]:
        assert store.get(bytes.fromhex(name), max_bytes=10**6, root_of=root_of)
    store.remove_leftovers()
    assert not list(tmp_path.glob(".*"))
    for path in tmp_path.glob("0x*.hmrk"):
        assert root_of(path.read_bytes()).hex() == path.stem[2:]


# Over HTTP

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("length", [len(DATA), None])
def test_http_blob_is_read_whole_although_it_comes_in_parts(length: int | None) -> None:
    head = OK + (b"" if length is None else b"Content-Length: %d\r\n" % length) + b"\r\n"
    with server(dripping(head, DATA[: len(DATA) // 10], count=10)) as served:
        store = BlobStore(f"{served.url}/blobs")
        assert store.get(ROOT, max_bytes=len(DATA), root_of=root_of) == DATA
        assert served.requests == [f"GET /blobs/0x{ROOT.hex()}.hmrk HTTP/1.1"]


@pytest.mark.parametrize(("status", "kind"), [(404, BlobMissingError), (503, BlobStoreFault)])
def test_http_status_is_missing_or_a_fault(status: int, kind: type[Exception]) -> None:
    with server(plain(status, b"no", length=2)) as served, pytest.raises(kind):
        BlobStore(served.url).get(ROOT, max_bytes=10**6, root_of=root_of)


@pytest.mark.parametrize("status", [200, 206])
def test_http_blob_without_end_is_too_large(status: int) -> None:
    """Also if the server says that it is the part that was asked for."""

    def endless(_served: Served, _first: str) -> Iterator[bytes]:
        yield b"HTTP/1.1 %d OK\r\nContent-Range: bytes 0-9/10\r\n\r\n" % status
        while True:
            yield bytes(1 << 16)

    with server(endless) as served:
        with pytest.raises(BlobTooLargeError):
            BlobStore(served.url).get(ROOT, max_bytes=10**6, root_of=root_of)
        assert served.sent < 64 << 20


DRIPS = {
    "status line": dripping(b"HTTP/1.1 200 "),
    "headers": dripping(OK, b"A: b\r\n"),
    "body": dripping(OK + b"\r\n"),
    "parts": dripping(CHUNKED, b"1\r\na\r\n"),
}


@pytest.mark.parametrize("answer", DRIPS.values(), ids=DRIPS)
def test_http_store_that_drips_is_given_up_within_the_deadline(answer: Answer) -> None:
    with server(answer) as served:
        begun = time.monotonic()
        with pytest.raises(BlobStoreFault, match="cannot be read") as caught:
            BlobStore(served.url, timeout_s=0.3).get(ROOT, max_bytes=1000, root_of=root_of)
        assert 0.3 <= time.monotonic() - begun < 20
    assert "--blobs" in caught.value.hint


def test_http_store_that_drips_is_not_waited_for_to_know_what_is_there() -> None:
    with server(DRIPS["headers"]) as served:
        store = BlobStore(served.url, timeout_s=0.3)
        with pytest.raises(BlobStoreFault, match="cannot be looked up: not done after"):
            store.exists(ROOT)
        with pytest.raises(BlobStoreFault, match="cannot be written: not done after"):
            store.put(ROOT, DATA)


def test_large_blob_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.blobs._SLOWEST_BYTES_PER_S", 1000)
    answer = dripping(OK + b"\r\n", DATA[:520], count=25)
    with server(answer) as served:
        store = BlobStore(served.url, timeout_s=5 * PAUSE_S)
        assert store.get(ROOT, max_bytes=len(DATA), root_of=root_of) == DATA


class Stuck(MemoryFileSystem):  # type: ignore[misc]
    """A store whose driver never comes back."""

    protocol = "stuck"
    cachable = False
    is_over = Event()

    def open(self, *arguments: Any, **options: Any) -> Any:
        self.is_over.wait()
        return super().open(*arguments, **options)


def test_driver_that_hangs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url: (Stuck(), url))
    try:
        with pytest.raises(BlobStoreFault, match=r"cannot be read: not done after 0\.[0-9]+ s") as caught:
            BlobStore("stuck://x", timeout_s=0.1).get(ROOT, max_bytes=10, root_of=root_of)
    finally:
        Stuck.is_over.set()
    assert isinstance(caught.value, EnvironmentFault)


def test_password_of_a_store_is_not_told() -> None:
    with server(plain(503)) as served:
        store = BlobStore(f"http://somebody:hunter2@127.0.0.1:{served.port}/blobs")
        with pytest.raises(BlobStoreFault) as caught:
            store.get(ROOT, max_bytes=10, root_of=root_of)
    assert "hunter2" not in f"{caught.value} {caught.value.location} {caught.value.hint}"
    assert f"127.0.0.1:{served.port}" in str(caught.value)
