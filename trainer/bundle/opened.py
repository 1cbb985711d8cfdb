"""A bundle as a source of an audit: everything in it is checked against its headers before it is believed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eth_utils import keccak, to_checksum_address

from ledger import artifacts
from ledger.blobs import BlobKind, BlobMissingError, BlobStore, BlobTooLargeError
from ledger.node import Node
from ledger.strict_json import loads
from trainer.audit.blocks import decode_header
from trainer.audit.local import Kept, LocalClaims, safe_config
from trainer.audit.source import RefusedError, reading
from trainer.bundle.archive import BODIES, CHECKPOINTS, CONFIG, HEADERS, STATE, Archive
from trainer.bundle.bodies import decode_body, in_bloom, list_root, logs_of, transaction_view
from trainer.bundle.errors import BundleError
from trainer.bundle.state import ProvenState, RevertedViewError
from trainer.config import table_of
from trainer.errors import ConfigError

CONTRACTS = ("ContributionLedger", "GateSpec", "GuardVotes", "Reputation", "WorkerRegistry")
"""Whose ABI and code a bundle carries; those of this version, or the bundle is refused."""


class Bundle:
    """An opened bundle.

    Attributes:
        manifest: What it says that it is; head and first block are those of its headers.
        source: Its chain.
        store: Its update files.
    """

    def __init__(self, archive: Archive, expected_head: bytes | None = None) -> None:
        """Check headers, bodies, state and contracts.

        Args:
            archive: The file.
            expected_head: Hash that the last block must have, from whoever knows the chain; None for any.

        Raises:
            BundleError: Something does not hold together.
        """
        self.manifest = archive.manifest
        _check_contracts(archive)
        self.source = BundleSource(archive, expected_head)
        self.store: BlobStore = BundleStore(archive)
        self._archive = archive

    def node(self) -> Node:
        """Give its chain, for an audit."""
        return reading(self.source)

    def claims(self) -> LocalClaims:
        """Give what its configuration and checkpoints say of the run.

        Raises:
            BundleError: They cannot be read.
        """
        config, checkpoints = None, {}
        try:
            if self._archive.size(CONFIG) is not None:
                config = safe_config(table_of(self._archive.read(CONFIG).decode()))
        except (ConfigError, UnicodeDecodeError) as error:
            raise BundleError("config", f"run.toml describes no run: {error}") from error
        try:
            if self._archive.size(CHECKPOINTS) is not None:
                for entry in loads(self._archive.read(CHECKPOINTS)):
                    coalition = tuple(int(value) for value in entry["coalition"])
                    checkpoints[int(entry["round"])] = Kept(bytes.fromhex(entry["model_root"][2:]), coalition)
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError("checkpoints", f"cannot be read: {error!r}") from error
        return LocalClaims(config, checkpoints)


class BundleSource:
    """The chain in a bundle; trainer.audit.source.Source."""

    def __init__(self, archive: Archive, expected_head: bytes | None) -> None:
        self._archive = archive
        self._manifest = manifest = archive.manifest
        self._address = _address(manifest.ledger)
        self._headers: list[int] = []
        self._bodies: dict[int, int] = {}
        self._places: dict[bytes, tuple[int, int]] = {}
        wanted = self._check_headers(expected_head)
        self._check_bodies(wanted)
        nodes = {keccak(data): data for _, data in archive.records(STATE)}
        self._state = ProvenState(nodes, self._header(manifest.head_block), manifest.chain_id)

    def chain_id(self) -> str:
        """Give the chain id."""
        return hex(self._manifest.chain_id)

    def head(self) -> str:
        """Give the number of the last block."""
        return hex(self._manifest.head_block)

    def block(self, number: str) -> dict[str, str]:
        """Give a header.

        Raises:
            BundleError: The bundle does not reach there.
        """
        place = self._manifest.head_block if number == "latest" else int(number, 16)
        if not self._manifest.first_block <= place <= self._manifest.head_block:
            raise BundleError("headers", f"block {place} is not in it")
        return self._header(place)

    def code(self, address: str) -> str:
        """Give the code at an address."""
        return "0x" + self._state.code(_address(address)).hex()

    def logs(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Give the ledger's logs in a range of blocks.

        Raises:
            BundleError: Another contract's are asked for.
        """
        asked = query["address"]
        if _address(asked[0] if isinstance(asked, list) else asked) != self._address:
            raise BundleError("ledger", f"it has no events of {asked}, only of {self._manifest.ledger}")
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        topics = query.get("topics") or []
        numbers = [number for number in self._bodies if first <= number <= last]
        return [log for number in numbers for log in self._logs_in(number) if _matches(log, topics)]

    def transaction(self, transaction_hash: str) -> dict[str, str | None] | None:
        """Give a transaction of a block in which the ledger has events."""
        found = self._places.get(bytes.fromhex(transaction_hash[2:]))
        if found is None:
            return None
        number, place = found
        _, transactions, _ = decode_body(self._archive.record(BODIES, self._bodies[number]))
        return transaction_view(transactions[place], number, place)

    def call(self, request: Mapping[str, Any]) -> str:
        """Evaluate a view."""
        data = bytes.fromhex((request.get("data") or request.get("input") or "0x")[2:])
        try:
            return "0x" + self._state.call(_address(request["to"]), data).hex()
        except RevertedViewError as reverted:
            error = {"code": 3, "message": "execution reverted", "data": "0x" + reverted.data.hex()}
            raise RefusedError(error) from reverted

    def _header(self, number: int) -> dict[str, str]:
        place = self._headers[number - self._manifest.first_block]
        return decode_header(self._archive.record(HEADERS, place))

    def _check_headers(self, expected_head: bytes | None) -> dict[int, tuple[bytes, bytes]]:
        """Check that the headers are a chain; give the roots of the blocks that may hold our events."""
        manifest, wanted = self._manifest, {}
        parent, number = "", manifest.first_block
        for place, data in self._archive.records(HEADERS):
            try:
                header = decode_header(data)
            except ValueError as error:
                raise BundleError("headers", f"block {number}: {error}") from error
            if int(header["number"], 16) != number or parent not in ("", header["parentHash"]):
                raise BundleError("headers", f"block {number} does not follow the one before it")
            if in_bloom(bytes.fromhex(header["logsBloom"][2:]), self._address):
                roots = (header[name] for name in ("transactionsRoot", "receiptsRoot"))
                wanted[number] = tuple(bytes.fromhex(root[2:]) for root in roots)
            self._headers.append(place)
            parent, number = header["hash"], number + 1
        if number != manifest.head_block + 1 or bytes.fromhex(parent[2:]) != manifest.head_hash:
            raise BundleError(
                "headers", f"they end with block {number - 1}, {parent}, not with the manifest's head"
            )
        if expected_head is not None and expected_head != manifest.head_hash:
            raise BundleError(
                "head",
                f"its last block, {manifest.head_block}, is {parent}, not 0x{expected_head.hex()}",
                hint="this is another chain than the one that the hash is from",
            )
        return wanted  # type: ignore[return-value]

    def _check_bodies(self, wanted: dict[int, tuple[bytes, bytes]]) -> None:
        last = -1
        for at, data in self._archive.records(BODIES):
            number, transactions, receipts = decode_body(data)
            if number <= last or number not in wanted:
                raise BundleError("bodies", f"block {number} is not due here")
            for name, root, items in zip(
                ("transactions_root", "receipts_root"), wanted[number], (transactions, receipts), strict=True
            ):
                if list_root(items) != root:
                    raise BundleError(name, f"what it has of block {number} is not under that block's root")
            self._bodies[number] = at
            for place, (transaction, receipt) in enumerate(zip(transactions, receipts, strict=True)):
                if any(address == self._address for address, _, _ in logs_of(receipt)):
                    self._check_chain(transaction, number, place)
                    self._places[keccak(transaction)] = (number, place)
            last = number
        missing = min(wanted.keys() - self._bodies.keys(), default=None)
        if missing is not None:
            raise BundleError("bloom", f"block {missing} may hold events of the ledger, and is not there")

    def _check_chain(self, transaction: bytes, number: int, place: int) -> None:
        stated = transaction_view(transaction, number, place)["chainId"]
        if stated is not None and int(stated, 16) != self._manifest.chain_id:
            raise BundleError(
                "chain_id", f"is {self._manifest.chain_id}, but its transactions are for {int(stated, 16)}"
            )

    def _logs_in(self, number: int) -> list[dict[str, Any]]:
        _, transactions, receipts = decode_body(self._archive.record(BODIES, self._bodies[number]))
        block_hash, found, index = self._header(number)["hash"], [], 0
        for place, (transaction, receipt) in enumerate(zip(transactions, receipts, strict=True)):
            for address, topics, data in logs_of(receipt):
                if address == self._address:
                    found.append(
                        {
                            "address": to_checksum_address(address),
                            "topics": ["0x" + topic.hex() for topic in topics],
                            "data": "0x" + data.hex(),
                            "blockNumber": hex(number),
                            "blockHash": block_hash,
                            "transactionHash": "0x" + keccak(transaction).hex(),
                            "transactionIndex": hex(place),
                            "logIndex": hex(index),
                            "removed": False,
                        }
                    )
                index += 1
        return found


