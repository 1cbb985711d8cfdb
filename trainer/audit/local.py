"""What a run's folder says about the run, compared with its ledger: configuration and checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ledger.client import LedgerFacts
from ledger.update import model_root, shape_digest
from trainer.attacks import ATTACKS
from trainer.audit.report import Findings
from trainer.checkpoint import checkpoint_paths, read_checkpoint
from trainer.config import RunConfig, read_table, resolve_config
from trainer.errors import CheckpointError, ConfigError, TrainerError
from trainer.fleet import Fleet
from trainer.folder import RunFolder
from trainer.tasks import TASKS


@dataclass(frozen=True, slots=True)
class Kept:
    """What a checkpoint says of the run after its round.

    Attributes:
        root: Root of its model, 32 bytes.
        coalition: Its coalition evidence; None where only the root is known.
    """

    root: bytes
    coalition: tuple[int, ...] | None


class LocalClaims:
    """Says of a run, beside the ledger's, that must agree with it."""

    def __init__(self, config: RunConfig | None, checkpoints: Mapping[int, Kept]) -> None:
        """Take what there is.

        Args:
            config: The run's configuration; None where it is unknown, or names code that is not ours.
            checkpoints: By round.
        """
        self._config = config
        self._checkpoints = dict(checkpoints)

    @classmethod
    def of_folder(cls, folder: RunFolder, facts: LedgerFacts, findings: Findings) -> "LocalClaims":
        """Read a run's folder. What cannot be read is noted.

        Nothing that it names is imported: a configuration with somebody's own task or attack is passed over.
        """
        config = None
        if folder.config.exists():
            try:
                config = safe_config(read_table(folder.config))
            except ConfigError as error:
                findings.differ(0, "config", "a run's configuration", error)
        checkpoints = {}
        for path in checkpoint_paths(folder.checkpoints):
            try:
                found = read_checkpoint(path)
            except CheckpointError as error:
                findings.differ(0, "checkpoint", "an intact checkpoint", error)
                continue
            root = b""
            if found.theta.shape == found.momentum.shape == (facts.length,):
                root = model_root(found.theta, found.momentum, facts.shape_digest)
            checkpoints[found.round_number] = Kept(root, found.coalition)
        return cls(config, checkpoints)

    def check_config(self, facts: LedgerFacts, findings: Findings) -> None:
        """Compare run id, cohort and constants with the configuration."""
        config = self._config
        if config is None:
            return
        findings.same(0, "config.run", facts.run, int(config.train_digest[:16], 16))
        findings.same(0, "config.workers", facts.workers, config.workers)
        findings.same(0, "config.guards", facts.guards, config.guards)
        findings.same(0, "config.gate", facts.parameters, config.gate.as_tuple())

    def check_initial_model(self, root: bytes, findings: Findings) -> None:
        """Build the model that the configuration's seed gives, and compare its root."""
        if self._config is None:
            return
        try:
            fleet = Fleet(self._config)
        except TrainerError as error:
            findings.differ(0, "config.initial_model", root, error)
            return
        made = model_root(fleet.theta, np.zeros_like(fleet.theta), shape_digest(fleet.shapes))
        findings.same(0, "config.initial_model", made, root)

    def check_round(
        self, round_: int, root: bytes, coalition: tuple[int, ...] | None, findings: Findings
    ) -> None:
        """Compare the checkpoint of a round, if there is one, with model and evidence after it."""
        kept = self._checkpoints.get(round_)
        if kept is None:
            return
        findings.same(round_, "checkpoint", root, kept.root)
        if coalition is not None and kept.coalition is not None and coalition != kept.coalition:
            place = next(
                (i for i, (a, b) in enumerate(zip(coalition, kept.coalition, strict=False)) if a != b), -1
            )
            findings.differ(round_, "checkpoint.coalition", _at(coalition, place), _at(kept.coalition, place))


def safe_config(table: Mapping[str, object]) -> RunConfig | None:
    """Give the configuration unless it names code that would have to be imported.

    Raises:
        ConfigError: It describes no run.
    """
    attack = table.get("attack", {})
    name = attack.get("name", "none") if isinstance(attack, Mapping) else "none"
    if table.get("task", "digits_cnn") not in TASKS or name not in {"none", *ATTACKS}:
        return None
    return resolve_config(table)


def _at(values: tuple[int, ...], place: int) -> str:
    return f"{len(values)} pairs" if place < 0 else f"pair {place}: {values[place]}"
