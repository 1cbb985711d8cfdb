"""The blob store: files of updates, models and traces under their roots, at any URL that fsspec knows."""

import os
import re
import stat
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import fsspec
from aiohttp import ClientTimeout
from fsspec.implementations.local import LocalFileSystem

from ledger.deadline import within
from ledger.disk import sync
from ledger.errors import EnvironmentFault, InputError, LedgerError, ProofError

ROOT_BYTES = 32
_PART = ".part"

T = TypeVar("T")

_USER_OF_URL = re.compile(r"://[^/\s]*@")

# A store that is no local folder has so long for an answer, and for each byte as long as over a slow line
# that several share.
_TIMEOUT_S = 60.0
_SLOWEST_BYTES_PER_S = 1 << 16


class BlobError(LedgerError):
    """Base of every error of the blob store.

    Attributes:
        location: URL or path of the blob or store, without a user's name and password.
    """

    code: ClassVar[str] = "blob"

    def __init__(self, message: str, *, location: str, hint: str = "") -> None:
        # The driver's own words may have the URL in them, too.
        super().__init__(_USER_OF_URL.sub("://", f"{location}: {message}"), hint=hint)
        self.location = _USER_OF_URL.sub("://", location)


class BlobNameError(BlobError, InputError):
    """A root is not 32 bytes, or a URL cannot be used."""

    code: ClassVar[str] = "blob_name"


class BlobMissingError(BlobError, EnvironmentFault):
    """There is no blob under this root; it may still come."""

    code: ClassVar[str] = "blob_missing"


class BlobStoreFault(BlobError, EnvironmentFault):
    """The disk or the network did not do its part."""

    code: ClassVar[str] = "blob_store"


class BlobTooLargeError(BlobError, ProofError):
    """The blob is larger than anything that the root can stand for; it was not read.

    Attributes:
        max_bytes: The limit.
    """

    code: ClassVar[str] = "blob_too_large"

    def __init__(self, location: str, max_bytes: int) -> None:
        super().__init__(f"has more than {max_bytes} bytes", location=location)
        self.max_bytes = max_bytes


class BlobCorruptError(BlobError, ProofError):
    """The bytes have another root than the one they are stored under; they count as not delivered.

    Attributes:
        expected_root: The root in the name.
        actual_root: The root that the bytes have, None if they have none.
    """

    code: ClassVar[str] = "blob_corrupt"

    def __init__(self, location: str, expected_root: bytes, actual_root: bytes | None) -> None:
        found = "no root" if actual_root is None else f"root 0x{actual_root.hex()}"
        super().__init__(f"the bytes have {found}", location=location, hint="fetch it from another store")
        self.expected_root = expected_root
        self.actual_root = actual_root


class BlobKind(StrEnum):
    """What a blob is; the end of its name."""

    UPDATE = "hmrk"
    MODEL = "hmmd"
    TRACE = "hmtr"


