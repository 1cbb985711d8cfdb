"""`hallmark bench`: gas, assay, rounds, robustness."""

import json
from collections.abc import Callable
from pathlib import Path

import click
from rich.table import Table

from cli.options import json_option
from cli.output import columns, notices, plain, results, write_json


@click.group()
def bench() -> None:
    """Measure gas (exact), speed and memory (compare ratios: machines are noisy)."""


@bench.command()
@click.option("--workers", multiple=True, type=click.IntRange(1, 255), help="Cohort size; may be repeated.")
@json_option
def gas(workers: tuple[int, ...], as_json: bool) -> None:
    """Gas per contribution by phase and cohort size, everything included.

    Whole transactions with calldata, every signature verified and every verdict recomputed by the EVM, in a
    steady round, under the hardfork named. Exact: the same on every machine.

    \b
    hallmark bench gas
    hallmark bench gas --workers 64 --json
    """
    from bench.gas import HARDFORK, SIZES, bench_gas

    with notices.status("gas") as line:
        measured = bench_gas(workers or SIZES, on_size=lambda size: line.update(f"gas: {size} workers"))
    per_contribution = {str(gas.workers): gas.per_contribution() for gas in measured}
    if as_json:
        write_json({"hardfork": HARDFORK, "per_contribution": per_contribution})
        return
    table = Table(title=f"Gas per contribution ({HARDFORK})")
    for name in ("workers", "commit", "seal", "settle", "finalize", "total"):
        table.add_column(name, justify="right")
    for size, phases in per_contribution.items():
        table.add_row(size, *(f"{phases[n]:,.0f}" for n in ("commit", "seal", "settle", "finalize", "total")))
    results.print(table)


@bench.command()
@click.option(
    "--values", type=click.IntRange(1, 1 << 34), default=100_000_000, show_default=True, help="int8."
)
@click.option("--repeats", type=click.IntRange(1, 100), default=5, show_default=True, help="Best of so many.")
@json_option
def assay(values: int, repeats: int, as_json: bool) -> None:
    """Assay of one update (root, 8 atoms, word, norm) against sha256 and a copy of the same bytes.

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
@click.option("--workers", type=click.IntRange(1, 255), default=64, show_default=True, help="Cohort size.")
@json_option
def rounds(workers: int, as_json: bool) -> None:
    """The ledger's share of a round, and contributions per second through the embedded chain."""
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
    cells = plan(Choice(tasks, splits, shares, attacks, defences, seeds, rounds or 0), grid)
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
        notices.print(f"wrote {file}")


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
