"""`hallmark audit`."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource
from rich.markup import escape
from rich.table import Table

from cli.errors import ExitCode
from cli.options import from_block_option, json_option, make_target, place_options
from cli.output import notices, results, short, write_json

if TYPE_CHECKING:
    from trainer.audit import AuditReport

_SHOWN = 50
_EVERY_S = 5.0


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path, file_okay=False))
@place_options
@click.option(
    "--bundle",
    "--from-bundle",
    "bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Audit this file of `hallmark bundle`, without node and folder.",
)
@click.option("--head", help="Hash that the bundle's last block must have; ask a node that you trust.")
@click.option(
    "--replay/--no-replay",
    default=True,
    show_default=True,
    help="Compute every model again, bit for bit, from the configuration's seed on.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=None,
    help="Files to assay at a time.  [default: one per core]",
)
@click.option(
    "--incremental", is_flag=True, help="Go on where the last such audit stopped: RUN/audit.cursor.json."
)
@click.option(
    "--cursor",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The same with this file; for RUN, --ledger and --bundle alike.",
)
@from_block_option
@json_option
def audit(
    run: Path | None,
    rpc_url: str,
    ledger: str,
    blobs: str,
    bundle: Path | None,
    head: str | None,
    replay: bool,
    jobs: int | None,
    incremental: bool,
    cursor: Path | None,
    from_block: int | None,
    as_json: bool,
) -> int:
    """Re-derive a whole run from the chain and the update files, and compare.

    RUN is a run's folder  [default: the latest in runs/, unless --ledger or --bundle is given]. Signatures,
    roots, seeds, words, verdicts, reputations, weights, records and models are computed again; no index and
    no metric is trusted. Exit code 3 when anything is false or cannot be checked.

    \b
    hallmark audit runs/demo
    hallmark audit runs/demo --no-replay --json
    hallmark audit runs/demo --incremental
    hallmark audit --bundle demo.bundle --head 0x…
    hallmark audit --rpc-url http://127.0.0.1:8545 --ledger 0x… --blobs s3://bucket/run --from-block 7000
    """
    source = click.get_current_context().get_parameter_source("rpc_url")
    is_node_named = bool(run or ledger or blobs or source == ParameterSource.COMMANDLINE)
    if bundle is not None and (is_node_named or from_block is not None):
        raise click.UsageError(
            "--bundle holds the whole run: leave out RUN, --rpc-url, --ledger, --blobs, --from-block"
        )
    if bundle is None and head is not None:
        raise click.UsageError("--head is about a --bundle; a node is asked for its own")
    if incremental and cursor is None and run is None and (ledger or bundle):
        named = "--bundle" if bundle else "--ledger"
        raise click.UsageError(
            f"--incremental keeps its cursor in a run's folder: give RUN, or {named} with --cursor FILE"
        )
    jobs = jobs or len(os.sched_getaffinity(0))
    if bundle is not None:
        report = _of_bundle(bundle, _hash(head), replay, jobs, cursor)
    else:
        report = _of_node(run, rpc_url, ledger, blobs, replay, jobs, incremental, cursor, from_block)
    if as_json:
        write_json(report.as_json())
    else:
        _print(report)
    return ExitCode.OK if report.ok else ExitCode.VERIFICATION_FAILED


def _of_node(
    run: Path | None,
    rpc_url: str,
    ledger: str,
    blobs: str,
    replay: bool,
    jobs: int,
    incremental: bool,
    cursor: Path | None,
    from_block: int | None,
) -> "AuditReport":
    from trainer.audit import AuditOptions
    from trainer.audit import audit as audit_run
    from trainer.chain_session import open_recorded_run
    from trainer.folder import RunFolder

    target = make_target(run, rpc_url, ledger, blobs, reads_files=True)
    folder = None if target.folder is None or ledger else RunFolder(target.folder)
    if incremental and cursor is None:
        cursor = RunFolder(target.folder).cursor
    with open_recorded_run(target) as recorded, progress("audit", recorded.client.state().round) as on_round:
        options = AuditOptions(
            replay=replay,
            jobs=jobs,
            first_block=recorded.first_block if from_block is None else from_block,
            cursor=cursor,
            folder=folder,
        )
        return audit_run(
            recorded.client.node, recorded.client.address, recorded.store, options, on_round=on_round
        )


def _of_bundle(path: Path, head: bytes | None, replay: bool, jobs: int, cursor: Path | None) -> "AuditReport":
    from trainer.audit import AuditOptions
    from trainer.audit import audit as audit_run
    from trainer.bundle import open_bundle

    with notices.status("checking the bundle"), open_bundle(path, head) as opened:
        options = AuditOptions(
            replay=replay,
            jobs=jobs,
            first_block=opened.manifest.first_block,
            cursor=cursor,
            claims=opened.claims(),
        )
        with progress("audit", 0) as on_round:
            return audit_run(opened.node(), opened.manifest.ledger, opened.store, options, on_round=on_round)


@contextmanager
def progress(title: str, rounds: int) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far it is: a line that moves on a terminal, one every few seconds elsewhere."""
    told = time.monotonic()
    of = f" of {rounds}" if rounds else ""
    if not notices.is_terminal:

        def print_line(number: int) -> None:
            nonlocal told
            if time.monotonic() - told >= _EVERY_S:
                told = time.monotonic()
                notices.print(f"{title}: round {number}{of}")

        yield print_line
        return
    with notices.status(title) as line:
        yield lambda number: line.update(f"{title}: round {number}{of}")


