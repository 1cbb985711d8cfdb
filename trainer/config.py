"""What a run is: one frozen, fully checked value, written as TOML."""

import dataclasses
import difflib
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

from guard.committee import GUARDS_MAX
from guard.errors import GuardError
from guard.gate import GateParameters
from ledger.errors import LedgerError
from ledger.fees import GWEI, MAX_FEE_GWEI, SendPolicy
from trainer.attacks import attack_named
from trainer.errors import ConfigError, TaskError
from trainer.splits import check_split
from trainer.tasks import task_factory
from trainer.worker import InnerConfig

T = TypeVar("T")

MAX_WORKERS = 255
MAX_MEMBERS = 256
"""A cohort has at most so many, and the guards are among them."""


@dataclass(frozen=True, slots=True)
class AttackConfig:
    """Who cheats, and how.

    Attributes:
        name: A name of trainer.attacks; "none": nobody.
        share: Share of the workers that cheats, in [0, 1); their number is rounded down.
        guards: Number of guards that cheat, too, in [0, guards]: the last ones. Each hands in its anchor
            negated.
    """

    name: str = "none"
    share: float = 0.4
    guards: int = 0


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """Which chain the run is recorded on.

    Attributes:
        rpc_url: An EVM node; empty: the embedded chain in the run folder.
        blobs: Where update files go, any fsspec URL; empty: the run folder.
        deployment: File of `hallmark deploy` with the registry and rules to use; empty: deploy new ones.
        challenges: Whether anybody may overturn what is posted and is false; then the guards stake. Settled
            when the ledger is deployed.
        data_requests: Whether the guards ask on the chain, with a bond, for what did not come, before it is
            called unavailable; needs challenges. Without, "unavailable" rests on the guard's word (ADR 7), of
            several guards on the votes of a majority. Settled when the ledger is deployed.
        request_segments: Most segments of one update that are asked for and put together; a larger update of
            which one segment was answered cannot be had, and its round is given up.
        max_fee_gwei: Most that is offered for a transaction's gas, also when its fee has to be raised.
        confirmations: Blocks on top of something before it is built upon; -1: as the chain needs it, 0 on a
            local chain.
    """

    rpc_url: str = ""
    blobs: str = ""
    deployment: str = ""
    challenges: bool = True
    data_requests: bool = False
    request_segments: int = 16
    max_fee_gwei: int = MAX_FEE_GWEI
    confirmations: int = -1

    @property
    def policy(self) -> SendPolicy:
        """How transactions are sent.

        Raises:
            LedgerError: Numbers that cannot be meant.
        """
        confirmations = None if self.confirmations == -1 else self.confirmations
        return SendPolicy(max_fee_wei=self.max_fee_gwei * GWEI, confirmations=confirmations)


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything that determines a run; `train_digest` of two equal trainings is equal.

    Attributes:
        task: A name of trainer.tasks, or "module:factory".
        workers: Cohort size without the guards, in [1, 255].
        guards: Number of guards, odd, in [1, 15]; workers and guards together are at most 256. Workers are
            measured against the majority of the guards' anchors.
        rounds: Rounds to run, >= 1; may be raised later to continue a run.
        seed: All randomness of the training follows from it; in [0, 2**63).
        split: "iid", "dirichlet_<alpha>" or "two_classes".
        root_samples: Size of each guard's trusted set, >= 1, disjoint from everybody's data and from the test
            set.
        out: The run folder.
        attack: Who cheats, and how.
        inner: The workers' optimiser.
        gate: Constants of the gate and of the merge.
        chain: Which chain the run is recorded on.

    Raises:
        ConfigError: A value out of range, an unknown task, attack or split.
    """

    task: str = "digits_cnn"
    workers: int = 10
    guards: int = 1
    rounds: int = 16
    seed: int = 0
    split: str = "iid"
    root_samples: int = 100
    out: str = "runs/demo"
    attack: AttackConfig = field(default_factory=AttackConfig)
    inner: InnerConfig = field(default_factory=InnerConfig)
    gate: GateParameters = field(default_factory=GateParameters)
    chain: ChainConfig = field(default_factory=ChainConfig)

    def __post_init__(self) -> None:
        _check_types(self, "")
        _require(1 <= self.workers <= MAX_WORKERS, "workers", f"must be in [1, {MAX_WORKERS}]")
        _require(
            1 <= self.guards <= GUARDS_MAX and self.guards % 2 == 1,
            "guards",
            f"must be odd and in [1, {GUARDS_MAX}]",
        )
        _require(
            self.workers + self.guards <= MAX_MEMBERS,
            "guards",
            f"and workers together must be at most {MAX_MEMBERS}: {self.workers} + {self.guards}",
        )
        _require(1 <= self.rounds < 1 << 31, "rounds", "must be in [1, 2**31)")
        _require(0 <= self.seed < 1 << 63, "seed", "must be in [0, 2**63)")
        _require(self.root_samples >= 1, "root_samples", "must be at least 1")
        _require(bool(self.out), "out", "must name a folder")
        _require(0 <= self.attack.share < 1, "attack.share", "must be in [0, 1)")
        _require(0 <= self.attack.guards <= self.guards, "attack.guards", f"must be in [0, {self.guards}]")
        _require(1 <= self.inner.steps < 1 << 31, "inner.steps", "must be in [1, 2**31)")
        _require(1 <= self.inner.batch_size < 1 << 31, "inner.batch_size", "must be in [1, 2**31)")
        _require(self.inner.lr > 0, "inner.lr", "must be above 0")
        _require(self.inner.warmup_steps >= 0, "inner.warmup_steps", "must be at least 0")
        _require(0 <= self.inner.beta1 < 1, "inner.beta1", "must be in [0, 1)")
        _require(0 <= self.inner.beta2 < 1, "inner.beta2", "must be in [0, 1)")
        _require(self.inner.weight_decay >= 0, "inner.weight_decay", "must be at least 0")
        _require(self.inner.grad_clip > 0, "inner.grad_clip", "must be above 0")
        _require(self.chain.request_segments >= 1, "chain.request_segments", "must be at least 1")
        needs = not self.chain.data_requests or self.chain.challenges
        _require(needs, "chain.data_requests", "needs chain.challenges")
        try:
            _ = self.chain.policy
        except LedgerError as error:
            raise ConfigError(str(error), key="chain", hint=error.hint) from error
        attack_named(self.attack.name)
        for key, check in (("task", task_factory), ("split", check_split)):
            try:
                check(getattr(self, key))
            except TaskError as error:
                raise ConfigError(str(error), key=key, hint=error.hint) from error

    @property
    def malicious(self) -> tuple[int, ...]:
        """Indices of the cheating workers: the last `floor(share * workers)` ones."""
        count = 0 if self.attack.name == "none" else int(self.attack.share * self.workers + 1e-9)
        return tuple(range(self.workers - count, self.workers))

    @property
    def cheating_guards(self) -> tuple[int, ...]:
        """Numbers of the guards that cheat: the last `attack.guards` ones."""
        return tuple(range(self.guards - self.attack.guards, self.guards))

    @property
    def train_digest(self) -> str:
        """sha256, in hex, of all that determines the training; not of `rounds`, `out` and `chain`.

        What says that there is one honest guard is left out, so that runs of before there were several keep
        their digest.
        """
        facts = {k: v for k, v in _facts(self).items() if k not in ("rounds", "out", "chain")}
        attack = facts["attack"]
        if isinstance(attack, dict) and not self.attack.guards:
            del attack["guards"]
        if self.guards == 1:
            del facts["guards"]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def to_toml(self) -> str:
        """Give the resolved configuration, every key written out; parse_config() gives it back."""
        tables = {
            "": self,
            "attack": self.attack,
            "inner": self.inner,
            "gate": self.gate,
            "chain": self.chain,
        }
        return "\n".join(_table(name, value) for name, value in tables.items())


_DIGITS_MLP = {"rounds": 20, "inner": {"steps": 10, "lr": 3e-3, "warmup_steps": 0}}

PRESETS: dict[str, Mapping[str, object]] = {
    "byte_lm": {
        "workers": 8,
        "rounds": 10,
        "root_samples": 220,
        "inner": {"steps": 10, "batch_size": 8, "lr": 1e-3},
    },
    "digits_mlp": _DIGITS_MLP,
    "digits_mlp_biased_root": _DIGITS_MLP,
}
"""Defaults that differ from RunConfig's for one task; what a file says ranks above them."""


