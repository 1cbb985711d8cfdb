"""One process for each data directory."""

import fcntl
import os
import weakref
from pathlib import Path

from ledger.chain.errors import ChainLockedError, StorageError

_held: "weakref.WeakSet[DirectoryLock]" = weakref.WeakSet()


def _forget_after_fork() -> None:
    # A forked child shares the lock; it must not keep it alive after the parent was killed.
    for lock in tuple(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget_after_fork)


class DirectoryLock:
    """An advisory lock on a directory that the system drops when the process dies."""

    def __init__(self, directory: Path) -> None:
        """Take the lock, creating the directory where it is missing.

        Args:
            directory: The data directory.

        Raises:
            ChainLockedError: Another process, or this one, has it open.
            StorageError: The directory cannot be created or written.
        """
        self.path = directory / "lock"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(
                f"cannot use {directory}: {error.strerror}", hint="choose a directory that you may write to"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = _read_pid(self._fd)
            os.close(self._fd)
            raise ChainLockedError(directory, pid) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        self._is_held = True
        _held.add(self)

    def release(self) -> None:
        """Let go of the directory; doing so twice is harmless."""
        # The file stays: removing it would let two processes lock two different files of one name.
        if self._is_held:
            self._is_held = False
            os.close(self._fd)


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None
