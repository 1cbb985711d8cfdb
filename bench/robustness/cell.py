"""One cell: the run that it stands for, and the row that the run leaves."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

import guard
import trainer
from bench.robustness.grid import NO_ATTACK, Cell
from guard.gate import Status
from trainer.attacks import attack_named
from trainer.config import RunConfig, resolve_config
from trainer.errors import NumericError
from trainer.simulate import SimulatedRound, simulate

LAST = 3
"""The accuracy of a run is the mean of so many last rounds."""

LATE = 10
"""Rounds after which honest refusals are counted once more by themselves."""

WORST_PERPLEXITY = 1e300
"""What a run that ended early is given; its accuracy would be 0."""


class Row(TypedDict, total=False):
    """One line of results.jsonl.

    Attributes:
        task, split, share, attack, defence, seed, rounds: The cell.
        root_samples: Size of the guard's trusted set; missing if it is the task's own.
        accuracy: Mean of the last three rounds; or perplexity, in which case accuracy is missing.
        backdoor_success: Share of the attacker's wishes that the final model fulfils; None without a wish.
        honest_refused: Share of what honest workers handed in that was refused.
        honest_refused_late: The same after round ten; None if there is no such round.
        malicious_refused: Share of what cheaters handed in that was refused; None without cheaters.
        honest_banned, malicious_banned: Workers banned at the end.
        honest_banned_in, malicious_banned_in: Of each of them, the round after which it was banned, or None.
        accuracy_by_round: The metric after every round, whatever its name.
        refused_by_round: Per round [honest, malicious] contributions refused.
        workers, malicious: How many there were.
        seconds: Wall clock of the run.
        error: Why the run ended early; missing if it did not. Its metric is then the worst there is.
        version: Of the program: the package's version and a digest of guard/ and trainer/.
    """

    task: str
    split: str
    share: float
    attack: str
    defence: str
    seed: int
    rounds: int
    root_samples: int
    accuracy: float
    perplexity: float
    backdoor_success: float | None
    honest_refused: float
    honest_refused_late: float | None
    malicious_refused: float | None
    honest_banned: int
    malicious_banned: int
    honest_banned_in: list[int | None]
    malicious_banned_in: list[int | None]
    accuracy_by_round: list[float]
    refused_by_round: list[list[int]]
    workers: int
    malicious: int
    seconds: float
    error: str
    version: str


def cell_config(cell: Cell) -> RunConfig:
    """Give the run of a cell: the task's preset; twice ten workers where a tenth is too coarse a share.

    Raises:
        ConfigError: A name is unknown or a value out of range.
    """
    table: dict[str, object] = {
        "task": cell.task,
        "split": cell.split,
        "seed": cell.seed,
        "attack": {"name": cell.attack, "share": cell.share},
    }
    if cell.rounds:
        table["rounds"] = cell.rounds
    if cell.root_samples:
        table["root_samples"] = cell.root_samples
    config = resolve_config(table)
    exact = cell.share * config.workers
    if config.workers == 10 and abs(exact - round(exact)) > 1e-9:
        config = replace(config, workers=20)
    return config


def run_cells(cells: Sequence[Cell]) -> list[Row]:
    """Fill cells that are one and the same run and differ only in the name of the attack.

    Args:
        cells: One cell, or cells that same_run() puts together.

    Returns:
        One row per cell, in order.

    Raises:
        TrainerError: A name is unknown or the task cannot be set up.
    """
    config = cell_config(cells[0])
    seen: list[SimulatedRound] = []
    error = ""
    success: float | None = None
    started = time.perf_counter()
    try:
        result = simulate(config, cells[0].defence, on_round=seen.append)
        success = result.poison_success
    except NumericError as raised:
        error = str(raised)
    seconds = time.perf_counter() - started
    row = _row(config, seen)
    if error:
        row["error"] = error
        if seen and seen[-1].metric.name == "perplexity":
            row["perplexity"] = WORST_PERPLEXITY
        else:
            row["accuracy"] = 0.0
    row["backdoor_success"] = success
    row["seconds"] = round(seconds, 3)
    row["version"] = program_version()
    return [_named(cell, config.rounds, row) for cell in cells]


def same_run(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Put together the cells of the reference that differ in the attack only: there nobody cheats.

    Attacks with a wish of their own stay apart, because the reference is tested for that wish too.
    """
    groups: dict[object, list[Cell]] = {}
    for cell in cells:
        key: object = cell
        if cell.defence == "honest_only":
            attack = attack_named(cell.attack)
            wish = attack.poisons if attack and attack.poisons != "labels" else None
            key = replace(cell, attack=f"any {wish}" if cell.attack != NO_ATTACK else NO_ATTACK)
        groups.setdefault(key, []).append(cell)
    return list(groups.values())


@cache
def program_version() -> str:
    """Give the package's version and eight hex digits over the sources of guard/ and trainer/."""
    digest = sha256()
    for package in (guard, trainer):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return f"{version('hallmark-ledger')}+{digest.hexdigest()[:8]}"


def _named(cell: Cell, rounds: int, measured: Row) -> Row:
    """Put a cell's name before what was measured."""
    row = Row(
        task=cell.task,
        split=cell.split,
        share=cell.share,
        attack=cell.attack,
        defence=cell.defence,
        seed=cell.seed,
        rounds=rounds,
    )
    if cell.root_samples:
        row["root_samples"] = cell.root_samples
    row.update(measured)
    return row


def _row(config: RunConfig, rounds: Sequence[SimulatedRound]) -> Row:
    malicious = config.malicious
    honest = tuple(i for i in range(config.workers) if i not in malicious)
    values = [seen.metric.value for seen in rounds]
    row = Row(
        honest_refused=_refused(rounds, honest) or 0.0,
        honest_refused_late=_refused(rounds[LATE:], honest),
        malicious_refused=_refused(rounds, malicious),
        honest_banned_in=_banned_in(rounds, honest),
        malicious_banned_in=_banned_in(rounds, malicious),
        accuracy_by_round=[round(value, 5) for value in values],
        refused_by_round=[[_count(seen, honest), _count(seen, malicious)] for seen in rounds],
        workers=config.workers,
        malicious=len(malicious),
    )
    row["honest_banned"] = sum(found is not None for found in row["honest_banned_in"])
    row["malicious_banned"] = sum(found is not None for found in row["malicious_banned_in"])
    if rounds:
        last = values[-LAST:]
        row[rounds[-1].metric.name] = round(sum(last) / len(last), 5)  # type: ignore[literal-required]
    return row


def _refused(rounds: Sequence[SimulatedRound], workers: Sequence[int]) -> float | None:
    """Give the share of these workers' contributions that was refused; None if they handed in nothing."""
    came = sum(seen.statuses[i] != Status.ABSENT for seen in rounds for i in workers)
    return round(sum(_count(seen, workers) for seen in rounds) / came, 5) if came else None


def _count(seen: SimulatedRound, workers: Sequence[int]) -> int:
    return sum(seen.statuses[i] != Status.ABSENT and not seen.approved[i] for i in workers)


def _banned_in(rounds: Sequence[SimulatedRound], workers: Sequence[int]) -> list[int | None]:
    return [next((seen.round_number for seen in rounds if seen.banned[i]), None) for i in workers]