def load_config(path: Path) -> RunConfig:
    """Read a configuration file.

    Raises:
        ConfigError: The file cannot be read, is no TOML, or does not describe a run.
    """
    return resolve_config(read_table(path))


def load_chain_config(path: Path) -> ChainConfig:
    """Read only where a run was recorded: nothing that the file names is imported.

    Raises:
        ConfigError: The file cannot be read, is no TOML, or its `chain` is no such table.
    """
    table = read_table(path).get("chain", {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: chain must be a table, got {table!r}", key="chain")
    return _decode(ChainConfig, table, "chain.")


def read_table(path: Path) -> dict[str, object]:
    """Read a TOML file as it is; resolve_config() makes a run of it.

    Raises:
        ConfigError: The file cannot be read, or is no TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a plain ValueError: an integer of thousands of digits
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def table_of(text: str) -> dict[str, object]:
    """Read TOML as it is.

    Raises:
        ConfigError: It is none.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not valid TOML: {error}") from error


def parse_config(text: str) -> RunConfig:
    """Give the run that this TOML describes; keys that are missing have the task's preset or the default.

    Raises:
        ConfigError: No TOML; an unknown key (the message names the nearest known ones); a wrong type or
            range.
    """
    return resolve_config(table_of(text))


def resolve_config(table: Mapping[str, object]) -> RunConfig:
    """Give the run that nested keys and values describe, over the preset of its task.

    Raises:
        ConfigError: As for parse_config().
    """
    task = table.get("task", RunConfig.__dataclass_fields__["task"].default)
    preset = PRESETS.get(task, {}) if isinstance(task, str) else {}
    return _decode(RunConfig, _over(preset, table), "")


def _over(base: Mapping[str, object], top: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = (
            _over(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def _decode(kind: type[T], table: Mapping[str, object], where: str) -> T:
    """Build the dataclass from a table; every key must be one of its fields."""
    hints = get_type_hints(kind)
    values: dict[str, object] = {}
    for key, value in table.items():
        name = where + key
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=3, cutoff=0.5)
            names = ("near: " if near else "known: ") + ", ".join(where + k for k in near or sorted(hints))
            raise ConfigError(f"unknown key {name!r}", key=name, hint=names)
        hint = hints[key]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name} must be a table, got {value!r}", key=name)
            values[key] = _decode(hint, value, name + ".")
        else:
            values[key] = _typed(value, hint, name)
    try:
        return kind(**values)
    except ConfigError:
        raise
    except (GuardError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{where.rstrip('.') or 'configuration'}: {error}", key=where.rstrip(".")
        ) from error


def _facts(config: object) -> dict[str, object]:
    """Give fields and values, nested; an int in a float's place becomes one, so that 0 and 0.0 agree."""
    facts: dict[str, object] = {}
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            facts[name] = _facts(value)
        else:
            facts[name] = float(value) if hint is float else value
    return facts


def _check_types(config: object, where: str) -> None:
    if not dataclasses.is_dataclass(config):
        return
    hints = get_type_hints(type(config))
    for item in dataclasses.fields(config):
        value, name = getattr(config, item.name), where + item.name
        if dataclasses.is_dataclass(hints[item.name]):
            _check_types(value, name + ".")
        else:
            _typed(value, hints[item.name], name)


def _typed(value: object, hint: object, name: str) -> object:
    """Give the value if it has the type: a bool is no int, an int is a float, NaN and Inf are nothing."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] if get_origin(hint) is Union else [hint]
    kind = kinds[0]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError as error:
            raise ConfigError(f"{name} must be a finite number, got a larger one", key=name) from error
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value)):
        raise ConfigError(f"{name} must be text in UTF-8 without a zero byte, got {value!r}", key=name)
    if type(value) is not kind:
        raise ConfigError(f"{name} must be {getattr(kind, '__name__', kind)}, got {value!r}", key=name)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, got {value}", key=name)
    return value


def _require(holds: bool, key: str, message: str) -> None:
    if not holds:
        raise ConfigError(f"{key} {message}", key=key)


def _table(name: str, value: object) -> str:
    lines = [f"[{name}]"] if name else []
    for item in dataclasses.fields(value):  # type: ignore[arg-type]
        entry = getattr(value, item.name)
        if not dataclasses.is_dataclass(entry):
            lines.append(f"{item.name} = {_toml(entry)}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # A TOML basic string, integer or float is spelt like JSON's, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