class BundleStore(BlobStore):
    """The update files in a bundle."""

    def __init__(self, archive: Archive) -> None:
        super().__init__("memory://bundle")
        self.url = "bundle"
        self._archive = archive

    def location(self, root: bytes, kind: BlobKind = BlobKind.UPDATE) -> str:
        """Give the name of a blob's member."""
        return "blobs/" + super().location(root, kind).rpartition("/")[2]

    def exists(self, root: bytes, kind: BlobKind = BlobKind.UPDATE) -> bool:
        """Tell whether the bundle has a blob."""
        return self._archive.size(self.location(root, kind)) is not None

    def _read(self, location: str, max_bytes: int) -> bytes:
        size = self._archive.size(location)
        if size is None:
            raise BlobMissingError("it is not in the bundle", location=location)
        if size > max_bytes:
            raise BlobTooLargeError(location, max_bytes)
        return self._archive.read(location)


@contextmanager
def open_bundle(path: Path, expected_head: bytes | None = None) -> Iterator[Bundle]:
    """Open a bundle and check it.

    Args:
        path: The file.
        expected_head: Hash that its last block must have, 32 bytes; None for any.

    Raises:
        BundleError: It does not hold together, or ends with another block.
    """
    try:
        archive = Archive(path)
    except OSError as error:
        raise BundleError("archive", f"{path} cannot be opened: {error.strerror}") from error
    try:
        yield Bundle(archive, expected_head)
    finally:
        archive.close()


def contract_file(name: str) -> bytes:
    """Give what a bundle carries of a contract: its ABI, and its code with empty immutables."""
    artifact = artifacts.load(name)
    content = {"name": name, "abi": artifact.abi, "runtime": "0x" + artifact.runtime.hex()}
    return json.dumps(content, sort_keys=True).encode() + b"\n"


def _check_contracts(archive: Archive) -> None:
    for name in CONTRACTS:
        member = f"contracts/{name}.json"
        if archive.size(member) is None or archive.read(member) != contract_file(name):
            raise BundleError(
                "contracts",
                f"{name} is missing or not that of this version",
                hint="use the version that made it",
            )


def _matches(log: Mapping[str, Any], topics: Sequence[Any]) -> bool:
    here = log["topics"]
    return len(topics) <= len(here) and all(
        wanted is None or found == wanted or (isinstance(wanted, list) and found in wanted)
        for wanted, found in zip(topics, here, strict=False)
    )


def _address(text: str) -> bytes:
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except (ValueError, AttributeError) as error:
        raise BundleError("manifest", f"{text!r} is no address") from error
    if len(data) != 20:
        raise BundleError("manifest", f"{text!r} is no address")
    return data
