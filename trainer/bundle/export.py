"""Makes a bundle: audits the run, remembers what that reads, and writes it down with proofs."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from eth_utils import keccak, to_checksum_address

from ledger.asking import NodeAnswerError
from ledger.blobs import BlobKind, BlobStore
from ledger.history import HistoryError, read_run_opened
from ledger.node import Node
from ledger.update import model_root
from trainer.audit import AuditOptions, AuditReport, audit
from trainer.audit.blocks import decode_header, encode_header
from trainer.audit.report import Findings
from trainer.audit.run_facts import open_ledger
from trainer.audit.source import NodeSource, RefusedError, reading
from trainer.bundle.archive import (
    BODIES,
    CHECKPOINTS,
    CONFIG,
    HEADERS,
    STATE,
    ArchiveWriter,
    Manifest,
    write_record,
)
from trainer.bundle.bodies import encode_body, encode_receipt, encode_transaction, in_bloom, list_root
from trainer.bundle.errors import BundleError
from trainer.bundle.opened import CONTRACTS, contract_file
from trainer.bundle.state import ProvenState, RevertedViewError
from trainer.checkpoint import checkpoint_paths, read_checkpoint
from trainer.errors import CheckpointError
from trainer.folder import RunFolder

_RAW = "eth_getRawTransactionByHash"


@dataclass(frozen=True, slots=True)
class BundleSummary:
    """What was written.

    Attributes:
        manifest: What the bundle says that it is.
        report: The audit of what is in it, without replay.
        blocks: Headers in it.
        bodies: Blocks of which it has all transactions and receipts.
        blobs: Update files in it, and the initial model.
        size_bytes: Size of the file.
    """

    manifest: Manifest
    report: AuditReport
    blocks: int
    bodies: int
    blobs: int
    size_bytes: int


def export_bundle(
    node: Node,
    ledger: str,
    store: BlobStore,
    target: Path,
    *,
    folder: RunFolder | None = None,
    first_block: int = 0,
    jobs: int = 1,
    on_step: Callable[[str], None] = lambda _: None,
) -> BundleSummary:
    """Write everything that an audit of a run needs into one file.

    The run is audited on the way, and what that reads is what is written; so a bundle never lacks anything.
    The file is there when it is complete. Two bundles of one run with the same last block are equal.

    Args:
        node: The chain; must know blocks' receipts and EIP-1186 proofs.
        ledger: Address of the ContributionLedger.
        store: Its update files.
        target: The file to write.
        folder: The run's folder: its configuration and checkpoints' roots go along.
        first_block: A block not after that in which the ledger was created.
        jobs: Update files to assay at a time.
        on_step: Told what is done next.

    Returns:
        What was written. A run in which something is false or missing is written all the same.

    Raises:
        BundleError: The node's answers do not fit its headers, or there is no ledger at this address.
        EnvironmentFault: The node or the store failed.
    """
    head = node.block_number()
    if open_ledger(node, ledger, Findings()) is None:
        raise BundleError(
            "ledger", f"there is no ledger of this version at {ledger}", hint="check address and node"
        )
    first = _creation(node, ledger, first_block)
    seen = _Recorder(node, head)
    blobs = _RememberingStore(store)
    report = audit(
        reading(seen),
        ledger,
        blobs,
        AuditOptions(replay=False, jobs=jobs, first_block=first),
        on_round=lambda number: on_step(f"round {number}"),
    )
    on_step("blocks")
    with (
        tempfile.TemporaryFile(dir=_folder_of(target)) as headers,
        tempfile.TemporaryFile(dir=_folder_of(target)) as bodies,
        ArchiveWriter(target) as archive,
    ):
        address = bytes.fromhex(to_checksum_address(ledger)[2:])
        hashes = [hashlib.sha256(), hashlib.sha256()]
        count, last_hash = 0, b""
        for number in range(first, head + 1):
            header = _header(node, number)
            last_hash = keccak(header)
            hashes[0].update(write_record(headers, header))
            fields = decode_header(header)
            if in_bloom(bytes.fromhex(fields["logsBloom"][2:]), address):
                hashes[1].update(write_record(bodies, _body(node, number, fields)))
                count += 1
            if number % 256 == 0:
                on_step(f"block {number} of {head}")
        if last_hash != seen.head_hash:
            raise BundleError("head", "the chain has changed meanwhile", hint="try again")
        _add_file(archive, BODIES, bodies, hashes[1].hexdigest())
        _add_file(archive, HEADERS, headers, hashes[0].hexdigest())
        archive.add(STATE, b"".join(_framed(data) for _, data in sorted(seen.nodes.items())))
        for name in CONTRACTS:
            archive.add(f"contracts/{name}.json", contract_file(name))
        if folder is not None:
            _add_claims(archive, folder, seen.shape_digest(ledger))
        on_step("update files")
        for name, data in blobs.again():
            archive.add(name, data)
        manifest = Manifest(node.chain_id, to_checksum_address(ledger), report.run, first, head, last_hash)
        archive.finish(manifest)
    return BundleSummary(manifest, report, head - first + 1, count, len(blobs.seen), target.stat().st_size)


class _Recorder(NodeSource):
    """A node pinned to one block, whose views are evaluated here, on state that it proves."""

    def __init__(self, node: Node, head: int) -> None:
        super().__init__(node.web3.provider)
        header = _header(node, head)
        self.nodes: dict[bytes, bytes] = {}
        self.head_hash = keccak(header)
        self._node = node
        self._head = hex(head)
        self._known: set[tuple[bytes, int | None]] = set()
        self._state = ProvenState(self.nodes, decode_header(header), node.chain_id, self._fetch)

    def head(self) -> str:
        """Give the number of the block."""
        return self._head

    def block(self, number: str) -> Any:
        """Give a header."""
        return super().block(self._head if number == "latest" else number)

    def code(self, address: str) -> str:
        """Give the code at an address."""
        return "0x" + self._state.code(bytes.fromhex(address[2:])).hex()

    def call(self, request: Mapping[str, Any]) -> str:
        """Evaluate a view."""
        data = bytes.fromhex((request.get("data") or request.get("input") or "0x")[2:])
        try:
            return "0x" + self._state.call(bytes.fromhex(request["to"][2:]), data).hex()
        except RevertedViewError as reverted:
            error = {"code": 3, "message": "execution reverted", "data": "0x" + reverted.data.hex()}
            raise RefusedError(error) from reverted

    def shape_digest(self, ledger: str) -> bytes:
        """Give the ledger's shape digest."""
        client = open_ledger(reading(self), ledger, Findings())
        return bytes(32) if client is None else client.facts.shape_digest

    def _fetch(self, address: bytes, slot: int | None) -> None:
        if (address, slot) in self._known:
            return
        slots = [] if slot is None else [f"0x{slot:064x}"]
        try:
            proof = self._node.request("eth_getProof", "0x" + address.hex(), slots, self._head)
            found = [
                *proof["accountProof"],
                *(node for entry in proof["storageProof"] for node in entry["proof"]),
            ]
            if (address, None) not in self._known:
                found.append(self._node.request("eth_getCode", "0x" + address.hex(), self._head))
            for text in found:
                data = bytes.fromhex(text[2:])
                self.nodes[keccak(data)] = data
        except (KeyError, TypeError, ValueError) as error:
            raise NodeAnswerError(f"the node's proof makes no sense: {error!r}") from error
        except NodeAnswerError as error:
            raise NodeAnswerError(
                str(error), hint="the node must offer eth_getProof for the newest block; many keep few states"
            ) from error
        self._known |= {(address, slot), (address, None)}


