"""Bundles for tests, taken apart and put together again by whoever wants to deceive."""

import hashlib
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rlp

from ledger.blobs import BlobStore
from ledger.node import Node
from tests.trainer.recorded import Recorded
from trainer.audit import AuditOptions, AuditReport, audit
from trainer.bundle import BundleSummary, export_bundle, open_bundle
from trainer.bundle.archive import MANIFEST, Archive

Members = dict[str, bytes]


def bundle(recorded: Recorded, target: Path) -> BundleSummary:
    """Make a bundle of a recorded run."""
    node = Node(recorded.provider)
    return export_bundle(
        node, recorded.ledger, BlobStore(recorded.folder.blobs), target, folder=recorded.folder
    )


def audit_bundle(path: Path, head: bytes | None = None, *, replay: bool = True) -> AuditReport:
    """Audit a bundle."""
    with open_bundle(path, head) as opened:
        options = AuditOptions(replay=replay, first_block=opened.manifest.first_block, claims=opened.claims())
        return audit(opened.node(), opened.manifest.ledger, opened.store, options)


def members(path: Path) -> Members:
    """Take a bundle apart."""
    archive = Archive(path)
    try:
        found = {name: archive.read(name) for name in archive.names()}
    finally:
        archive.close()
    with tarfile.open(path) as tar:
        file = tar.extractfile(MANIFEST)
        assert file is not None
        return {**found, MANIFEST: file.read()}


def put_together(path: Path, content: Mapping[str, bytes], *, is_signed: bool = True) -> Path:
    """Write members as a bundle; with a manifest that fits them, unless told not to."""
    parts = dict(content)
    if is_signed:
        manifest = json.loads(parts[MANIFEST])
        manifest["members"] = {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in parts.items()
            if name != MANIFEST
        }
        parts[MANIFEST] = json.dumps(manifest).encode()
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in parts.items():
            add(tar, name, data)
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes, **changes: Any) -> None:
    """Add a member as the writer does, but for some changes."""
    import io

    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    for field, value in changes.items():
        setattr(entry, field, value)
    tar.addfile(entry, io.BytesIO(data))


def change(name: str, how: Callable[[bytes], bytes | None]) -> Callable[[Members], None]:
    """Change one member, or drop it."""

    def apply(content: Members) -> None:
        data = how(content[name])
        if data is None:
            del content[name]
        else:
            content[name] = data

    return apply


def manifest(**changes: Any) -> Callable[[Members], None]:
    """Change fields of the manifest."""

    def how(data: bytes) -> bytes:
        return json.dumps({**json.loads(data), **changes}).encode()

    return change(MANIFEST, how)


def records(name: str, how: Callable[[list[bytes]], list[bytes]]) -> Callable[[Members], None]:
    """Change the records of a member."""
    return change(name, lambda data: framed(how(unframed(data))))


def bodies(place: int, how: Callable[[list[Any]], list[Any]]) -> Callable[[Members], None]:
    """Change one block's transactions and receipts."""

    def alter(found: list[bytes]) -> list[bytes]:
        found[place] = rlp.encode(how(rlp.decode(found[place])))
        return found

    return records("bodies.rlp", alter)


def framed(items: list[bytes]) -> bytes:
    return b"".join(len(item).to_bytes(4, "big") + item for item in items)


def unframed(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found