def _hash(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise click.BadParameter("--head: a block hash in hex is expected") from error
    if len(data) != 32:
        raise click.BadParameter(f"--head: a block hash has 32 bytes, not {len(data)}")
    return data


def _print(report: "AuditReport") -> None:
    checked = report.checked
    after = f" after round {report.resumed_after}; in all" if report.resumed_after else ""
    results.print(
        f"checked{after} {checked.rounds} rounds, {checked.contributions} contributions, "
        f"{checked.signatures} signatures, {checked.words} words, {checked.verdicts} verdicts, "
        f"{checked.models} models"
    )
    if report.head_hash:
        results.print(f"up to block {report.head_block}, {report.head_hash}")
    if report.unreplayed:
        why = "not computed again" if report.is_replayed else "not computed again: --no-replay"
        results.print(f"the models of {report.unreplayed} rounds were {why}")
    if report.differences:
        _print_differences(report)
    if report.overturned_count:
        results.print(
            f"[green]OVERTURNED[/]: {report.overturned_count} differences that a challenge has shown; "
            "they count for nobody"
        )
    if report.ok:
        results.print(f"[green]OK[/]: nothing {'else ' if report.differences else ''}differs")
    if report.false_count:
        results.print(
            f"[red]FALSE[/]: {report.false_count} differences; "
            "do not trust this run from the first of their rounds on"
        )
    if report.unchecked_count:
        results.print(
            f"[yellow]CANNOT BE CHECKED[/]: bytes are missing or are not the committed ones in "
            f"{report.unchecked_count} places; nothing is known about those contributions"
        )


def _member(report: "AuditReport", identity: str) -> str:
    """Name a member: a guard by its number, too."""
    if identity not in report.guards:
        return short(identity)
    return f"guard {report.guards.index(identity)}, {short(identity)}"


def _print_differences(report: "AuditReport") -> None:
    table = Table(title=f"{report.difference_count} differences")
    for name in ("round", "worker", "field", "expected", "found", "challenge"):
        table.add_column(name)
    for difference in report.differences[:_SHOWN]:
        table.add_row(
            str(difference.round),
            _member(report, difference.worker),
            escape(difference.field),
            escape(short(str(difference.expected))),
            escape(short(str(difference.found))),
            difference.challenge or "-",
        )
    results.print(table)
    if report.difference_count > _SHOWN:
        results.print(f"the first {_SHOWN} of {report.difference_count}; --json has up to 1000")
