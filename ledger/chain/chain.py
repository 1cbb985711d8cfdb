"""The embedded chain: py-evm under Prague rules, on one durable file."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Self, cast

from eth.abc import BlockAPI, BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import MiningChain
from eth.constants import ZERO_ADDRESS
from eth.exceptions import HeaderNotFound, TransactionNotFound
from eth.typing import AccountDetails
from eth.vm.forks.prague import PragueVM
from eth_typing import Address, BlockNumber, Hash32
from eth_utils import ValidationError
from eth_utils.crypto import keccak

from ledger.chain.clock import Clock, SystemClock
from ledger.chain.errors import (
    BlockUnknownError,
    ChainClosedError,
    ChainFormatError,
    TimeRefusedError,
    TransactionRefusedError,
)
from ledger.chain.genesis import Genesis
from ledger.chain.lock import DirectoryLock
from ledger.chain.logs import LogIndex
from ledger.chain.store import BlockWrite, SqliteStore
from ledger.chain.transactions import admit, decode_transaction
from ledger.strict_json import loads

_LOG: Final = logging.getLogger(__name__)

FORMAT_VERSION: Final = 1
DATABASE_NAME: Final = "chain.sqlite"
MAX_TIMESTAMP_S: Final = 2**63 - 1

_META_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
_META_SET: Final = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


@dataclass(frozen=True, slots=True)
class Travel:
    """What somebody asked of the clock.

    Attributes:
        skipped_s: Seconds to jump ahead of the clock.
        exact_s: Timestamp that the next block must have, or None.
    """

    skipped_s: int = 0
    exact_s: int | None = None


@dataclass(frozen=True, slots=True)
class MinedBlock:
    """A block of the chain with the receipts of its transactions."""

    block: BlockAPI
    receipts: tuple[ReceiptAPI, ...]

    @property
    def number(self) -> int:
        """Block number."""
        return int(self.block.number)

    @property
    def hash(self) -> bytes:
        """Block hash, 32 bytes."""
        return bytes(self.block.hash)


BlockListener = Callable[[MinedBlock], None]


class EmbeddedChain:
    """A single-node chain whose every method may be called from any thread.

    Each block is durable before the call that made it returns, and passes
    py-evm's ``import_block`` on any other node with the same genesis. A
    transaction is in a block or it was refused: there is no queue.

    Attributes:
        genesis: What the chain starts from.
        clock: Where timestamps come from.
        store: The database; for reading only.
        logs: The log index.
        lock: Guards all of it; hold it to see several reads of one moment.
        max_transaction_bytes: Largest raw transaction that is accepted.
    """

    def __init__(
        self,
        store: SqliteStore,
        *,
        genesis: Genesis,
        clock: Clock,
        directory_lock: DirectoryLock | None,
        max_transaction_bytes: int,
    ) -> None:
        self.genesis = genesis
        self.clock = clock
        self.store = store
        self.lock = threading.RLock()
        self.max_transaction_bytes = max_transaction_bytes
        self._directory_lock = directory_lock
        self._listeners: list[BlockListener] = []
        self._closed = False
        store.connection.execute(_META_SCHEMA)
        is_new = _check_format(store, genesis)
        self.logs = LogIndex(store)
        chain_class = _chain_class(genesis)
        if is_new:
            _write_genesis(store, self.logs, genesis, chain_class)
        self._chain = chain_class(store)
        self._travel = _read_travel(store)

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        genesis: Genesis | None = None,
        clock: Clock | None = None,
        max_transaction_bytes: int = 1 << 20,
    ) -> EmbeddedChain:
        """Open the chain in a directory, or make a new one there.

        Args:
            path: The data directory, created where it is missing; None for a chain
                in memory that is gone when it is closed.
            genesis: What a new chain starts from and an old one must have started
                from; the default :class:`Genesis` if None.
            clock: Where timestamps come from; :class:`SystemClock` if None.
            max_transaction_bytes: Largest raw transaction that is accepted.

        Returns:
            The open chain; close it, or use it as a context manager.

        Raises:
            ChainLockedError: Another process has the directory open.
            ChainFormatError: The directory holds a chain of another version or genesis.
            StorageError: The directory cannot be read or written.
        """
        directory_lock = None if path is None else DirectoryLock(path)
        store: SqliteStore | None = None
        try:
            store = SqliteStore(None if path is None else path / DATABASE_NAME)
            return cls(
                store,
                genesis=genesis or Genesis(),
                clock=clock or SystemClock(),
                directory_lock=directory_lock,
                max_transaction_bytes=max_transaction_bytes,
            )
        except BaseException:
            if store is not None:
                store.close()
            if directory_lock is not None:
                directory_lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let go of the directory; doing so twice is harmless."""
        with self.lock:
            self._closed = True
            self.store.close()
            if self._directory_lock is not None:
                self._directory_lock.release()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the lock on an open chain.

        Raises:
            ChainClosedError: The chain was closed.
        """
        with self.lock:
            if self._closed:
                raise ChainClosedError
            yield

    # Mining

    def mine(self, raw_transactions: Sequence[bytes] = (), *, timestamp_s: int | None = None) -> MinedBlock:
        """Execute transactions in one new block, all of them or none.

        Args:
            raw_transactions: Signed transactions in order; empty for an empty block.
            timestamp_s: Timestamp of the block; from the clock if None.

        Returns:
            The block, already durable. A reverted transaction is part of it.

        Raises:
            TransactionRefusedError: One of them is not valid there; names which.
                Nothing of the batch was executed.
            TimeRefusedError: The timestamp does not come after the head's.
            StorageError: The block could not be written; nothing changed.
        """
        transactions = [
            decode_transaction(raw, max_bytes=self.max_transaction_bytes, index=index)
            for index, raw in enumerate(raw_transactions)
        ]
        with self.reading():
            header = self.next_header(timestamp_s=timestamp_s)
            travel = self._travel_after(header.timestamp, was_exact=timestamp_s is not None)
            with self.store.block() as write:
                mined = self._execute(header, transactions)
                self.logs.add_block(write, mined.block.header, transactions, mined.receipts)
                if travel != self._travel:
                    _queue_travel(write, travel)
            self._travel = travel
            self._announce(mined)
        return mined

    def _execute(self, header: BlockHeaderAPI, transactions: Sequence[SignedTransactionAPI]) -> MinedBlock:
        # MiningChain.mine_all with three changes: the header is complete before anything runs, the
        # state hooks of import_block are called, and every transaction passes the door on the state it meets.
        vm = self.vm_at(header)
        vm.block_preprocessing(vm.get_block())
        receipts: list[ReceiptAPI] = []
        for index, transaction in enumerate(transactions):
            admit(vm.state, header, transaction, chain_id=self.genesis.chain_id, index=index)
            try:
                receipt, _ = vm.apply_transaction(header, transaction)
            except ValidationError as error:
                raise TransactionRefusedError(
                    str(error)[:200], index=index, transaction_hash=transaction.hash
                ) from error
            header = vm.increment_blob_gas_used(vm.add_receipt_to_header(header, receipt), transaction)
            receipts.append(receipt)
        filled = vm.set_block_transactions_and_withdrawals(vm.get_block(), header, transactions, receipts)
        block = vm.mine_block(vm.block_postprocessing(filled)).block
        self._chain.persist_block(block)
        return MinedBlock(block, tuple(receipts))

    def import_block(self, block: BlockAPI) -> MinedBlock:
        """Re-execute a block of another chain with the same genesis on top of the head.

        Args:
            block: The block; its parent must be the head.

        Returns:
            The imported block with its receipts.

        Raises:
            TransactionRefusedError: Re-execution gives another block: the import
                does not follow the rules, or does not follow the head.
        """
        with self.reading():
            if block.header.parent_hash != self.head().hash:
                raise TransactionRefusedError(
                    f"block {block.number} does not import: its parent is not the head"
                )
            for index, transaction in enumerate(block.transactions):
                # py-evm executes a transaction of another chain without a word.
                if transaction.chain_id != self.genesis.chain_id:
                    raise TransactionRefusedError(
                        f"block {block.number} does not import: transaction {index} is for another chain",
                        index=index,
                        transaction_hash=transaction.hash,
                    )
            try:
                with self.store.block() as write:
                    imported = self._chain.import_block(block).imported_block
                    receipts = tuple(imported.get_receipts(self._chain.chaindb))
                    self.logs.add_block(write, imported.header, imported.transactions, receipts)
            except ValidationError as error:
                raise TransactionRefusedError(
                    f"block {block.number} does not import: {str(error)[:400]}"
                ) from error
            mined = MinedBlock(imported, receipts)
            self._announce(mined)
            return mined

    def _announce(self, mined: MinedBlock) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(mined)
            except Exception:  # noqa: BLE001 - reported below
                # The block is durable: whoever sent it must not be told otherwise.
                _LOG.exception("a listener failed at block %d", mined.number)

    def on_block(self, listener: BlockListener) -> Callable[[], None]:
        """Call somebody after each mined block, on the thread that mined it.

        Args:
            listener: Called with the block while the chain is locked; must be quick
                and must not raise.

        Returns:
            A function that ends the calls.
        """
        with self.lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self.lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return stop

    # Time

    def skip_time(self, seconds: int) -> int:
        """Jump ahead.

        Under a clock that runs on by itself all later blocks move; under the logical
        clock only the next one does, as later ones count from there.

        Args:
            seconds: How far, >= 0; adds to earlier jumps.

        Returns:
            Seconds by which the chain is now ahead.

        Raises:
            TimeRefusedError: Negative, or past the end of time.
        """
        with self.reading():
            head_s = self.head().timestamp
            skipped = self._travel.skipped_s + seconds
            if seconds < 0 or head_s + skipped > MAX_TIMESTAMP_S:
                raise TimeRefusedError(
                    f"cannot move time by {seconds} seconds", requested_s=head_s + seconds, head_s=head_s
                )
            self._save_travel(replace(self._travel, skipped_s=skipped))
            return skipped

    def set_next_timestamp(self, timestamp_s: int) -> None:
        """Fix the timestamp of the next block; the clock goes on from there.

        Args:
            timestamp_s: Seconds since the epoch, after the head's.

        Raises:
            TimeRefusedError: Not after the head's timestamp, or past the end of time.
        """
        with self.reading():
            self._check_time(timestamp_s)
            self._save_travel(replace(self._travel, exact_s=timestamp_s))

    def _check_time(self, timestamp_s: int) -> None:
        head_s = self.head().timestamp
        if not head_s < timestamp_s <= MAX_TIMESTAMP_S:
            raise TimeRefusedError(
                f"timestamp {timestamp_s} does not come after the head's {head_s}",
                requested_s=timestamp_s,
                head_s=head_s,
            )

    def _save_travel(self, travel: Travel) -> None:
        with self.store.block() as write:
            _queue_travel(write, travel)
        self._travel = travel

    def _travel_after(self, timestamp_s: int, *, was_exact: bool) -> Travel:
        if not self.clock.keeps_skips:
            return Travel()
        if was_exact or self._travel.exact_s is not None:
            # Like other local chains: the clock goes on from the time that was set.
            return Travel(skipped_s=max(0, timestamp_s - self.clock.next_timestamp_s(0, 0)))
        return self._travel

    # Reading

    def head(self) -> BlockHeaderAPI:
        """Give the header of the newest block."""
        with self.reading():
            return self._chain.get_canonical_head()

    def next_header(self, *, timestamp_s: int | None = None) -> BlockHeaderAPI:
        """Give the header, without transactions, of a block mined right now.

        Args:
            timestamp_s: Its timestamp; from the clock if None.

        Raises:
            TimeRefusedError: The timestamp does not come after the head's.
        """
        with self.reading():
            head = self._chain.get_canonical_head()
            if timestamp_s is None:
                timestamp_s = self._travel.exact_s
            if timestamp_s is None:
                timestamp_s = self.clock.next_timestamp_s(head.timestamp, self._travel.skipped_s)
            self._check_time(timestamp_s)
            return self._chain.create_header_from_parent(
                head,
                timestamp=timestamp_s,
                gas_limit=head.gas_limit,
                coinbase=ZERO_ADDRESS,
                # There is no beacon chain: PREVRANDAO is a function of the parent, and predictable.
                mix_hash=keccak(head.hash),
            )

    def header(self, block: int | bytes) -> BlockHeaderAPI:
        """Give a header by block number or hash.

        Raises:
            BlockUnknownError: There is no such block.
        """
        with self.reading():
            # Never by a look-up of the hash itself: contract code lives under its hash in the same
            # store, and code may be the encoding of a header that never was.
            number = block if isinstance(block, int) else self.logs.block_number(block)
            if number is None:
                raise BlockUnknownError(block)
            try:
                return self._chain.get_canonical_block_header_by_number(BlockNumber(number))
            except (HeaderNotFound, ValidationError) as error:
                raise BlockUnknownError(block) from error

    def block(self, header: BlockHeaderAPI) -> MinedBlock:
        """Give the block of a header, with its receipts."""
        with self.reading():
            block = self._chain.get_block_by_header(header)
            return MinedBlock(block, tuple(block.get_receipts(self._chain.chaindb)))

    def transaction_place(self, transaction_hash: bytes) -> tuple[int, int] | None:
        """Give block number and index of a mined transaction, or None."""
        with self.reading():
            try:
                number, index = self._chain.chaindb.get_transaction_index(Hash32(transaction_hash))
            except TransactionNotFound:
                return None
            return int(number), int(index)

    def transaction(self, block_number: int, index: int) -> SignedTransactionAPI | None:
        """Give the transaction at a place in the chain, or None."""
        with self.reading():
            try:
                return self._chain.get_canonical_transaction_by_index(BlockNumber(block_number), index)
            except TransactionNotFound:
                return None

    def receipt(self, block_number: int, index: int) -> ReceiptAPI:
        """Give the receipt at a place that is known to exist."""
        with self.reading():
            return self._chain.get_transaction_receipt_by_index(BlockNumber(block_number), index)

    def vm_at(self, header: BlockHeaderAPI) -> PragueVM:
        """Give a machine whose state is that of ``header`` and whose context is ``header``."""
        with self.reading():
            return cast(PragueVM, self._chain.get_vm(header))

    def state_at(self, header: BlockHeaderAPI) -> StateAPI:
        """Give the state after a block; changes to it go nowhere."""
        return self.vm_at(header).state


def _chain_class(genesis: Genesis) -> type[MiningChain]:
    return MiningChain.configure(
        __name__="HallmarkChain", vm_configuration=((BlockNumber(0), PragueVM),), chain_id=genesis.chain_id
    )


def _check_format(store: SqliteStore, genesis: Genesis) -> bool:
    """Compare the file's format rows; True if it is empty."""
    found = dict(store.query("SELECT name, value FROM meta").fetchall())
    if not found:
        return True
    for field, expected in _format_rows(genesis):
        if found.get(field) != expected:
            raise ChainFormatError(store.path, field, found=str(found.get(field)), expected=expected)
    return False


