"""A run's whole state between two rounds, in one file that is either complete or not there."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ledger.disk import sync
from trainer.errors import CheckpointDiskError, CheckpointError, InputError
from trainer.worker import FloatArray

FORMAT = "hallmark.checkpoint.v1"
KEEP = 2
KEEP_FOR_ROLLBACK = 8
"""Newest checkpoints of a run that can be rolled back; older ones of it thin out, see `save_checkpoint`."""

VOID = "void"
_NAME = re.compile(r"round-(\d{8})\.safetensors")
_FLEET = "fleet."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that the rounds after this one depend on.

    Attributes:
        round_number: The last round that is contained in theta.
        theta: Parameters, float32 [d].
        momentum: Outer momentum, float32 [d].
        fleet: What Fleet.state_tensors() gave: inner optimisers, residuals, attackers' memories.
        coalition: guard.weights.CoalitionHistory.to_ints(): P over the pairs of workers. A run derives it
            from the chain again; the audit compares the two.
        known_seed: The challenge of that round, 32 bytes; empty if there was none.
        standing: What the ledger had said of the round when this was written: VOID, or its overturned members
            as a bitmap in hex; a challenge may change it until the round is final. Empty in files of before
            there were challenges.
    """

    round_number: int
    theta: FloatArray
    momentum: FloatArray
    fleet: Mapping[str, torch.Tensor]
    coalition: tuple[int, ...]
    known_seed: bytes = b""
    standing: str = "0x0"


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """What load_latest() found.

    Attributes:
        checkpoint: The newest one that is intact; None if the folder holds none at all.
        warnings: One sentence for each newer file that had to be passed over.
    """

    checkpoint: Checkpoint | None
    warnings: tuple[str, ...]


