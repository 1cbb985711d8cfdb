import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.errors import ExitCode, exit_code_of
from trainer.checkpoint import Checkpoint, load_latest, save_checkpoint
from trainer.errors import CheckpointDiskError, CheckpointError

DIGEST = "ab" * 32


def checkpoint(round_number: int) -> Checkpoint:
    rng = np.random.default_rng(round_number)
    return Checkpoint(
        round_number=round_number,
        theta=rng.standard_normal(100, dtype=np.float32),
        momentum=rng.standard_normal(100, dtype=np.float32),
        fleet={"inner.0.step": torch.tensor(3.0), "residual.-1": torch.ones(100)},
        coalition=(1, -2, 3),
        known_seed=bytes(range(32)),
    )


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved = checkpoint(4)
    save_checkpoint(tmp_path, saved, DIGEST)
    loaded, warnings = load_latest(tmp_path, DIGEST).checkpoint, load_latest(tmp_path, DIGEST).warnings
    assert warnings == ()
    assert loaded is not None
    assert loaded.round_number == 4
    assert loaded.theta.tobytes() == saved.theta.tobytes()
    assert loaded.momentum.tobytes() == saved.momentum.tobytes()
    assert loaded.coalition == (1, -2, 3)
    assert loaded.known_seed == bytes(range(32))
    assert set(loaded.fleet) == set(saved.fleet)
    assert all(torch.equal(loaded.fleet[name], saved.fleet[name]) for name in saved.fleet)


def test_empty_or_missing_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert load_latest(tmp_path, DIGEST).checkpoint is None
    assert load_latest(tmp_path / "none", DIGEST).checkpoint is None


def test_only_the_last_two_are_kept(tmp_path: Path) -> None:
    for round_number in (1, 2, 3, 10):
        save_checkpoint(tmp_path, checkpoint(round_number), DIGEST)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "round-00000003.safetensors",
        "round-00000010.safetensors",
    ]


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_flip_a_value(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def damage_metadata(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(DIGEST.encode(), b"cd" * 32))


def damage_garbage(path: Path) -> None:
    path.write_bytes(b"\xff" * 5000)


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_empty, damage_flip_a_value, damage_metadata, damage_garbage]
)
def test_damaged_newest_falls_back_to_the_one_before_with_a_warning(tmp_path: Path, damage: object) -> None:
    save_checkpoint(tmp_path, checkpoint(1), DIGEST)
    newest = save_checkpoint(tmp_path, checkpoint(2), DIGEST)
    assert callable(damage)
    damage(newest)
    found = load_latest(tmp_path, DIGEST)
    assert found.checkpoint is not None
    assert found.checkpoint.round_number == 1
    assert len(found.warnings) == 1
    assert newest.name in found.warnings[0]


def test_all_damaged_raises_instead_of_starting_over(tmp_path: Path) -> None:
    damage_truncate(save_checkpoint(tmp_path, checkpoint(1), DIGEST))
    with pytest.raises(CheckpointError, match="no checkpoint is intact"):
        load_latest(tmp_path, DIGEST)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    newest = save_checkpoint(tmp_path, checkpoint(1), DIGEST)
    data = newest.read_bytes()
    for length in range(0, len(data), 37):
        newest.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            load_latest(tmp_path, DIGEST)


def test_checkpoint_of_another_configuration_raises(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1), DIGEST)
    with pytest.raises(CheckpointError, match="another configuration"):
        load_latest(tmp_path, "cd" * 32)


def test_leftover_of_an_interrupted_write_is_ignored(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1), DIGEST)
    (tmp_path / "round-00000002.tmp").write_bytes(b"half")
    found = load_latest(tmp_path, DIGEST)
    assert found.checkpoint is not None
    assert (found.checkpoint.round_number, found.warnings) == (1, ())


def test_disk_that_fails_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, checkpoint(1), DIGEST)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointDiskError, match="No space left") as caught:
        save_checkpoint(tmp_path, checkpoint(2), DIGEST)
    assert exit_code_of(caught.value) == ExitCode.ENVIRONMENT
    found = load_latest(tmp_path, DIGEST).checkpoint
    assert found is not None
    assert found.round_number == 1


@pytest.mark.slow
def test_kill_at_any_moment_leaves_an_intact_checkpoint(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.trainer.test_checkpoint import *\n"
        "print('ready', flush=True); n = 1\n"
        "while True: save_checkpoint(Path(sys.argv[1]), checkpoint(n), DIGEST); n += 1\n"
    )
    for delay_s in (0.01, 0.05, 0.11):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, env=dict(os.environ)
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=delay_s)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        found = load_latest(tmp_path, DIGEST)
        assert found.checkpoint is not None
        assert found.warnings == ()
