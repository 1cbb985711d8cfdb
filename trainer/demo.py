"""The demonstration: the same attack on a gated run and on a plain mean, and an audit at the end."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.audit import AuditOptions, AuditReport, audit
from trainer.chain_session import RunTarget, open_recorded_run
from trainer.config import RunConfig
from trainer.folder import RunFolder, write_atomic
from trainer.inspection import gas_per_contribution
from trainer.pictures import draw_curves, draw_verdicts
from trainer.reporting import Observer, RoundReport
from trainer.run import run
from trainer.simulate import Defence, SimulationResult, simulate


@dataclass(frozen=True, slots=True)
class WorkerTally:
    """How often a worker was accepted and refused, against what it really was.

    Attributes:
        index: Cohort index.
        is_malicious: Whether it cheated.
        accepted: Rounds.
        refused: Rounds.
        banned_in: First round after which it was banned, None if never.
    """

    index: int
    is_malicious: bool
    accepted: int
    refused: int
    banned_in: int | None


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What a demonstration came to.

    Attributes:
        rounds: The gated run's rounds.
        mean: The plain mean under the same attack.
        honest_only: Honest workers only, plain mean.
        audit: The gated run's audit.
        workers: One tally per worker.
        gas_per_contribution: Whole gas of all rounds' transactions by contributions of workers.
        seconds: "total" (everything), "training", "guard", "ledger" (the gated run), "baselines", "audit".
        pictures: The PNG files.
        summary: The JSON file.
    """

    rounds: tuple[RoundReport, ...]
    mean: SimulationResult
    honest_only: SimulationResult
    audit: AuditReport
    workers: tuple[WorkerTally, ...]
    gas_per_contribution: float
    seconds: dict[str, float]
    pictures: tuple[Path, ...]
    summary: Path


def demonstrate(config: RunConfig, observer: Observer, progress: Callable[[str], None]) -> DemoResult:
    """Run the demonstration.

    Args:
        config: The gated run; the baselines train on the same data with the same attack.
        observer: Progress of the gated run.
        progress: Told what begins next.

    Returns:
        Everything to show; also written to the run's folder.

    Raises:
        LedgerError, TrainerError: As for `run` and `audit`.
    """
    start = time.perf_counter()
    run(config, observer)
    folder = RunFolder(Path(config.out))
    rounds = tuple(map(RoundReport.from_json, folder.metric_lines()))
    baselines_start = time.perf_counter()
    mean = _baseline(config, "mean", progress)
    honest = _baseline(config, "honest_only", progress)
    audit_start = time.perf_counter()
    progress("audit")
    with open_recorded_run(RunTarget(folder.path)) as recorded:
        options = AuditOptions(first_block=recorded.first_block, folder=folder)
        report = audit(recorded.client.node, recorded.client.address, recorded.store, options)
        gas = gas_per_contribution(recorded.client)
    end = time.perf_counter()
    spent = {name: sum(r.seconds[name] for r in rounds) for name in rounds[0].seconds}
    result = DemoResult(
        rounds=rounds,
        mean=mean,
        honest_only=honest,
        audit=report,
        workers=tally(rounds, config.malicious),
        gas_per_contribution=gas,
        seconds={
            "total": end - start,
            "training": spent["training"],
            "guard": spent["guard"],
            "ledger": spent["ledger"],
            "merge": spent["merge"],
            "baselines": audit_start - baselines_start,
            "audit": end - audit_start,
        },
        pictures=(folder.pictures / "accuracy.png", folder.pictures / "verdicts.png"),
        summary=folder.summary,
    )
    _draw(config, result)
    write_atomic(folder.summary, json.dumps(summary(result), indent=2) + "\n")
    return result


def tally(rounds: tuple[RoundReport, ...], malicious: tuple[int, ...]) -> tuple[WorkerTally, ...]:
    """Count each worker's verdicts; an absent round counts as neither."""
    return tuple(
        WorkerTally(
            index=index,
            is_malicious=index in malicious,
            accepted=sum(r.approved[index] for r in rounds),
            refused=sum(not r.approved[index] and r.statuses[index].name != "ABSENT" for r in rounds),
            banned_in=next((r.round_number for r in rounds if r.banned[index]), None),
        )
        for index in range(len(rounds[0].approved))
    )


def refused_share(workers: tuple[WorkerTally, ...], *, malicious: bool) -> float:
    """Give the share of contributions refused, of the honest or of the malicious workers."""
    chosen = [w for w in workers if w.is_malicious == malicious]
    refused, accepted = sum(w.refused for w in chosen), sum(w.accepted for w in chosen)
    return refused / max(1, refused + accepted)


def summary(result: DemoResult) -> dict[str, object]:
    """Give the contents of summary.json."""
    last = result.rounds[-1].metric
    name = last.name if last else "accuracy"
    return {
        name: {
            "gated": last.value if last else None,
            "mean": result.mean.final.value,
            "honest_only": result.honest_only.final.value,
        },
        "refused": {
            "honest_share": refused_share(result.workers, malicious=False),
            "malicious_share": refused_share(result.workers, malicious=True),
        },
        "audit": result.audit.as_json(),
        "gas_per_contribution": result.gas_per_contribution,
        "seconds": {key: round(value, 3) for key, value in result.seconds.items()},
    }


def _baseline(config: RunConfig, defence: Defence, progress: Callable[[str], None]) -> SimulationResult:
    progress("plain mean under the same attack" if defence == "mean" else "honest workers only")
    return simulate(config, defence)


def _draw(config: RunConfig, result: DemoResult) -> None:
    metrics = [r.metric for r in result.rounds if r.metric is not None]
    curves = {
        "honest workers only": [r.metric.value for r in result.honest_only.rounds],
        "ledger gate": [metric.value for metric in metrics],
        "plain mean": [r.metric.value for r in result.mean.rounds],
    }
    share = f"{len(config.malicious)} of {config.workers} workers: {config.attack.name}"
    draw_curves(result.pictures[0], metrics[-1].name, curves, f"{config.task}, {share}")
    draw_verdicts(result.pictures[1], result.rounds, config.malicious, "Verdicts recorded on the ledger")
