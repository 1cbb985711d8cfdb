"""Everything that an audit reads, spoilt in one way after the other: each is found and named."""

import gzip
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ledger.blobs import BlobKind, BlobStore
from ledger.errors import EnvironmentFault
from ledger.node import Node
from tests.trainer.bundled import (
    Members,
    add,
    audit_bundle,
    bodies,
    bundle,
    change,
    manifest,
    members,
    put_together,
    records,
)
from tests.trainer.recorded import Forge, ForgingProvider, Recorded, flip, is_event, logs
from trainer.audit import AuditOptions, AuditReport, CursorError, audit
from trainer.audit.cursor import _digest_of
from trainer.bundle import BundleError
from trainer.bundle.archive import MANIFEST
from trainer.checkpoint import checkpoint_paths, read_checkpoint, save_checkpoint
from trainer.folder import RunFolder

HEADERS, BODIES, STATE = "headers.rlp", "bodies.rlp", "state.rlp"


def fields(report: AuditReport) -> set[tuple[int, str]]:
    return {(d.round, d.field) for d in report.differences}


# A bundle: the archive


@pytest.fixture(scope="session")
def bundled(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundled") / "run.bundle"
    assert bundle(recorded, path).report.ok
    return path


def _cut(where: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
    return lambda data: data[: where(data)]


def _manifest_start(data: bytes) -> int:
    return data.index(b"manifest.json")


def _renamed(data: bytes, old: bytes, new: bytes, kind: bytes = b"0") -> bytes:
    """Rewrite a member's header, with a checksum that fits."""
    at = data.index(old + b"\0")
    block = bytearray(data[at : at + 512])
    block[: max(len(old), len(new))] = new.ljust(len(old), b"\0")
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return data[:at] + bytes(block) + data[at + 512 :]


def _sized(data: bytes, name: bytes, size: bytes) -> bytes:
    at = data.index(name + b"\0")
    block = bytearray(data[at : at + 512])
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return data[:at] + bytes(block) + data[at + 512 :]


ARCHIVES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "archive"),
    "cut in the middle": (_cut(lambda d: len(d) // 2), "archive"),
    "cut before the manifest": (_cut(_manifest_start), "archive"),
    "cut before the manifest, with an end": (
        lambda d: d[: _manifest_start(d)].ljust(-(-(_manifest_start(d) + 1024) // 10240) * 10240, b"\0"),
        "manifest",
    ),
    "one byte short": (_cut(lambda d: len(d) - 1), "archive"),
    "one byte after the end": (lambda d: d + b"\1", "archive"),
    "ten thousand zeros after the end": (lambda d: d + bytes(10240), "archive"),
    "something in the padding at the end": (lambda d: d[:-9] + b"x" + d[-8:], "archive"),
    "compressed": (lambda d: gzip.compress(d), "archive"),
    "a compression bomb": (lambda _: gzip.compress(bytes(1 << 24)), "archive"),
    "a name that leads out": (lambda d: _renamed(d, b"run.toml", b"../a.tml"), "member"),
    "an absolute name": (lambda d: _renamed(d, b"run.toml", b"/etc/pwd"), "member"),
    "an unknown name": (lambda d: _renamed(d, b"run.toml", b"run.xoml"), "member"),
    "a link": (lambda d: _renamed(d, b"run.toml", b"run.toml", b"2"), "member"),
    "a device": (lambda d: _renamed(d, b"run.toml", b"run.toml", b"3"), "member"),
    "a sparse file": (lambda d: _renamed(d, b"run.toml", b"run.toml", b"S"), "member"),
    "a name that is no text": (lambda d: _renamed(d, b"run.toml", b"run\xff\xfeoml"), "archive"),
    "an impossible size": (lambda d: _sized(d, HEADERS.encode(), b"77777777777\0"), "archive"),
    "a negative size": (lambda d: _sized(d, HEADERS.encode(), b"\xff" * 12), "member"),
    "a small file that is too large": (lambda d: _sized(d, b"run.toml", b"07777777777\0"), "member"),
    "a member's byte": (lambda d: flip(d, d.index(b"workers = 4")), "sha256"),
}


@pytest.mark.parametrize(("spoil", "field"), ARCHIVES.values(), ids=ARCHIVES)
def test_a_spoilt_archive_is_refused(
    bundled: Path, tmp_path: Path, spoil: Callable[[bytes], bytes], field: str
) -> None:
    path = tmp_path / "spoilt.bundle"
    path.write_bytes(spoil(bundled.read_bytes()))
    with pytest.raises(BundleError) as caught:
        audit_bundle(path)
    assert caught.value.field == field


def test_a_member_that_comes_twice_is_refused(bundled: Path, tmp_path: Path) -> None:
    path, content = tmp_path / "twice.bundle", members(bundled)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in [*content.items(), ("run.toml", b"workers = 5\n")]:
            add(tar, name, data)
    with pytest.raises(BundleError, match="there twice"):
        audit_bundle(path)


def test_a_member_with_an_owner_is_refused(bundled: Path, tmp_path: Path) -> None:
    path = tmp_path / "owned.bundle"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members(bundled).items():
            add(tar, name, data, uid=1000)
    with pytest.raises(BundleError) as caught:
        audit_bundle(path)
    assert caught.value.field == "member"


def test_a_link_to_a_bundle_is_not_followed(bundled: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundled)
    with pytest.raises(BundleError, match="cannot be opened"):
        audit_bundle(tmp_path / "link")


# A bundle: its members, with or without a manifest that fits


def _drop(place: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda found: [item for i, item in enumerate(found) if i != place % len(found)]


def _swap(found: list[bytes]) -> list[bytes]:
    return [found[1], found[0], *found[2:]]


def _flip_record(place: int, at: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda found: [flip(item, at) if i == place else item for i, item in enumerate(found)]


def _longest(found: list[bytes]) -> int:
    return max(range(len(found)), key=lambda place: len(found[place]))


def _transaction(how: Callable[[bytes], bytes]) -> Callable[[list[Any]], list[Any]]:
    return lambda body: [body[0], [how(body[1][0]), *body[1][1:]], body[2]]


def _receipt(how: Callable[[bytes], bytes]) -> Callable[[list[Any]], list[Any]]:
    return lambda body: [body[0], body[1], [how(body[2][0]), *body[2][1:]]]


def _nested(depth: int) -> bytes:
    data = b"\xc0"
    for _ in range(depth):
        size = len(data).to_bytes(4, "big").lstrip(b"\0")
        data = (bytes([0xC0 + len(data)]) if len(data) < 56 else bytes([0xF7 + len(size)]) + size) + data
    return data


MEMBERS: dict[str, tuple[Callable[[Members], None], str]] = {
    "a header's bit": (records(HEADERS, _flip_record(3, 40)), "headers"),
    "the head's bit": (records(HEADERS, lambda f: [*f[:-1], flip(f[-1], 40)]), "headers"),
    "a header dropped": (records(HEADERS, _drop(3)), "headers"),
    "the first header dropped": (records(HEADERS, _drop(0)), "headers"),
    "the last header dropped": (records(HEADERS, _drop(-1)), "headers"),
    "headers exchanged": (records(HEADERS, _swap), "headers"),
    "a header that is none": (records(HEADERS, lambda f: [*f[:2], b"\xc0", *f[3:]]), "headers"),
    "no header": (change(HEADERS, lambda _: b""), "headers"),
    "a record longer than the file": (change(HEADERS, lambda d: b"\xff" * 4 + d[4:]), "headers"),
    "a record cut short": (change(HEADERS, lambda d: d + b"\0\0"), "headers"),
    "a transaction's bit": (bodies(2, _transaction(lambda t: flip(t, 200))), "transactions_root"),
    "a transaction dropped": (bodies(2, lambda b: [b[0], [], []]), "transactions_root"),
    "a transaction twice": (bodies(2, lambda b: [b[0], b[1] * 2, b[2] * 2]), "transactions_root"),
    "a receipt's bit": (bodies(2, _receipt(lambda r: flip(r, -9 % len(r)))), "receipts_root"),
    "a receipt dropped": (bodies(2, lambda b: [b[0], b[1], []]), "bodies"),
    "a body dropped": (records(BODIES, _drop(2)), "bloom"),
    "all bodies dropped": (change(BODIES, lambda _: b""), "bloom"),
    "a body twice": (records(BODIES, lambda f: [f[0], *f]), "bodies"),
    "bodies exchanged": (records(BODIES, _swap), "bodies"),
    "a body nested too deeply": (records(BODIES, lambda f: [_nested(30_000), *f[1:]]), "bodies"),
    "a body that is none": (records(BODIES, lambda f: [b"\x80", *f[1:]]), "bodies"),
    "a node of the state": (records(STATE, lambda f: _flip_record(_longest(f), 9)(f)), "state"),
    "state dropped": (change(STATE, lambda _: b""), "state"),
    "a contract's ABI": (change("contracts/GateSpec.json", lambda d: flip(d, 99)), "contracts"),
    "a contract dropped": (change("contracts/GateSpec.json", lambda _: None), "contracts"),
    "checkpoints that are none": (change("checkpoints.json", lambda _: b"[1]"), "checkpoints"),
    "checkpoints nested too deeply": (change("checkpoints.json", lambda _: b"[" * 100_000), "checkpoints"),
    "a configuration that is none": (change("run.toml", lambda _: b"= 1"), "config"),
    "a configuration nested too deeply": (change("run.toml", lambda _: b"a=" + b"[" * 200_000), "config"),
    "a configuration with an unknown key": (change("run.toml", lambda d: b"wurkers = 4\n" + d), "config"),
    "another format": (manifest(format="hallmark.bundle.v2"), "format"),
    "another chain id": (manifest(chain_id=1), "chain_id"),
    "another ledger": (manifest(ledger="0x" + "12" * 20), "bodies"),
    "an address that is none": (manifest(ledger="0x12"), "manifest"),
    "another first block": (manifest(first_block=1), "headers"),
    "a head that is none": (manifest(head={"block": 3, "hash": "0x12"}), "manifest"),
    "a number that is none": (manifest(run=-1), "manifest"),
    "a manifest that is none": (lambda m: m.update({MANIFEST: b"{"}), "manifest"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "field"), MEMBERS.values(), ids=MEMBERS)
def test_a_spoilt_member_is_refused_however_well_the_manifest_fits(
    bundled: Path, tmp_path: Path, spoil: Callable[[Members], None], field: str
) -> None:
    content = members(bundled)
    spoil(content)
    is_signed = content[MANIFEST] != b"{"
    path = put_together(tmp_path / "spoilt.bundle", content, is_signed=is_signed)
    with pytest.raises(BundleError) as caught:
        audit_bundle(path)
    assert caught.value.field == field, caught.value


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        pytest.param(change(HEADERS, lambda d: flip(d, 50)), "sha256", id="altered"),
        pytest.param(change("run.toml", lambda _: None), "manifest", id="dropped"),
        pytest.param(lambda m: m.update({f"blobs/0x{'0' * 64}.hmrk": b"1"}), "manifest", id="added"),
    ],
)
def test_a_member_that_is_not_the_manifests_is_refused(
    bundled: Path, tmp_path: Path, spoil: Callable[[Members], None], field: str
) -> None:
    content = members(bundled)
    spoil(content)
    with pytest.raises(BundleError) as caught:
        audit_bundle(put_together(tmp_path / "spoilt.bundle", content, is_signed=False))
    assert caught.value.field == field


def test_a_bundle_of_another_chain_is_refused_by_its_head(bundled: Path) -> None:
    with pytest.raises(BundleError) as caught:
        audit_bundle(bundled, bytes(32))
    assert caught.value.field == "head"


def test_a_bundle_with_spoilt_blobs_cannot_be_checked(
    recorded: Recorded, bundled: Path, tmp_path: Path
) -> None:
    content = members(bundled)
    first, second = (f"blobs/0x{recorded.root(2, i).hex()}.hmrk" for i in (0, 1))
    content[first] = flip(content[first], 4000)
    del content[second]
    report = audit_bundle(put_together(tmp_path / "spoilt.bundle", content))
    assert fields(report) == {(2, "blob")}
    assert {d.worker for d in report.differences} == {recorded.name(0), recorded.name(1)}
    assert (report.verdict, report.false_count, report.unchecked_count) == ("cannot be checked", 0, 2)


# Claims beside the chain: configuration and checkpoints


def _text(old: str, new: str) -> Callable[[bytes], bytes]:
    def how(data: bytes) -> bytes:
        assert old.encode() in data
        return data.replace(old.encode(), new.encode(), 1)

    return how


def _checkpoint_entry(field: str, value: Any) -> Callable[[bytes], bytes]:
    def how(data: bytes) -> bytes:
        entries = json.loads(data)
        entries[-1][field] = value(entries[-1][field])
        return json.dumps(entries).encode()

    return how


CLAIMS: dict[str, tuple[Callable[[Members], None], tuple[int, str]]] = {
    "the seed": (change("run.toml", _text("seed = 0", "seed = 1")), (0, "config.initial_model")),
    "the run": (change("run.toml", _text("root_samples = 100", "root_samples = 99")), (0, "config.run")),
    "the cohort": (change("run.toml", _text("workers = 4", "workers = 5")), (0, "config.workers")),
    "a constant": (change("run.toml", _text("alive_factor = 256", "alive_factor = 255")), (0, "config.gate")),
    "a checkpoint's model": (
        change(
            "checkpoints.json",
            _checkpoint_entry("model_root", lambda r: r[:-1] + ("0" if r[-1] != "0" else "1")),
        ),
        (3, "checkpoint"),
    ),
    "a checkpoint's coalition": (
        change("checkpoints.json", _checkpoint_entry("coalition", lambda c: [c[0] + 1, *c[1:]])),
        (3, "checkpoint.coalition"),
    ),
    "a checkpoint's round": (
        change("checkpoints.json", _checkpoint_entry("round", lambda _: 1)),
        (1, "checkpoint"),
    ),
}


@pytest.mark.parametrize(("spoil", "place"), CLAIMS.values(), ids=CLAIMS)
def test_a_false_claim_beside_the_chain_is_named(
    bundled: Path, tmp_path: Path, spoil: Callable[[Members], None], place: tuple[int, str]
) -> None:
    content = members(bundled)
    spoil(content)
    report = audit_bundle(put_together(tmp_path / "spoilt.bundle", content))
    assert place in fields(report), report.differences
    assert report.verdict == "false"


@pytest.fixture
def folder(recorded: Recorded, tmp_path: Path) -> RunFolder:
    """The run's folder, to be spoilt; its chain stays where it is."""
    target = RunFolder(tmp_path / "folder")
    target.path.mkdir()
    shutil.copy(recorded.folder.config, target.config)
    shutil.copytree(recorded.folder.checkpoints, target.checkpoints)
    return target


def audit_folder(recorded: Recorded, folder: RunFolder, **options: Any) -> AuditReport:
    store = BlobStore(recorded.folder.blobs)
    return audit(Node(recorded.provider), recorded.ledger, store, AuditOptions(folder=folder, **options))


def _save_again(folder: RunFolder, **changes: Any) -> None:
    path = checkpoint_paths(folder.checkpoints)[0]
    found = read_checkpoint(path)
    save_checkpoint(folder.checkpoints, replace(found, **changes), "")


def _other_model(folder: RunFolder) -> None:
    theta = read_checkpoint(checkpoint_paths(folder.checkpoints)[0]).theta.copy()
    theta[0] = np.nextafter(theta[0], np.float32(2))
    _save_again(folder, theta=theta)


def _other_momentum(folder: RunFolder) -> None:
    momentum = read_checkpoint(checkpoint_paths(folder.checkpoints)[0]).momentum
    _save_again(folder, momentum=np.zeros_like(momentum))


def _bit(folder: RunFolder) -> None:
    path = checkpoint_paths(folder.checkpoints)[0]
    path.write_bytes(flip(path.read_bytes(), -5 % path.stat().st_size))


def _other_tensor(folder: RunFolder) -> None:
    path = checkpoint_paths(folder.checkpoints)[0]
    found = read_checkpoint(path)
    save_checkpoint(
        folder.checkpoints, replace(found, theta=torch.zeros(3).numpy(), momentum=torch.zeros(3).numpy()), ""
    )


FOLDERS: dict[str, tuple[Callable[[RunFolder], object], tuple[int, str]]] = {
    "a checkpoint's bit": (_bit, (0, "checkpoint")),
    "a checkpoint cut short": (
        lambda f: (p := checkpoint_paths(f.checkpoints)[0]).write_bytes(p.read_bytes()[:-100]),
        (0, "checkpoint"),
    ),
    "an empty checkpoint": (lambda f: checkpoint_paths(f.checkpoints)[0].write_bytes(b""), (0, "checkpoint")),
    "one value of the model": (_other_model, (3, "checkpoint")),
    "the outer momentum": (_other_momentum, (3, "checkpoint")),
    "a model of another size": (_other_tensor, (3, "checkpoint")),
    "coalition evidence": (lambda f: _save_again(f, coalition=(1,) * 6), (3, "checkpoint.coalition")),
    "a configuration that is no text": (lambda f: f.config.write_bytes(b"\xff\xfe"), (0, "config")),
    "a configuration out of range": (
        lambda f: f.config.write_text(f.config.read_text().replace("workers = 4", "workers = 0")),
        (0, "config"),
    ),
}


@pytest.mark.parametrize(("spoil", "place"), FOLDERS.values(), ids=FOLDERS)
def test_a_spoilt_folder_is_named(
    recorded: Recorded, folder: RunFolder, spoil: Callable[[RunFolder], object], place: tuple[int, str]
) -> None:
    spoil(folder)
    report = audit_folder(recorded, folder, replay=False)
    assert fields(report) == {place}, report.differences


def test_a_sound_folder_agrees_with_the_ledger(recorded: Recorded, folder: RunFolder) -> None:
    report = audit_folder(recorded, folder)
    assert report.ok, report.differences


def test_a_folder_that_names_code_of_its_own_imports_none_of_it(
    recorded: Recorded, folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder.config.write_text(folder.config.read_text().replace('"digits_mlp"', '"planted:task"'))
    assert audit_folder(recorded, folder).ok


# The cursor


@pytest.fixture
def cursor(recorded: Recorded, tmp_path: Path) -> Path:
    path = tmp_path / "cursor.json"
    assert audit_with(recorded, path).ok
    return path


def audit_with(recorded: Recorded, cursor: Path, *forges: Forge, replay: bool = False) -> AuditReport:
    node = Node(ForgingProvider(recorded.provider, *forges))
    options = AuditOptions(replay=replay, cursor=cursor)
    return audit(node, recorded.ledger, BlobStore(recorded.folder.blobs), options)


def edit(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Change a cursor, and give it a digest that fits."""
    content = json.loads(path.read_text())
    content.pop("sha256")
    how(content)
    path.write_text(json.dumps({**content, "sha256": _digest_of(content)}))


CURSORS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a digit": (lambda p: p.write_text(p.read_text().replace('"round": 3', '"round": 2')), "sha256"),
    "cut short": (lambda p: p.write_text(p.read_text()[:-20]), "content"),
    "empty": (lambda p: p.write_text(""), "content"),
    "no text": (lambda p: p.write_bytes(b"\xff\xff"), "content"),
    "nested too deeply": (lambda p: p.write_text("[" * 100_000), "content"),
    "a list": (lambda p: p.write_text("[]"), "format"),
    "another format": (lambda p: edit(p, lambda c: c.update(format="v0")), "format"),
    "another chain": (lambda p: edit(p, lambda c: c.update(chain_id=1)), "chain_id"),
    "another ledger": (lambda p: edit(p, lambda c: c.update(ledger="0x" + "12" * 20)), "ledger"),
    "another run": (lambda p: edit(p, lambda c: c.update(run=1)), "run"),
    "positions that are none": (lambda p: edit(p, lambda c: c.update(positions=7)), "positions"),
    "a round before the first": (
        lambda p: edit(p, lambda c: c["positions"][-1].update(round=0)),
        "positions",
    ),
    "a root that is none": (lambda p: edit(p, lambda c: c["positions"][-1].update(root="12")), "positions"),
    "lanes missing": (lambda p: edit(p, lambda c: c["positions"][-1]["gate"].update(lanes=[])), "positions"),
    "coalition out of range": (
        lambda p: edit(p, lambda c: c["positions"][-1]["gate"].update(coalition=[1 << 40] * 6)),
        "positions",
    ),
}


@pytest.mark.parametrize(("spoil", "field"), CURSORS.values(), ids=CURSORS)
def test_a_spoilt_cursor_is_refused(
    recorded: Recorded, cursor: Path, spoil: Callable[[Path], object], field: str
) -> None:
    spoil(cursor)
    with pytest.raises(CursorError) as caught:
        audit_with(recorded, cursor)
    assert caught.value.field == field


def test_a_cursor_whose_findings_do_not_fit_is_refused(recorded: Recorded, cursor: Path) -> None:
    edit(cursor, lambda c: c["positions"][-1]["findings"].update(total=5))
    with pytest.raises(CursorError, match="do not fit each other"):
        audit_with(recorded, cursor)


def _back_to(round_: int, **changes: Any) -> Callable[[dict[str, Any]], None]:
    def how(content: dict[str, Any]) -> None:
        content["positions"] = [p for p in content["positions"] if p["round"] <= round_]
        content["positions"][-1].update(changes)

    return how


def _gate(content: dict[str, Any], **changes: Any) -> None:
    _back_to(1)(content)
    content["positions"][-1]["gate"].update(changes)


FORGED_CURSORS: dict[str, tuple[Callable[[dict[str, Any]], object], tuple[int, str]]] = {
    "a lane": (
        lambda c: _gate(c, lanes=["0" * 63 + "1", *c["positions"][0]["gate"]["lanes"][1:]]),
        (2, "record"),
    ),
    "the yardstick": (lambda c: _gate(c, yardstick=77), (2, "yardstick")),
    "coalition evidence": (lambda c: _gate(c, coalition=[100_000, 0, 0, 0, 0, 0]), (2, "weights_digest")),
    "the model's root": (_back_to(1, root="12" * 32), (2, "parent_model")),
    "the record": (_back_to(1, record="12" * 32), (2, "accumulator")),
    "RunOpened": (_back_to(1, opened_count=0), (0, "RunOpened")),
    "a round left out": (_back_to(1, round=2), (3, "parent_model")),
}


@pytest.mark.parametrize(("how", "place"), FORGED_CURSORS.values(), ids=FORGED_CURSORS)
def test_a_forged_cursor_does_not_fit_the_chain(
    recorded: Recorded, cursor: Path, how: Callable[[dict[str, Any]], object], place: tuple[int, str]
) -> None:
    edit(cursor, how)
    report = audit_with(recorded, cursor)
    assert place in fields(report), report.differences


def test_a_forged_model_beside_a_cursor_is_refused(recorded: Recorded, tmp_path: Path) -> None:
    path = tmp_path / "cursor.json"
    assert audit_with(recorded, path, replay=True).ok
    (model,) = tmp_path.glob("cursor.json.*.hmmd")
    model.write_bytes(flip(model.read_bytes(), 500))
    with pytest.raises(CursorError, match="another one"):
        audit_with(recorded, path, replay=True)


# The chain, through a node that lies; tests.trainer.test_audit has more of these


def _every(name: str, how: Callable[[dict[str, Any]], dict[str, Any]], round_: int = 2) -> Forge:
    return logs(lambda found: [how(one) if is_event(one, name, round_) else one for one in found])


def _answer(method: str, how: Callable[[Any], Any]) -> Forge:
    return lambda asked, _, result: how(result) if asked == method else result


def _exchanged(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    places = [
        i
        for i, one in enumerate(found)
        if is_event(one, "RoundSealed", 2) or is_event(one, "RoundSettled", 2)
    ]
    if len(places) == 2:
        found[places[0]], found[places[1]] = found[places[1]], found[places[0]]
    return found


def _round_of(number: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda one: {**one, "topics": [one["topics"][0], f"0x{number:064x}"]}


CHAINS: dict[str, tuple[Forge, tuple[int, str]]] = {
    "another chain id": (_answer("eth_chainId", lambda _: "0x1"), (1, "signature")),
    "logs in another order": (logs(_exchanged), (2, "RoundSealed")),
    "all logs backwards": (logs(lambda found: found[::-1]), (1, "RoundOpened")),
    "no logs": (logs(lambda _: []), (0, "RunOpened")),
    "every log twice": (logs(lambda found: [one for one in found for _ in (0, 1)]), (0, "RunOpened")),
    "a seal of another round": (_every("RoundSealed", _round_of(3)), (2, "RoundSealed")),
    "a round that is never opened": (_every("RoundSettled", _round_of(9)), (9, "RoundOpened")),
    "a round that is left out": (_every("RoundOpened", _round_of(7)), (0, "rounds")),
    "an event with a topic too many": (
        _every("RoundSealed", lambda one: {**one, "topics": [*one["topics"], "0x" + "00" * 32]}),
        (0, "RoundSealed"),
    ),
    "another transaction": (
        _every("BatchCommitted", lambda one: {**one, "transactionHash": "0x" + "12" * 32}),
        (2, "commitBatch"),
    ),
    "another block of the seal": (
        _every("RoundSealed", lambda one: {**one, "blockNumber": hex(int(one["blockNumber"], 16) - 1)}),
        (2, "seal_block"),
    ),
    "calldata cut short": (
        _answer("eth_getTransactionByHash", lambda r: {**r, "input": r["input"][:-64]}),
        (1, "commitBatch"),
    ),
    "calldata of another function": (
        _answer("eth_getTransactionByHash", lambda r: {**r, "input": "0x12345678" + r["input"][10:]}),
        (1, "commitBatch"),
    ),
}


@pytest.mark.parametrize(("forge", "place"), CHAINS.values(), ids=CHAINS)
def test_a_forged_chain_is_named(recorded: Recorded, forge: Forge, place: tuple[int, str]) -> None:
    try:
        report = recorded.audit(forge)
    except EnvironmentFault:
        assert place == (2, "commitBatch"), "a node without the transaction of an event has failed"
        return
    assert place in fields(report), report.differences
    assert len(report.differences) <= 60


def test_models_and_updates_in_each_others_place_are_found(recorded: Recorded, tmp_path: Path) -> None:
    blobs = recorded.copied_blobs(tmp_path / "blobs")
    store = BlobStore(blobs)
    initial = Path(store.location(recorded.histories[0].parent_model, BlobKind.MODEL))
    update = Path(store.location(recorded.root(1, 0)))
    model_bytes, update_bytes = initial.read_bytes(), update.read_bytes()
    initial.write_bytes(update_bytes)
    update.write_bytes(model_bytes)
    report = recorded.audit(blobs=blobs)
    assert fields(report) == {(0, "initial_model"), (1, "blob")}
    assert report.verdict == "cannot be checked"


def test_there_are_more_than_a_hundred_kinds() -> None:
    kinds = (ARCHIVES, MEMBERS, CLAIMS, FOLDERS, CURSORS, FORGED_CURSORS, CHAINS)
    assert sum(len(list(names)) for names in kinds) >= 100
