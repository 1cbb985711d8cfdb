"""`hallmark audit`."""

from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from cli.errors import ExitCode
from cli.options import json_option, make_target
from cli.output import notices, results, short, write_json


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--rpc-url",
    envvar="ETH_RPC_URL",
    default="",
    help="Node to ask instead of the run's own chain; the variable ETH_RPC_URL counts only with --ledger.",
)
@click.option("--ledger", default="", help="Address of the run's ContributionLedger, without a folder.")
@click.option("--blobs", default="", help="Where the update files are: a folder or an fsspec URL.")
@json_option
def audit(run: Path | None, rpc_url: str, ledger: str, blobs: str, as_json: bool) -> int:
    """Re-derive a whole run from the chain and the update files, and compare.

    RUN is a run's folder  [default: the latest in runs/, unless --ledger is given]. Signatures, roots, seeds,
    words, verdicts, reputations, weights and models are computed again; no index, checkpoint or metric is
    trusted. Exit code 3 when anything differs.

    \b
    hallmark audit runs/demo
    hallmark audit --rpc-url http://127.0.0.1:8545 --ledger 0x… --blobs s3://bucket/run --json
    """
    if run is None and ledger and not blobs:
        raise click.UsageError("--ledger without a folder needs --blobs: where the update files are")
    from trainer.audit import audit as audit_run
    from trainer.chain_session import open_recorded_run

    with (
        open_recorded_run(make_target(run, rpc_url, ledger, blobs)) as recorded,
        notices.status("audit") as line,
    ):
        report = audit_run(
            recorded.client.node,
            recorded.client.address,
            recorded.store,
            on_round=lambda number: line.update(f"audit: round {number}"),
        )
    if as_json:
        write_json(report.as_json())
        return ExitCode.OK if report.ok else ExitCode.VERIFICATION_FAILED
    checked = report.checked
    results.print(
        f"checked {checked.rounds} rounds, {checked.contributions} contributions, "
        f"{checked.signatures} signatures, {checked.words} words, {checked.verdicts} verdicts, "
        f"{checked.models} models"
    )
    if report.ok:
        results.print("[green]OK[/]: everything re-derived, nothing differs")
        return ExitCode.OK
    table = Table(title=f"{len(report.differences)} differences")
    for name in ("round", "worker", "field", "expected", "found"):
        table.add_column(name)
    for difference in report.differences[:50]:
        table.add_row(
            str(difference.round),
            short(difference.worker),
            escape(difference.field),
            escape(short(str(difference.expected))),
            escape(short(str(difference.found))),
        )
    results.print(table)
    results.print("[red]NOT OK[/]: do not trust this run from the first of these rounds on")
    return ExitCode.VERIFICATION_FAILED