class _RememberingStore(BlobStore):
    """A store that remembers which blobs were there."""

    def __init__(self, store: BlobStore) -> None:
        super().__init__(store.url)
        self.seen: dict[tuple[BlobKind, bytes], int] = {}
        self._store = store

    def get(
        self,
        root: bytes,
        *,
        max_bytes: int,
        root_of: Callable[[bytes], bytes],
        kind: BlobKind = BlobKind.UPDATE,
    ) -> bytes:
        """Read a blob."""
        data = self._store.get(root, max_bytes=max_bytes, root_of=root_of, kind=kind)
        self.seen[kind, root] = max_bytes
        return data

    def again(self) -> Iterator[tuple[str, bytes]]:
        """Give all of them by their names in a bundle, sorted."""
        for kind, root in sorted(self.seen):
            data = self._store.get(
                root, max_bytes=self.seen[kind, root], root_of=partial(_as_named, root), kind=kind
            )
            yield f"blobs/0x{root.hex()}.{kind.value}", data


def _as_named(root: bytes, _: bytes) -> bytes:
    return root


def _creation(node: Node, ledger: str, first_block: int) -> int:
    try:
        opened = read_run_opened(node, ledger, first_block)
    except HistoryError as error:
        raise BundleError("ledger", f"it was not created from block {first_block} on: {error}") from error
    return int(opened["block"])


