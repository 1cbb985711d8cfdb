"""How far an audit has come, in one small file, so that the next one goes on there.

The file is the auditor's own note of what it has seen: whoever can write it can make an audit skip rounds.
Never use one that came with a run.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from guard.errors import GuardError
from guard.state import GateState
from ledger.errors import LedgerError
from ledger.strict_json import digest_from, loads, number_from
from ledger.update import Model, decode_model, encode_model, model_root
from trainer.audit.report import Findings
from trainer.errors import InputError
from trainer.folder import write_atomic, write_atomic_bytes
from trainer.gate_json import gate_as_json, gate_from_json

FORMAT = "hallmark.audit-cursor.v1"
KEEP = 4
MAX_BYTES = 64 << 20
_MODEL_KEEP = 2


class CursorError(InputError):
    """A cursor file is damaged, or belongs to another run.

    Attributes:
        field: What is wrong with it.
    """

    code: ClassVar[str] = "cursor"

    def __init__(self, path: Path, field: str, message: str) -> None:
        super().__init__(f"{path}: {field}: {message}", hint="remove it to audit from the first round again")
        self.field = field


@dataclass(frozen=True, slots=True)
class Position:
    """An audit after one round that is over.

    Attributes:
        round: The round.
        block: Block of its last event.
        block_hash: Hash of that block, 32 bytes.
        root: Root of the model after it.
        record: Its record, 32 bytes.
        gate: Yardstick, lanes and coalition evidence after it; None if they could not be derived.
        model: The model after it; None if it is not known or was not asked for.
        findings: Findings.snapshot().
        opened_count: How many RunOpened events were read.
    """

    round: int
    block: int
    block_hash: bytes
    root: bytes
    record: bytes
    gate: GateState | None
    model: Model | None
    findings: Mapping[str, Any]
    opened_count: int

    def as_json(self) -> dict[str, object]:
        """Give all of it but the model's bytes."""
        return {
            "round": self.round,
            "block": self.block,
            "block_hash": self.block_hash.hex(),
            "root": self.root.hex(),
            "record": self.record.hex(),
            "gate": None if self.gate is None else gate_as_json(self.gate),
            "has_model": self.model is not None,
            "findings": dict(self.findings),
            "opened_count": self.opened_count,
        }

    @classmethod
    def from_json(
        cls, content: Mapping[str, Any], model: Model | None, workers: int, guards: int = 1
    ) -> Self:
        """Read what as_json() gave.

        Raises:
            KeyError, TypeError, ValueError, GuardError: It is something else; fault of the caller.
        """
        gate = content["gate"]
        Findings().restore(content["findings"])
        position = cls(
            round=number_from(content["round"]),
            block=number_from(content["block"]),
            block_hash=digest_from(content["block_hash"]),
            root=digest_from(content["root"]),
            record=digest_from(content["record"]),
            gate=None if gate is None else gate_from_json(gate, workers, guards),
            model=model,
            findings=content["findings"],
            opened_count=number_from(content["opened_count"]),
        )
        if position.round < 1:
            raise ValueError("a round is at least 1")
        return position


@dataclass(frozen=True, slots=True)
class CursorRun:
    """What a cursor belongs to: one run on one chain, audited in one way.

    Attributes:
        chain_id: The chain.
        ledger: Address of the ContributionLedger.
        run: Run id.
        workers: Members of the cohort but the guards.
        is_replayed: Whether merges were computed again.
        guards: Number of guards.
    """

    chain_id: int
    ledger: str
    run: int
    workers: int
    is_replayed: bool
    guards: int = 1


class Cursor:
    """A cursor file."""

    def __init__(self, path: Path, run: CursorRun) -> None:
        """Open a cursor, or begin one.

        Raises:
            CursorError: The file is damaged, or belongs to another run.
        """
        self._path = path
        self._run = run
        self._positions: list[Position] = []
        self._entries: list[Mapping[str, Any]] = _read(path, run) if path.exists() else []

    def newest(self, hash_at: Callable[[int], bytes | None]) -> Position | None:
        """Give the newest position whose block is still on the chain, and forget those after it.

        Args:
            hash_at: Gives the hash of a block, None if there is no such block.

        Returns:
            None if no position can be gone on from: the audit begins with the first round.

        Raises:
            CursorError: A position does not hold together.
        """
        while self._entries:
            position = self._load(self._entries[-1])
            is_there = position is not None and hash_at(position.block) == position.block_hash
            if position is not None and is_there:
                return position
            self._entries.pop()
        return None

    def save(self, position: Position) -> None:
        """Add a position, durably; all but the newest KEEP are forgotten.

        Raises:
            OSError: The disk did not do its part.
        """
        if position.model is not None and not self._model_path(position.root).exists():
            write_atomic_bytes(self._model_path(position.root), encode_model(position.model))
        self._entries = [e for e in self._entries if e["round"] < position.round][-KEEP + 1 :]
        self._entries.append(position.as_json())
        content = {
            "format": FORMAT,
            "chain_id": self._run.chain_id,
            "ledger": self._run.ledger,
            "run": self._run.run,
            "replayed": self._run.is_replayed,
            "positions": self._entries,
        }
        write_atomic(self._path, json.dumps({**content, "sha256": _digest_of(content)}) + "\n")
        self._drop_models()

    def _load(self, entry: Mapping[str, Any]) -> Position | None:
        """Read one position; None if its model is not kept any more."""
        model = None
        try:
            root = digest_from(entry["root"])
            if entry["has_model"]:
                path = self._model_path(root)
                if not path.exists():
                    return None
                model = decode_model(path.read_bytes())
                if model_root(model.parameters, model.momentum, model.shape_digest) != root:
                    raise CursorError(path, "model", "its root is another one")
            return Position.from_json(entry, model, self._run.workers, self._run.guards)
        except LedgerError as error:
            raise CursorError(self._path, "model", str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError, GuardError) as error:
            raise CursorError(self._path, "positions", f"one does not hold together: {error!r}") from error

    def _model_path(self, root: bytes) -> Path:
        return self._path.with_name(f"{self._path.name}.{root.hex()}.hmmd")

    def _drop_models(self) -> None:
        kept = {self._model_path(digest_from(e["root"])) for e in self._entries[-_MODEL_KEEP:]}
        for path in self._path.parent.glob(f"{self._path.name}.*.hmmd"):
            if path not in kept:
                path.unlink(missing_ok=True)


def _read(path: Path, run: CursorRun) -> list[Mapping[str, Any]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CursorError(path, "size", f"more than {MAX_BYTES} bytes")
        content = loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CursorError(path, "content", f"cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CursorError(path, "format", f"is not {FORMAT}")
    if content.pop("sha256", None) != _digest_of(content):
        raise CursorError(path, "sha256", "the content does not have the digest that was written with it")
    for name, expected in (("chain_id", run.chain_id), ("ledger", run.ledger), ("run", run.run)):
        if content.get(name) != expected:
            raise CursorError(
                path, name, f"is {content.get(name)}, and the run that is audited has {expected}"
            )
    positions = content.get("positions")
    if not isinstance(positions, list) or not all(isinstance(entry, dict) for entry in positions):
        raise CursorError(path, "positions", "is no list of positions")
    # What was audited without replay has no models: whoever wants them begins again.
    return positions if content.get("replayed") is True or not run.is_replayed else []


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
