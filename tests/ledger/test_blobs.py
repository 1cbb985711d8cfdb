import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

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