def _header(node: Node, number: int) -> bytes:
    view = node.request("eth_getBlockByNumber", hex(number), False)
    encoded = None if not isinstance(view, dict) else encode_header(_with_numbers(view))
    if encoded is None or "0x" + keccak(encoded).hex() != view.get("hash"):
        raise BundleError(
            "headers",
            f"the header of block {number} does not give its hash",
            hint="this chain's blocks are not those of Ethereum; a bundle cannot hold them",
        )
    return encoded


def _with_numbers(view: Mapping[str, Any]) -> dict[str, Any]:
    names = (
        "difficulty",
        "number",
        "gasLimit",
        "gasUsed",
        "timestamp",
        "baseFeePerGas",
        "blobGasUsed",
        "excessBlobGas",
    )
    try:
        return {name: int(value, 16) if name in names else value for name, value in view.items()}
    except (TypeError, ValueError) as error:
        raise NodeAnswerError(f"the node's block makes no sense: {error}") from error


def _body(node: Node, number: int, header: Mapping[str, str]) -> bytes:
    """Give a block's transactions and receipts, checked against its roots."""
    try:
        views = node.request("eth_getBlockByNumber", hex(number), True)["transactions"]
        transactions = [
            encode_transaction(view) or bytes.fromhex(node.request(_RAW, view["hash"])[2:]) for view in views
        ]
        receipts = [encode_receipt(view) for view in _receipts(node, number, views)]
    except (KeyError, TypeError, ValueError) as error:
        raise NodeAnswerError(f"the node's block {number} makes no sense: {error!r}") from error
    for name, items in (("transactionsRoot", transactions), ("receiptsRoot", receipts)):
        if "0x" + list_root(items).hex() != header[name]:
            raise BundleError(
                "transactions_root" if items is transactions else "receipts_root",
                f"what the node says of block {number} is not under its root",
                hint="is this chain one with transactions of its own kind? A bundle cannot hold those",
            )
    return encode_body(number, transactions, receipts)


def _receipts(node: Node, number: int, transactions: list[Any]) -> list[Any]:
    try:
        found = node.request("eth_getBlockReceipts", hex(number))
    except NodeAnswerError:
        found = None  # an old node
    if found is None:
        found = [node.request("eth_getTransactionReceipt", view["hash"]) for view in transactions]
    return list(found)


def _add_claims(archive: ArchiveWriter, folder: RunFolder, shape: bytes) -> None:
    if folder.config.exists():
        archive.add(CONFIG, folder.config.read_bytes())
    kept = []
    for path in sorted(checkpoint_paths(folder.checkpoints)):
        try:
            found = read_checkpoint(path)
        except CheckpointError:
            continue  # a damaged one is this folder's trouble, not the run's
        root = model_root(found.theta, found.momentum, shape)
        kept.append(
            {"round": found.round_number, "model_root": "0x" + root.hex(), "coalition": list(found.coalition)}
        )
    archive.add(CHECKPOINTS, json.dumps(kept).encode() + b"\n")


def _add_file(archive: ArchiveWriter, name: str, file: IO[bytes], sha256: str) -> None:
    size = file.tell()
    file.seek(0)
    archive.add_file(name, file, size, sha256)


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _folder_of(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.parent
