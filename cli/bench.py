"""`hallmark bench`: gas, assay, decision, rounds, robustness."""

import json
from collections.abc import Callable
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from cli.options import json_option
from cli.output import columns, notices, plain, results, write_json


@click.group()
def bench() -> None:
    """Measure gas (exact), speed and memory (compare ratios: machines are noisy)."""


@bench.command()
@click.option("--workers", multiple=True, type=click.IntRange(1, 255), help="Cohort size; may be repeated.")
@click.option(
    "--guards",
    type=click.IntRange(1, 15),
    default=1,
    show_default=True,
    help="Guards, odd; of several only rounds are measured, no challenges.",
)
@json_option
def gas(workers: tuple[int, ...], guards: int, as_json: bool) -> None:
    """Gas per contribution by phase and cohort size, everything included.

    Whole transactions with calldata, every signature verified and every verdict recomputed by the EVM, in a
    steady round, under the hardfork named. Then one challenge of each kind, requests and answers, for an
    update of 268M values. Exact: the same on every machine. In --json `challenge` is that of the first
    cohort size, `challenge_by_workers` has all.

    \b
    hallmark bench gas
    hallmark bench gas --workers 64 --json
    hallmark bench gas --workers 64 --guards 3
    """
    from bench.challenges import bench_challenges
    from bench.gas import HARDFORK, SIZES, bench_gas

    sizes = workers or SIZES
    with notices.status("gas") as line:
        measured = bench_gas(sizes, lambda size: line.update(f"gas: {size} workers"), guards)
        challenge = (
            bench_challenges(sizes, on_size=lambda size: line.update(f"gas of challenges: {size} workers"))
            if guards == 1
            else {}
        )
    per_contribution = {str(gas.workers): gas.per_contribution() for gas in measured}
    if as_json:
        write_json(
            {
                "hardfork": HARDFORK,
                "guards": guards,
                "per_contribution": per_contribution,
                "challenge": challenge.get(sizes[0]),
                "challenge_workers": sizes[0],
                "challenge_by_workers": {str(size): gas for size, gas in challenge.items()},
            }
        )
        return
    with_guards = "" if guards == 1 else f", {guards} guards"
    table = Table(title=f"Gas per contribution ({HARDFORK}{with_guards})")
    for name in ("workers", "commit", "seal", "settle", "finalize", "total"):
        table.add_column(name, justify="right")
    for size, phases in per_contribution.items():
        table.add_row(size, *(f"{phases[n]:,.0f}" for n in ("commit", "seal", "settle", "finalize", "total")))
    results.print(table)
    if not challenge:
        return
    table = Table(title=f"Gas of one challenge at 268M values ({HARDFORK})")
    table.add_column("")
    for workers_count in challenge:
        table.add_column(f"{workers_count} workers", justify="right")
    for name in next(iter(challenge.values())):
        table.add_row(name, *(f"{gas[name]:,}" for gas in challenge.values()))
    results.print(table)


@bench.command()
@click.option(
    "--values", type=click.IntRange(1, 1 << 34), default=100_000_000, show_default=True, help="int8."
)
@click.option("--repeats", type=click.IntRange(1, 100), default=5, show_default=True, help="Best of so many.")
@json_option
def assay(values: int, repeats: int, as_json: bool) -> None:
    """Assay of one update (root, 8 atoms, word, norm) against sha256, a copy, and an assay with its trace.

    One thread, interleaved in one run, best of several.

    \b
    hallmark bench assay --values 100000000 --json
    """
    from bench.assay import bench_assay

    with notices.status(f"assay of {values:,} values"):
        measured = bench_assay(values, repeats)
    if as_json:
        write_json(measured)
        return
    _print_fields(measured)


@bench.command()
@click.option("--workers", type=click.IntRange(3, 255), default=64, show_default=True, help="Updates.")
@click.option(
    "--values", type=click.IntRange(1, 1 << 32), default=10_000_000, show_default=True, help="int8 of each."
)
@click.option("--repeats", type=click.IntRange(1, 100), default=2, show_default=True, help="Best of so many.")
@json_option
def decision(workers: int, values: int, repeats: int, as_json: bool) -> None:
    """One round's decision, from files to the step: ours beside mean, Krum, NNM and geometric median.

    One thread, each rule in a process of its own. The last three need 4 x workers x values bytes of memory,
    ours reads one update at a time.

    \b
    hallmark bench decision --workers 16 --values 1000000
    """
    from bench.decision import bench_decision

    with notices.status(f"decisions on {workers} updates of {values:,} values"):
        measured = bench_decision(workers, values, repeats)
    if as_json:
        write_json(measured)
        return
    table = Table(title=f"One decision: {workers} updates of {values:,} values")
    for name in ("rule", "seconds", "extra memory, MB", "time / ours", "memory / ours"):
        table.add_column(name, justify="left" if name == "rule" else "right")
    for rule, cost in measured.rules.items():
        extra = "?" if cost.extra_bytes is None else f"{cost.extra_bytes / 1e6:,.0f}"
        memory = measured.memory_against_ours.get(rule)
        ratio = "?" if memory is None else f"{memory:.1f}"
        table.add_row(rule, f"{cost.seconds:.2f}", extra, f"{measured.time_against_ours[rule]:.1f}", ratio)
    results.print(table)


