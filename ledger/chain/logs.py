"""An index of all logs, in the chain's own file and written in the block's own transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from eth.abc import BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI

from ledger.chain.errors import TooManyLogsError
from ledger.chain.store import BlockWrite, SqliteStore, SqlValue

MAX_TOPICS: Final = 4
_NARROW_BLOCKS: Final = 64

_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS blocks (
        number INTEGER PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE
    )""",
    # The primary key is the order of eth_getLogs, and the tail of every secondary index.
    """CREATE TABLE IF NOT EXISTS logs (
        block_number INTEGER NOT NULL,
        log_index INTEGER NOT NULL,
        transaction_index INTEGER NOT NULL,
        transaction_hash BLOB NOT NULL,
        address BLOB NOT NULL,
        topic0 BLOB,
        topic1 BLOB,
        topic2 BLOB,
        topic3 BLOB,
        data BLOB NOT NULL,
        PRIMARY KEY (block_number, log_index)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS logs_topic1 ON logs (address, topic0, topic1)",
    "CREATE INDEX IF NOT EXISTS logs_topic2 ON logs (address, topic0, topic2) WHERE topic2 IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS logs_topic3 ON logs (address, topic0, topic3) WHERE topic3 IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS logs_event ON logs (topic0)",
)


@dataclass(frozen=True, slots=True)
class StoredLog:
    """One log with its place in the chain.

    Attributes:
        block_number: Number of its block.
        block_hash: Hash of its block.
        log_index: Position among the logs of the block.
        transaction_index: Position of its transaction in the block.
        transaction_hash: Hash of its transaction.
        address: Contract that wrote it, 20 bytes.
        topics: Up to four words of 32 bytes.
        data: The rest.
    """

    block_number: int
    block_hash: bytes
    log_index: int
    transaction_index: int
    transaction_hash: bytes
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which logs to give.

    Attributes:
        from_block: First block, inclusive.
        to_block: Last block, inclusive.
        addresses: Contracts; empty means any.
        topics: For each position the words that are accepted there; an empty
            tuple accepts any. A log with fewer topics than positions never matches.
    """

    from_block: int
    to_block: int
    addresses: tuple[bytes, ...] = ()
    topics: tuple[tuple[bytes, ...], ...] = ()


class LogIndex:
    """Writes and finds logs. Never out of step with the chain, as both commit together."""

    def __init__(self, store: SqliteStore) -> None:
        """Create the tables where they are missing.

        Args:
            store: The chain's store.
        """
        self._store = store
        for statement in _SCHEMA:
            store.connection.execute(statement)

    def add_block(
        self,
        write: BlockWrite,
        header: BlockHeaderAPI,
        transactions: Sequence[SignedTransactionAPI],
        receipts: Sequence[ReceiptAPI],
    ) -> None:
        """Queue the logs of a block for its transaction.

        Args:
            write: The block's pending writes.
            header: Header of the finished block.
            transactions: Its transactions.
            receipts: Their receipts, in the same order.
        """
        write.execute("INSERT INTO blocks VALUES (?, ?)", [(header.block_number, header.hash)])
        rows: list[tuple[SqlValue, ...]] = []
        for index, (transaction, receipt) in enumerate(zip(transactions, receipts, strict=True)):
            for log in receipt.logs:
                topics = [topic.to_bytes(32, "big") for topic in log.topics]
                padded = topics + [None] * (MAX_TOPICS - len(topics))
                rows.append(
                    (header.block_number, len(rows), index, transaction.hash, log.address, *padded, log.data)
                )
        write.execute("INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def find(self, query: LogQuery, *, limit: int) -> list[StoredLog]:
        """Give all matching logs in chain order.

        Args:
            query: What to look for.
            limit: The most logs to return.

        Returns:
            The logs, by block number and log index.

        Raises:
            TooManyLogsError: More than ``limit`` match; nothing is cut off silently.
        """
        if len(query.topics) > MAX_TOPICS or query.from_block > query.to_block:
            return []
        # A narrow range is read from the primary key; a unary plus keeps sqlite off the other indexes.
        plus = "+" if query.to_block - query.from_block < _NARROW_BLOCKS else ""
        where = ["block_number BETWEEN ? AND ?"]
        values: list[SqlValue] = [query.from_block, query.to_block]
        columns = [("address", query.addresses)]
        columns += [(f"topic{position}", accepted) for position, accepted in enumerate(query.topics)]
        for column, accepted in columns:
            if accepted:
                where.append(f"{plus}{column} IN ({', '.join('?' * len(accepted))})")
                values += accepted
            elif column != "address":
                where.append(f"+{column} IS NOT NULL")
        sql = (
            "SELECT block_number, (SELECT hash FROM blocks WHERE number = block_number), log_index,"  # noqa: S608
            " transaction_index, transaction_hash, address, topic0, topic1, topic2, topic3, data"
            f" FROM logs WHERE {' AND '.join(where)} ORDER BY block_number, log_index LIMIT ?"
        )
        rows = self._store.query(sql, [*values, limit + 1]).fetchall()
        if len(rows) > limit:
            raise TooManyLogsError(limit)
        return [_stored_log(row) for row in rows]

    def block_number(self, block_hash: bytes) -> int | None:
        """Give the number of a block by its hash, or None if there is no such block."""
        row = self._store.query("SELECT number FROM blocks WHERE hash = ?", (block_hash,)).fetchone()
        return None if row is None else int(row[0])

    def count_before(self, block_number: int, transaction_index: int) -> int:
        """Give the number of logs of a block that earlier transactions wrote."""
        row = self._store.query(
            "SELECT COUNT(*) FROM logs WHERE block_number = ? AND transaction_index < ?",
            (block_number, transaction_index),
        ).fetchone()
        return int(row[0])

    def count(self) -> int:
        """Give the number of logs of the whole chain."""
        return int(self._store.query("SELECT COUNT(*) FROM logs").fetchone()[0])


def _stored_log(row: Sequence[SqlValue]) -> StoredLog:
    number, block_hash, log_index, transaction_index, transaction_hash, address, *rest = row
    return StoredLog(
        block_number=_integer(number),
        block_hash=_octets(block_hash),
        log_index=_integer(log_index),
        transaction_index=_integer(transaction_index),
        transaction_hash=_octets(transaction_hash),
        address=_octets(address),
        topics=tuple(_present(rest[:MAX_TOPICS])),
        data=_octets(rest[MAX_TOPICS]),
    )


def _present(topics: Iterable[SqlValue]) -> Iterable[bytes]:
    return (_octets(topic) for topic in topics if topic is not None)


def _integer(value: SqlValue) -> int:
    if not isinstance(value, int):
        raise TypeError("log index: integer expected")
    return value


def _octets(value: SqlValue) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("log index: bytes expected")
    return value