def _format_rows(genesis: Genesis) -> list[tuple[str, str]]:
    return [
        ("format_version", str(FORMAT_VERSION)),
        ("chain_id", str(genesis.chain_id)),
        ("genesis_digest", f"0x{genesis.digest().hex()}"),
    ]


def _write_genesis(
    store: SqliteStore, logs: LogIndex, genesis: Genesis, chain_class: type[MiningChain]
) -> None:
    accounts: dict[Address, AccountDetails] = {
        Address(address): {"balance": genesis.balance_wei, "nonce": 0, "code": b"", "storage": {}}
        for address in genesis.addresses()
    }
    with store.block() as write:
        chain = chain_class.from_genesis(
            store,
            {
                "gas_limit": genesis.gas_limit,
                "timestamp": genesis.timestamp_s,
                "base_fee_per_gas": genesis.base_fee_wei,
            },
            accounts,
        )
        logs.add_block(write, chain.get_canonical_block_header_by_number(BlockNumber(0)), (), ())
        write.execute(_META_SET, _format_rows(genesis))


def _read_travel(store: SqliteStore) -> Travel:
    row = store.query("SELECT value FROM meta WHERE name = 'travel'").fetchone()
    if row is None:
        return Travel()
    try:
        # The folder may be somebody else's.
        found = Travel(**loads(row[0]))
    except (ValueError, TypeError) as error:
        raise ChainFormatError(store.path, "travel", found=repr(row[0])[:80], expected="a time") from error
    times = (found.skipped_s, 0 if found.exact_s is None else found.exact_s)
    if not all(type(time_s) is int and 0 <= time_s <= MAX_TIMESTAMP_S for time_s in times):
        raise ChainFormatError(store.path, "travel", found=repr(row[0])[:80], expected="a time")
    return found


def _queue_travel(write: BlockWrite, travel: Travel) -> None:
    write.execute(_META_SET, [("travel", json.dumps(asdict(travel)))])
