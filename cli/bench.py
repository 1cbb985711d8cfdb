"""`hallmark bench`: gas, assay, rounds."""

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
    fields = plain(measured)
    columns(
        *((name, str(value)) for name, value in _flat(fields if isinstance(fields, dict) else {}).items())
    )


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
    fields = plain(measured)
    columns(
        *((name, str(value)) for name, value in _flat(fields if isinstance(fields, dict) else {}).items())
    )


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
