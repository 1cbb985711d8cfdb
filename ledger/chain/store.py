"""py-evm's key-value store over one sqlite file: a block is written whole or not at all."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from eth.abc import AtomicWriteBatchAPI
from eth.db.atomic import AtomicDBWriteBatch
from eth.db.backends.base import BaseAtomicDB

from ledger.chain.errors import StorageError

SqlValue = bytes | str | int | None
SqlRow = Sequence[SqlValue]

# Rowid table with a separate index: values (trie nodes, code) are too large to live in the key's b-tree.
_SCHEMA = "CREATE TABLE IF NOT EXISTS kv (key BLOB PRIMARY KEY, value BLOB NOT NULL)"
_UPSERT = "INSERT INTO kv (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


class BlockWrite:
    """Everything that one block writes, kept in memory until it is committed at once."""

    __slots__ = ("entries", "statements")

    def __init__(self) -> None:
        # None marks a deleted key.
        self.entries: dict[bytes, bytes | None] = {}
        self.statements: list[tuple[str, list[SqlRow]]] = []

    def execute(self, sql: str, rows: Iterable[SqlRow]) -> None:
        """Queue rows of another table, to be written in the same transaction.

        Args:
            sql: One INSERT, UPDATE or DELETE statement.
            rows: Its parameters, one tuple for each execution.
        """
        self.statements.append((sql, list(rows)))


class SqliteStore(BaseAtomicDB):
    """A database for py-evm that only changes inside :meth:`block`.

    Everything written within one ``with store.block()`` reaches the disk in one
    transaction with synchronous=FULL: after a kill at any moment the file holds
    either the whole block or nothing of it, and opening it replays nothing.
    Writing outside of a block is an error, so a simulated call cannot leave a trace.

    Not thread-safe: the owner holds a lock.
    """

    def __init__(self, path: Path | None) -> None:
        """Open or create the database.

        Args:
            path: The file, or None for a database in memory.

        Raises:
            StorageError: The file cannot be opened or is no database.
        """
        self.path = path
        self._pending: BlockWrite | None = None
        try:
            self.connection = sqlite3.connect(
                ":memory:" if path is None else path, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise StorageError(
                f"cannot open {path}: {error}", hint="check the path and its permissions"
            ) from error
        try:
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            self.connection.execute("PRAGMA cache_size = -65536")
            self.connection.execute(_SCHEMA)
        except sqlite3.Error as error:
            self.connection.close()
            raise StorageError(
                f"cannot use {path}: {error}",
                hint="it is damaged, or no chain database; choose another directory",
            ) from error

    def close(self) -> None:
        """Close the file; doing so twice is harmless."""
        self.connection.close()

    @contextmanager
    def block(self) -> Iterator[BlockWrite]:
        """Collect writes and commit them in one durable transaction.

        Yields:
            The pending writes; queue rows of other tables with ``execute``.

        Raises:
            StorageError: The transaction failed; nothing was written. Also raised
                when blocks are nested.
        """
        if self._pending is not None:
            raise StorageError("a block is already being written")
        pending = self._pending = BlockWrite()
        try:
            yield pending
            self._commit(pending)
        finally:
            self._pending = None

    def _commit(self, pending: BlockWrite) -> None:
        puts = [(key, value) for key, value in pending.entries.items() if value is not None]
        deletes = [(key,) for key, value in pending.entries.items() if value is None]
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(_UPSERT, puts)
            self.connection.executemany("DELETE FROM kv WHERE key = ?", deletes)
            for sql, rows in pending.statements:
                self.connection.executemany(sql, rows)
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(
                f"block was not written: {error}", hint="check free space and permissions, then send again"
            ) from error
        finally:
            # Also after a KeyboardInterrupt: an open transaction would make the next block fail.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def query(self, sql: str, parameters: SqlRow = ()) -> sqlite3.Cursor:
        """Run a read-only statement.

        Args:
            sql: A SELECT statement.
            parameters: Its parameters.

        Returns:
            The cursor, to be read at once.

        Raises:
            StorageError: The file cannot be read.
        """
        try:
            return self.connection.execute(sql, parameters)
        except sqlite3.Error as error:
            raise StorageError(f"cannot read {self.path}: {error}") from error

    def __getitem__(self, key: bytes) -> bytes:
        if self._pending is not None and key in self._pending.entries:
            pending = self._pending.entries[key]
            if pending is None:
                raise KeyError(key)
            return pending
        row = self.query("SELECT value FROM kv WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return bytes(row[0])

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._writable().entries[key] = value

    def __delitem__(self, key: bytes) -> None:
        if not self._exists(key):
            raise KeyError(key)
        self._writable().entries[key] = None

    def _exists(self, key: bytes) -> bool:
        if self._pending is not None and key in self._pending.entries:
            return self._pending.entries[key] is not None
        return self.query("SELECT 1 FROM kv WHERE key = ?", (key,)).fetchone() is not None

    def _writable(self) -> BlockWrite:
        if self._pending is None:
            raise StorageError("the chain's state changes only while a block is written")
        return self._pending

    @contextmanager
    def atomic_batch(self) -> Iterator[AtomicWriteBatchAPI]:
        """Give py-evm a nested batch that joins the block unless it raises.

        Yields:
            The batch, readable while it is written.
        """
        # py-evm's own context manager logs the whole difference on an error, megabytes of it.
        batch = AtomicDBWriteBatch(self)
        yield batch
        batch._commit()
