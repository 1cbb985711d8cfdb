"""A run's folder: where everything of one run lies, and who may write there."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import InputError, TrainerError


class FolderBusyError(TrainerError):
    """Another process is working in the run's folder."""

    code = "folder-busy"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run.

    Attributes:
        path: The folder itself.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "run.toml"

    @property
    def deployment(self) -> Path:
        """Chain id and addresses, written step by step while deploying."""
        return self.path / "deployment.json"

    @property
    def chain(self) -> Path:
        """Data of the embedded chain."""
        return self.path / "chain"

    @property
    def blobs(self) -> Path:
        """Update and model files, unless the configuration names another store."""
        return self.path / "blobs"

    @property
    def checkpoints(self) -> Path:
        """Model, optimisers, gate state."""
        return self.path / "checkpoints"

    @property
    def cursor(self) -> Path:
        """How far `hallmark audit --incremental` has come."""
        return self.path / "audit.cursor.json"

    @property
    def metrics(self) -> Path:
        """One JSON line per round."""
        return self.path / "metrics.jsonl"

    @property
    def challenger(self) -> Path:
        """How far `hallmark challenger` is."""
        return self.path / "challenger.json"

    @property
    def summary(self) -> Path:
        """What the run came to."""
        return self.path / "summary.json"

    @property
    def pictures(self) -> Path:
        """Plots."""
        return self.path / "plots"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one process.

        Raises:
            FolderBusyError: Another process holds it.
            InputError: It is no folder that this process can write to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = (self.path / ".lock").open("a+")
        except OSError as error:
            raise InputError(f"cannot use {self.path} as a run's folder: {error.strerror}") from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FolderBusyError(
                    f"another process is running in {self.path}",
                    hint="wait for it, stop it, or choose another --out",
                ) from error
            yield

    def write_config(self, text: str) -> None:
        """Store the resolved configuration, TOML."""
        write_atomic(self.config, text)

    def metric_lines(self) -> list[dict[str, Any]]:
        """Read the metrics; a last line cut short by a crash is left out."""
        if not self.metrics.exists():
            return []
        lines = []
        for line in self.metrics.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return lines

    def keep_metrics_until(self, round_: int) -> None:
        """Drop metric lines of rounds after `round_`; they will be written again."""
        kept = [line for line in self.metric_lines() if int(line["round"]) <= round_]
        write_atomic(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))

    def add_metric(self, line: Mapping[str, object]) -> None:
        """Append one round's metrics."""
        with self.metrics.open("a") as handle:
            handle.write(json.dumps(line) + "\n")


def write_atomic(path: Path, text: str) -> None:
    """Replace a small text file so that a crash leaves the old or the new one, never a part.

    Args:
        path: The file; its folder is made.
        text: New content.
    """
    write_atomic_bytes(path, text.encode())


def write_atomic_bytes(path: Path, data: bytes) -> None:
    """Replace a file so that a crash leaves the old or the new one, never a part.

    Args:
        path: The file; its folder is made.
        data: New content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