class BlobStore:
    """Files under their roots: ``<url>/0x<root>.<kind>``.

    A name is made of a root and a kind alone, so no name can lead out of the store. Reads are limited in size
    and checked against the root; nothing is ever unpickled. In a local folder a blob appears whole or not at
    all, and is on the disk when :meth:`put` returns. Elsewhere it is as durable as the service says.

    A store elsewhere has a minute for an answer, and 16 seconds more for each MiB that is read or written:
    one that sends a byte now and then holds nobody for ever.

    Attributes:
        url: Where the store is.
    """

    def __init__(self, url: str | Path, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Open a store; a local folder is made when the first blob is put.

        Args:
            url: A path, or a URL such as ``s3://bucket/prefix``; credentials come from its own configuration.
            timeout_s: Most seconds to wait for a store that is no local folder, if no bytes were to come.

        Raises:
            BlobNameError: No file system knows the URL, or its driver is not installed; fault of the caller.
        """
        self.url = str(url)
        self._timeout_s = timeout_s
        try:
            self._files, self._base = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise BlobNameError(str(error), location=self.url) from error
        self._folder = Path(self._base) if isinstance(self._files, LocalFileSystem) else None

    def put(self, root: bytes, data: bytes | memoryview, kind: BlobKind = BlobKind.UPDATE) -> bool:
        """Store a blob under its root.

        The same bytes may be put again; other bytes that are found under the name are replaced.

        Args:
            root: 32 bytes. It is not computed here: whoever reads does that.
            data: The bytes.
            kind: What they are.

        Returns:
            Whether anything was written: False if the same bytes were there already.

        Raises:
            BlobNameError: The root has not 32 bytes; fault of the caller.
            BlobStoreFault: Disk or network failed; nothing was acknowledged.
        """
        location = self.location(root, kind)
        if self._folder is None:
            return self._put_remote(location, bytes(data))
        try:
            return _put_local(self._folder, Path(location), data)
        except OSError as error:
            raise BlobStoreFault(f"cannot be written: {error}", location=location) from error

    def get(
        self,
        root: bytes,
        *,
        max_bytes: int,
        root_of: Callable[[bytes], bytes],
        kind: BlobKind = BlobKind.UPDATE,
    ) -> bytes:
        """Read a blob and check it.

        Args:
            root: 32 bytes.
            max_bytes: Most bytes to read.
            root_of: Gives the root of the bytes; what it raises as a LedgerError means that they have none.
            kind: What the blob is.

        Returns:
            Bytes whose root is ``root``.

        Raises:
            BlobNameError: The root has not 32 bytes; fault of the caller.
            BlobMissingError: There is no such blob, or not yet.
            BlobTooLargeError: It is larger than ``max_bytes``; fault of who stored it.
            BlobCorruptError: It has another root; fault of who stored it.
            BlobStoreFault: Disk or network failed.
        """
        location = self.location(root, kind)
        data = self._read(location, max_bytes)
        if len(data) > max_bytes:
            raise BlobTooLargeError(location, max_bytes)
        try:
            actual = root_of(data)
        except LedgerError as error:
            raise BlobCorruptError(location, root, None) from error
        if actual != root:
            raise BlobCorruptError(location, root, actual)
        return data

    def exists(self, root: bytes, kind: BlobKind = BlobKind.UPDATE) -> bool:
        """Tell whether something is stored under a root; only :meth:`get` tells what.

        Raises:
            BlobNameError: The root has not 32 bytes; fault of the caller.
            BlobStoreFault: Disk or network failed.
        """
        location = self.location(root, kind)
        try:
            if self._folder is not None:
                return bool(self._files.exists(location))
            return bool(self._in_time(lambda: self._files.exists(location)))
        except Exception as error:  # every driver of fsspec has errors of its own
            raise self._fault("looked up", location, error) from error

    def remove_leftovers(self) -> int:
        """Delete what killed writers left half-written in a local folder.

        Call it only while nobody else writes into the store: a living writer's file looks the same.

        Returns:
            How many files were deleted; 0 for stores that are no local folder.

        Raises:
            BlobStoreFault: The disk failed.
        """
        if self._folder is None:
            return 0
        try:
            leftovers = list(self._folder.glob(f".0x*{_PART}"))
            for path in leftovers:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise BlobStoreFault(f"cannot be cleaned: {error}", location=self.url) from error
        return len(leftovers)

    def location(self, root: bytes, kind: BlobKind = BlobKind.UPDATE) -> str:
        """Give the path of a blob in its file system.

        Raises:
            BlobNameError: The root has not 32 bytes; fault of the caller.
        """
        if len(root) != ROOT_BYTES:
            raise BlobNameError(f"a root has {ROOT_BYTES} bytes, not {len(root)}", location=self.url)
        return f"{self._base.rstrip('/')}/0x{root.hex()}.{BlobKind(kind).value}"

    def _read(self, location: str, max_bytes: int) -> bytes:
        try:
            if self._folder is not None:
                return _read_local(location, max_bytes)
            return self._in_time(lambda: self._read_remote(location, max_bytes), max_bytes)
        except FileNotFoundError as error:
            raise BlobMissingError(
                "there is no such blob", location=location, hint="it may not be published yet"
            ) from error
        except LedgerError:
            raise
        except Exception as error:  # every driver of fsspec has errors of its own
            raise self._fault("read", location, error) from error

    def _read_remote(self, location: str, max_bytes: int) -> bytes:
        """Read no more than one byte above the limit; a read may give less than there is."""
        parts: list[bytes] = []
        left = max_bytes + 1
        with self._files.open(location, "rb", **self._streaming(max_bytes)) as file:
            while left > 0 and (part := file.read(left)):
                parts.append(part)
                left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _streaming(self, max_bytes: int) -> dict[str, Any]:
        """Give the options of a driver that would otherwise keep whatever a server sends for a range."""
        if "https" not in self._files.protocol:
            return {}
        total = ClientTimeout(total=self._limit_s(max_bytes))
        return {"block_size": 0, "size": max_bytes, "timeout": total}

    def _put_remote(self, location: str, data: bytes) -> bool:
        # Object stores show an object whole or not at all; there is no rename to lean on. What is still
        # written after the deadline is what belongs there.
        try:
            return self._in_time(lambda: self._write_remote(location, data), len(data))
        except Exception as error:  # every driver of fsspec has errors of its own
            raise self._fault("written", location, error) from error

    def _write_remote(self, location: str, data: bytes) -> bool:
        if self._files.exists(location) and self._read_remote(location, len(data)) == data:
            return False
        try:
            self._files.pipe_file(location, data)
        except FileNotFoundError:  # a file system with real folders
            self._files.makedirs(self._base, exist_ok=True)
            self._files.pipe_file(location, data)
        return True

    def _in_time(self, work: Callable[[], T], size_bytes: int = 0) -> T:
        return within(self._limit_s(size_bytes), work)

    def _limit_s(self, size_bytes: int) -> float:
        return self._timeout_s + size_bytes / _SLOWEST_BYTES_PER_S

    def _fault(self, what: str, location: str, error: Exception) -> BlobStoreFault:
        hint = ""
        if isinstance(error, TimeoutError):
            hint = "the store is too slow or does not answer: try again later, or name another with --blobs"
        return BlobStoreFault(
            f"cannot be {what}: {error or type(error).__name__}", location=location, hint=hint
        )


def _read_local(location: str, max_bytes: int) -> bytes:
    # O_NOFOLLOW and O_NONBLOCK: a planted link or pipe is refused instead of followed or waited for.
    descriptor = os.open(location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BlobStoreFault("is not a plain file", location=location)
        if status.st_size > max_bytes:
            raise BlobTooLargeError(location, max_bytes)
        # One more than allowed, should it have grown meanwhile.
        return file.read(max_bytes + 1)


def _put_local(folder: Path, path: Path, data: bytes | memoryview) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    if _holds(path, data):
        # Whoever wrote it may have been killed before the disk had it.
        sync(path)
        sync(folder)
        return False
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PART, dir=folder)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            _write_all(file.fileno(), data)
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync(folder)
    return True


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _holds(path: Path, data: bytes | memoryview) -> bool:
    try:
        return path.is_file() and not path.is_symlink() and _read_local(str(path), len(data)) == data
    except (BlobError, OSError):
        return False