@bench.command()
@click.option("--workers", type=click.IntRange(1, 255), default=64, show_default=True, help="Cohort size.")
@json_option
def rounds(workers: int, as_json: bool) -> None:
    """The ledger's share of a round, and contributions per second through the embedded chain.

    \b
    hallmark bench rounds
    hallmark bench rounds --workers 10 --json
    """
    from bench.rounds import bench_rounds

    with notices.status("rounds"):
        measured = bench_rounds(workers)
    if as_json:
        write_json(measured)
        return
    _print_fields(measured)


@bench.command()
@click.option(
    "--rounds",
    multiple=True,
    type=click.IntRange(1, 1_000_000),
    help="Length of a run whose audit is measured; may be repeated.  [default: 10 and 10000]",
)
@click.option(
    "--values", type=click.IntRange(1, 1 << 32), default=32_000_000, show_default=True, help="int8 per file."
)
@json_option
def audit(rounds: tuple[int, ...], values: int, as_json: bool) -> None:
    """The audit: bytes per second beside sha256, verdicts per second, memory by the length of the run.

    Real signatures, files, verdicts, records and blocks, made without an EVM, and audited by processes of
    their own: about ten minutes for 10,000 rounds.

    \b
    hallmark bench audit --json
    hallmark bench audit --rounds 10 --rounds 1000
    """
    import os

    from bench.audit import ROUNDS, bench_audit

    with notices.status("audit") as line:
        measured = bench_audit(
            rounds or ROUNDS,
            values=values,
            jobs=len(os.sched_getaffinity(0)),
            on_step=lambda text: line.update(f"audit: {text}"),
        )
    if as_json:
        write_json(measured)
        return
    _print_fields(measured)


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[str] | None:
    """Take a list of names apart."""
    return None if value is None else [name for name in value.replace(" ", "").split(",") if name]


def _numbers(kind: Callable[[str], float | int]) -> Callable[..., list[float | int] | None]:
    def take_apart(
        _context: click.Context, _parameter: click.Parameter, value: str | None
    ) -> list[float | int] | None:
        try:
            return None if value is None else [kind(number) for number in value.split(",")]
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is no list of numbers") from error

    return take_apart


@bench.command()
@click.option(
    "--tasks", callback=_names, help="digits_mlp, digits_cnn, byte_lm, or your own; commas between."
)
@click.option("--splits", callback=_names, help="iid, dirichlet_0.3, two_classes.")
@click.option("--shares", callback=_numbers(float), help="Shares of workers that cheat, as 0,0.4.")
@click.option("--attacks", callback=_names, help="Names of attacks; see --list.")
@click.option("--defences", callback=_names, help="Names of gate policies; see --list.")
@click.option("--seeds", callback=_numbers(int), help="Seeds of the runs, as 0,1,2.")
@click.option("--rounds", type=click.IntRange(1), help="Rounds of each run.  [default: the task's]")
@click.option(
    "--root-samples", callback=_numbers(int), help="Sizes of the guard's trusted set, as 20,50,100."
)
@click.option(
    "--grid", type=click.Choice(["core", "ci", "full"]), help="A named set; options above narrow it."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/robustness"),
    show_default=True, help="Folder of results.jsonl, report.md and pictures.",
)  # fmt: skip
@click.option("--processes", type=click.IntRange(1), help="Runs at a time.  [default: one per core]")
@click.option("--list", "list_only", is_flag=True, help="Only say what is registered, plug-ins included.")
@json_option
def robustness(
    tasks: list[str] | None,
    splits: list[str] | None,
    shares: list[float] | None,
    attacks: list[str] | None,
    defences: list[str] | None,
    seeds: list[int] | None,
    rounds: int | None,
    root_samples: list[int] | None,
    grid: str | None,
    out: Path,
    processes: int | None,
    list_only: bool,
    as_json: bool,
) -> None:
    """Attacks against defences: accuracy, backdoor success, who was refused, on equal data.

    Cells that --out holds already are not run again, so a stopped command goes on where it was. Without
    any option the core grid: about two hours on two cores. --json writes the rows, one line each, to stdout.

    \b
    hallmark bench robustness --grid ci
    hallmark bench robustness --splits iid --attacks sign_flip,alie --defences hallmark,mean,honest_only
    """
    import os

    from bench.robustness.catalogue import catalogue
    from bench.robustness.grid import Choice, plan
    from bench.robustness.report import write_report
    from bench.robustness.runner import Progress, fill

    if list_only:
        listed = catalogue()
        if as_json:
            write_json(listed)
        else:
            columns(*((kind, ", ".join(names)) for kind, names in listed.items()))
        return
    cells = plan(Choice(tasks, splits, shares, attacks, defences, seeds, rounds or 0, root_samples), grid)
    with notices.status(f"{len(cells)} cells") as line:

        def show(progress: Progress) -> None:
            text = f"{progress.done}/{progress.total} cells"
            if progress.row is not None:
                row = progress.row
                text += f", last {row['task']} {row['split']} {row['attack']} {row['defence']}"
            line.update(text)
            if not notices.is_terminal and progress.done % 25 == 0:
                notices.print(text)

        rows = fill(cells, out, processes or len(os.sched_getaffinity(0)), show)
    files = write_report(rows, out)
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    for file in files:
        notices.print(f"wrote {escape(str(file))}")


def _print_fields(measured: object) -> None:
    fields = plain(measured)
    if isinstance(fields, dict):
        columns(*((name, str(value)) for name, value in _flat(fields).items()))


def _flat(fields: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = round(value, 4) if isinstance(value, float) else value
    return flat