def save_checkpoint(
    folder: Path, checkpoint: Checkpoint, config_digest: str, *, for_rollback: bool = False
) -> Path:
    """Write a checkpoint so that a crash at any moment leaves the old ones, or the old ones and the new one.

    The file is written under another name, flushed to the disk, renamed, and the folder is flushed; then all
    but the newest KEEP are removed. Of a run that can be rolled back, the newest KEEP_FOR_ROLLBACK stay, and
    for each power of two the newest one whose round is a multiple of it: older ones thin out, and n rounds
    leave at most KEEP_FOR_ROLLBACK + log2(n) + 1 files.

    Args:
        folder: Made if it does not exist.
        checkpoint: What to keep.
        config_digest: RunConfig.train_digest of the run.
        for_rollback: Whether older ones are kept to roll back to.

    Returns:
        Path of the file.

    Raises:
        CheckpointDiskError: The disk did not do its part.
    """
    tensors = {
        "theta": torch.from_numpy(checkpoint.theta),
        "momentum": torch.from_numpy(checkpoint.momentum),
        "coalition": torch.tensor(checkpoint.coalition, dtype=torch.int64),
        **{_FLEET + name: tensor.contiguous() for name, tensor in checkpoint.fleet.items()},
    }
    metadata = {
        "format": FORMAT,
        "round": str(checkpoint.round_number),
        "config": config_digest,
        "known_seed": checkpoint.known_seed.hex(),
        "standing": checkpoint.standing,
    }
    metadata["content"] = _content_digest(metadata, tensors)
    target = _path(folder, checkpoint.round_number)
    temporary = target.with_suffix(".tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, metadata)
        sync(temporary)
        temporary.replace(target)
        sync(folder)
        for old in _superfluous(_newest_first(folder), for_rollback):
            old.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise CheckpointDiskError(
            f"cannot write {target}: {error}", hint="is the disk full? make room and run again"
        ) from error
    return target


def _superfluous(newest_first: list[Path], for_rollback: bool) -> list[Path]:
    """Give the files that need not be kept."""
    if not for_rollback:
        return newest_first[KEEP:]
    kept = set(newest_first[:KEEP_FOR_ROLLBACK])
    power = 1
    while found := [path for path in newest_first if _round_of(path) % power == 0]:
        kept.add(found[0])
        if _round_of(found[0]) == 0:
            break
        power *= 2
    return [path for path in newest_first if path not in kept]


def load_round(folder: Path, round_number: int, config_digest: str) -> Checkpoint | None:
    """Read the checkpoint of one round; None if there is none, or a damaged one.

    Raises:
        CheckpointError: It belongs to another configuration.
    """
    try:
        return _read(_path(folder, round_number), config_digest)
    except (_DamagedError, SafetensorError, OSError):
        return None


def kept_rounds(folder: Path) -> list[int]:
    """Give the rounds of which there is a checkpoint file, newest first."""
    return [_round_of(path) for path in _newest_first(folder)]


def load_latest(folder: Path, config_digest: str, *, before: int | None = None) -> LoadedCheckpoint:
    """Read the newest intact checkpoint of this run.

    A file that is truncated or damaged is passed over, with a warning, for the one before it. A file of
    another run is not: going on from somebody else's state, or from the start, would both be wrong.

    Args:
        folder: Where save_checkpoint() wrote; need not exist.
        config_digest: RunConfig.train_digest of the run.
        before: Only checkpoints of earlier rounds than this; None: all.

    Returns:
        The checkpoint, or None, and what was passed over.

    Raises:
        CheckpointError: The checkpoints belong to another configuration, or there are some but none is
            intact.
    """
    warnings: list[str] = []
    for path in _newest_first(folder):
        if before is not None and _round_of(path) >= before:
            continue
        try:
            checkpoint = _read(path, config_digest)
        except (_DamagedError, SafetensorError, OSError) as error:
            warnings.append(f"{path.name} is damaged and was passed over: {error}")
        else:
            return LoadedCheckpoint(checkpoint, tuple(warnings))
    if warnings:
        raise CheckpointError(
            "no checkpoint is intact: " + "; ".join(warnings),
            hint="remove them to start from the first round",
        )
    return LoadedCheckpoint(None, ())


def checkpoint_paths(folder: Path) -> list[Path]:
    """Give the checkpoint files in a folder, newest first; none if it does not exist."""
    return _newest_first(folder)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint, of whatever configuration.

    Raises:
        CheckpointError: It is damaged or cannot be read.
    """
    try:
        return _read(path, None)
    except (_DamagedError, SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path.name} is damaged: {error}", hint="restore it") from error


class _DamagedError(InputError):
    """The bytes are not those that were written."""


def _read(path: Path, config_digest: str | None) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata() or {}
        names: list[str] = list(file.keys())
        tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in names}
    if metadata.get("format") != FORMAT:
        raise _DamagedError(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
    if metadata.pop("content", "") != _content_digest(metadata, tensors):
        raise _DamagedError("its content does not have the digest that was written")
    if config_digest is not None and metadata.get("config") != config_digest:
        raise CheckpointError(
            f"{path} belongs to a run with another configuration",
            hint="choose another folder, or restore the configuration",
        )
    return Checkpoint(
        round_number=int(metadata["round"]),
        theta=tensors.pop("theta").numpy(),
        momentum=tensors.pop("momentum").numpy(),
        coalition=tuple(tensors.pop("coalition").tolist()),
        fleet={name.removeprefix(_FLEET): tensor for name, tensor in tensors.items()},
        known_seed=bytes.fromhex(metadata["known_seed"]),
        standing=metadata.get("standing", ""),
    )


def _content_digest(metadata: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    """Give sha256, in hex, over the metadata and over name, type, shape and bytes of each tensor."""
    digest = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _path(folder: Path, round_number: int) -> Path:
    return folder / f"round-{round_number:08d}.safetensors"


def _round_of(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    return 0 if found is None else int(found[1])


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("round-*.safetensors") if _NAME.fullmatch(path.name)]
    return sorted(found, reverse=True)
