"""`hallmark run` and `hallmark demo`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from cli.options import json_option
from cli.output import as_argument, notices, results, write_json

if TYPE_CHECKING:
    from trainer.config import RunConfig
    from trainer.demo import DemoResult

LOCAL_CHAIN_NOTE = (
    "This chain is local: whoever runs it picks its blocks, so it proves nothing to others about "
    "*when*{word}. The challenge window is {window} s."
)


@click.command()
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path, dir_okay=False), help="TOML with all of it."
)
@click.option("--out", help="Folder; an unfinished run there goes on.  [default: runs/TASK-ATTACK-DIGEST]")
@click.option("--task", help="digits_cnn, digits_mlp, byte_lm, or your own module:factory.")
@click.option("--workers", type=int, help="Workers, 1 to 255.")
@click.option("--rounds", type=int, help="Rounds; raise it to continue a finished run.")
@click.option("-H", "--inner-steps", "inner_steps", type=int, help="Inner AdamW steps per round.")
@click.option("--split", help="iid, two_classes, or dirichlet_ALPHA, for instance dirichlet_0.3.")
@click.option("--seed", type=int, help="All randomness of the training follows from it.")
@click.option("--attack", help="Name of an attack, or none; `--attack list` lists them.")
@click.option("--malicious", type=float, help="Share of the workers that cheats, 0 to 1.")
@click.option("--root-samples", type=int, help="Size of the trusted set of each guard.")
@click.option(
    "--guards",
    type=int,
    help="Guards, odd, 1 to 15: workers are measured against the majority of their anchors.",
)
@click.option(
    "--malicious-guards", type=int, help="Guards that cheat, the last ones: each negates its anchor."
)
@click.option(
    "--rpc-url",
    envvar="ETH_RPC_URL",
    help="Record on this node instead of the embedded chain.  [embedded: unset ETH_RPC_URL]",
)
@click.option("--blobs", help="Where update files go: a folder or an fsspec URL.  [default: OUT/blobs]")
@click.option("--deployment", help="Use registry and rules that `hallmark deploy` wrote to this file.")
@click.option(
    "--data-requests/--no-data-requests",
    default=None,
    help="Ask on the chain, with a bond, for updates that did not come.  [default: the guard's word counts]",
)
@click.option(
    "--max-fee-gwei",
    type=click.IntRange(min=1),
    help="Most that is offered for a transaction's gas, also when its fee has to be raised.  [default: 500]",
)
@click.option(
    "--confirmations",
    type=click.IntRange(0, 64),
    help="Blocks on top of something before it is built upon.  [default: 0, as the chain is local]",
)
@json_option
def run(config_file: Path | None, as_json: bool, **options: Any) -> None:
    """Train by DiLoCo; commit, assay, judge and record every update; merge only what the ledger approved.

    Stop it whenever you like, even with kill -9: the same command goes on where it was.

    \b
    hallmark run --rounds 30 --workers 16 --attack alie --malicious 0.45 --out runs/alie
    hallmark run --guards 3 --malicious-guards 1 --attack alie --malicious 0.3
    hallmark run --config my.toml
    hallmark chain start &  hallmark run --rpc-url http://127.0.0.1:8545 --out runs/rpc
    """
    if options["attack"] == "list":
        _list_attacks()
        return
    from cli.progress import RunProgress
    from trainer.run import run as run_training

    config = resolve(config_file, options)
    notices.print(f"[dim]{local_chain_note(config)}[/]")
    with RunProgress(config.rounds, config.malicious, config.cheating_guards) as progress:
        reports = run_training(config, progress)
    if as_json:
        write_json({"out": config.out, "rounds": [report.as_json() for report in reports]})
        return
    out = escape(config.out)
    if not reports:
        results.print(f"All {config.rounds} rounds in {out} were done already; --rounds adds more.")
        return
    metric = reports[-1].metric
    outcome = "" if metric is None else f", {escape(metric.name)} {metric.value:.4f}"
    results.print(f"{len(reports)} rounds done in {out}{outcome}")
    results.print(f"Check it, trusting nobody:  hallmark audit {as_argument(config.out)}")


@click.command()
@click.option("--out", default="runs/demo", show_default=True, help="Folder of the run.")
@click.option("--rounds", type=int, help="Rounds.")
@click.option("--seed", type=int, help="Another seed, another run.")
@json_option
def demo(out: str, rounds: int | None, seed: int | None, as_json: bool) -> None:
    """Show the whole story: ten workers, four of them cheat; gate against plain mean; audit; pictures.

    Writes summary.json and pictures into the run's folder. Run it again to continue one that was stopped.

    \b
    hallmark demo
    hallmark demo --seed 1 --out runs/demo-1
    """
    from cli.progress import RunProgress
    from trainer.demo import demonstrate, summary

    config = resolve(
        None, {"out": out, "rounds": rounds, "seed": seed, "attack": "sign_flip_x10", "malicious": 0.4}
    )
    cheats = ", ".join(map(str, config.malicious))
    notices.print(
        f"{config.workers} workers train on handwritten digits; workers {cheats} send ten times the "
        f"opposite of what they learned."
    )
    notices.print(f"[dim]{local_chain_note(config)}[/]")
    with RunProgress(config.rounds, config.malicious, config.cheating_guards) as progress:
        result = demonstrate(config, progress, progress.stage)
    if as_json:
        write_json(summary(result))
        return
    _print_demo(config, result)


def local_chain_note(config: "RunConfig") -> str:
    """Say what a run on a local chain does not prove."""
    whom = "the guard's word" if config.guards == 1 else "the votes of a majority of the guards"
    word = "" if config.chain.data_requests else f', and an "unavailable" rests on {whom}'
    return LOCAL_CHAIN_NOTE.format(window=config.gate.challenge_window_s, word=word)


def resolve(config_file: Path | None, options: Mapping[str, Any]) -> "RunConfig":
    """Give the run that a file and options describe; an option ranks above the file.

    Raises:
        ConfigError: An unknown key, a wrong type or range.
    """
    from trainer.config import read_table, resolve_config

    table: dict[str, Any] = {} if config_file is None else read_table(config_file)
    places = {
        "inner_steps": ("inner", "steps"),
        "attack": ("attack", "name"),
        "malicious": ("attack", "share"),
        "malicious_guards": ("attack", "guards"),
        "rpc_url": ("chain", "rpc_url"),
        "blobs": ("chain", "blobs"),
        "deployment": ("chain", "deployment"),
        "data_requests": ("chain", "data_requests"),
        "max_fee_gwei": ("chain", "max_fee_gwei"),
        "confirmations": ("chain", "confirmations"),
    }
    for name, value in options.items():
        if value is None:
            continue
        section, key = places.get(name, ("", name))
        if not section:
            table[key] = value
        elif isinstance(table.setdefault(section, {}), dict):
            table[section][key] = value
    config = resolve_config(table)
    if "out" in table:
        return config
    # Named by what it is, so that the same command finds the same run again.
    name = f"{config.task.replace(':', '.')}-{config.attack.name}-{config.train_digest[:8]}"
    return replace(config, out=f"runs/{name}")


def _list_attacks() -> None:
    from trainer.attacks import ATTACKS

    for name in ("none", *sorted(ATTACKS)):
        results.print(name)


def _print_demo(config: "RunConfig", result: "DemoResult") -> None:
    metric = result.rounds[-1].metric
    name = metric.name if metric else "metric"
    cheats = f"{len(config.malicious)} of {config.workers} workers cheating"
    table = Table(title=f"After {len(result.rounds)} rounds, {cheats}")
    for column in ("merged by", name):
        table.add_column(column, justify="left" if column == "merged by" else "right")
    table.add_row("ledger gate", f"[green]{metric.value:.1%}[/]" if metric else "")
    table.add_row("plain mean", f"[red]{result.mean.final.value:.1%}[/]")
    table.add_row("honest workers only (no attack)", f"{result.honest_only.final.value:.1%}")
    results.print(table)

    table = Table(title="Verdicts on the ledger, against what each worker really was")
    for column in ("worker", "really", "accepted", "refused", "banned after round"):
        table.add_column(column, justify="left" if column == "really" else "right")
    for worker in result.workers:
        truth = "[red]cheats[/]" if worker.is_malicious else "[green]honest[/]"
        banned = "" if worker.banned_in is None else str(worker.banned_in)
        table.add_row(str(worker.index), truth, str(worker.accepted), str(worker.refused), banned)
    results.print(table)

    count = len(result.rounds)
    seconds = result.seconds
    per_round = {key: seconds[key] / count for key in ("training", "guard", "ledger", "merge")}
    results.print(
        f"{result.gas_per_contribution:,.0f} gas per contribution; seconds per round: "
        + ", ".join(f"{key} {value:.2f}" for key, value in per_round.items())
    )
    verdict = "[green]OK: everything re-derived, nothing differs[/]" if result.audit.ok else "[red]NOT OK[/]"
    results.print(f"Audit of the run from chain and update files alone: {verdict}")
    results.print(f"Pictures: {escape(', '.join(map(str, result.pictures)))}")
    results.print(f"Numbers:  {escape(str(result.summary))}")
    # Without --run these commands take the latest run in runs/.
    which = "" if Path(config.out).parent == Path("runs") else f" --run {as_argument(config.out)}"
    results.print(
        f"Next:     hallmark explain 3:7{which}   hallmark history 7{which}   hallmark reputation{which}   "
        f"hallmark audit {as_argument(config.out)}"
    )
