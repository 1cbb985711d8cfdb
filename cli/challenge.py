"""`hallmark challenge` and `hallmark challenger`."""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from cli.errors import ExitCode
from cli.options import (
    json_option,
    key_options,
    make_target,
    place_options,
    read_password,
    sending_options,
    target_options,
)
from cli.output import columns, notices, results, short, write_json

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from ledger.node import Node
    from trainer.chain_session import RunTarget
    from trainer.challenger import Outcome, PassReport

NOTHING_FALSE = "Nothing false was posted: there is nothing to challenge."


def _finite(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    """Refuse what is no number: it is in every range."""
    if math.isnan(value):
        raise click.BadParameter("a number of seconds is expected")
    return value


dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be sent and what it would cost; send nothing."
)


@click.command()
@click.argument("contribution")
@target_options(reads_files=True)
@key_options("challenger")
@sending_options
@dry_run_option
@json_option
def challenge(
    contribution: str,
    target: "RunTarget",
    keystore: Path | None,
    password_file: Path | None,
    sending: Mapping[str, int],
    dry_run: bool,
    as_json: bool,
) -> int:
    """Show the chain that something posted about CONTRIBUTION is false.

    CONTRIBUTION is ROUND:WORKER (identity or cohort index; a guard's is its anchor), or an update root. The
    posted word, norm, exponent, status and trace are derived again from the bytes. If one of them is false,
    one transaction takes the contribution back, and the stake of the guard that posted it, half of which is
    the sender's. Exit code 0 if nothing is false or it was overturned, 3 if something false is left, 6 if the
    contract refused.

    \b
    hallmark challenge 3:7 --dry-run
    hallmark challenge 3:0xa0Ee7A142d267C1f36714E4a8F75612F20a79720 --run runs/demo --json
    hallmark challenge 3:7 --rpc-url URL --ledger 0x… --blobs s3://bucket/run --keystore KEY.json
    """
    from trainer.chain_session import open_recorded_run
    from trainer.challenger import Challenger, State
    from trainer.inspection import find_contribution

    with open_recorded_run(replace(target, sending=sending)) as recorded:
        client = recorded.client
        found = find_contribution(client, contribution)
        account = None if dry_run else _account(client.node, keystore, password_file)
        is_before = bool(client.overturned_of(found.round) >> found.index & 1)
        outcome = Challenger(client, recorded.store, account).challenge(found.round, found.index)
    if as_json:
        content = None if outcome is None else outcome.as_json()
        write_json(
            {"round": found.round, "index": found.index, "was_overturned": is_before, "found": content}
        )
    elif is_before:
        results.print(f"Round {found.round}, member {found.index} was overturned before: nothing to do.")
    elif outcome is None:
        results.print(NOTHING_FALSE)
    else:
        _print_outcome(outcome)
    if outcome is not None and outcome.state == State.REFUSED:
        return ExitCode.REVERTED
    return _exit_code([] if outcome is None else [outcome])


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path, file_okay=False))
@place_options
@key_options("challenger")
@click.option("--once", is_flag=True, help="Look at all rounds once and stop.")
@dry_run_option
@click.option(
    "--interval-s",
    type=click.FloatRange(0.1, 86_400),
    callback=_finite,
    default=15.0,
    show_default=True,
    help="Seconds between two looks at the chain.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where it keeps how far it is.  [default: RUN/challenger.json, or challenger-LEDGER.json]",
)
@click.option(
    "--scan-blocks",
    type=click.IntRange(min=0),
    default=256,
    show_default=True,
    help="Newest blocks that each look goes through for transactions, also reverted ones, in which a member "
    "signs a second root; 0: none.",
)
@sending_options
@json_option
def challenger(
    run: Path | None,
    rpc_url: str,
    ledger: str,
    blobs: str,
    keystore: Path | None,
    password_file: Path | None,
    once: bool,
    dry_run: bool,
    interval_s: float,
    journal: Path | None,
    scan_blocks: int,
    sending: Mapping[str, int],
    as_json: bool,
) -> int:
    """Watch a run: assay every settled round again, and challenge whatever was posted and is false.

    RUN is a run's folder  [default: the latest in runs/, unless --ledger is given]. Rounds that are not final
    come first. Who signs two roots for one round is challenged, too, if both signatures can be seen. Stop it
    whenever you like, even with kill -9: it goes on where it was, and challenges nothing twice. While a run
    on the embedded chain is working, its chain is busy: then it waits. With --once, exit code 3 if something
    false is left standing.

    \b
    hallmark challenger runs/demo --once --dry-run
    hallmark challenger runs/rpc --interval-s 5
    hallmark challenger --rpc-url URL --ledger 0x… --blobs s3://bucket/run --keystore KEY.json --json
    """
    target = replace(make_target(run, rpc_url, ledger, blobs, reads_files=True), sending=sending)
    password = None if keystore is None or dry_run else read_password(password_file)
    while True:
        report = _one_pass(
            target, keystore, password, journal, scan_blocks, dry_run=dry_run, is_patient=not once
        )
        if report is not None:
            _print_pass(report, as_json=as_json, once=once)
            if once:
                if not report.is_clean:
                    return ExitCode.VERIFICATION_FAILED
                return ExitCode.ENVIRONMENT if report.troubles else ExitCode.OK
        time.sleep(interval_s)


def _one_pass(
    target: "RunTarget",
    keystore: Path | None,
    password: str | None,
    journal: Path | None,
    scan_blocks: int,
    *,
    dry_run: bool,
    is_patient: bool,
) -> "PassReport | None":
    """Look at the run once; None if its chain cannot be reached now, and there is time."""
    from ledger.errors import EnvironmentFault
    from trainer.chain_session import open_recorded_run
    from trainer.challenger import ChallengeJournal, Challenger
    from trainer.folder import RunFolder

    try:
        # Opened for each pass: an embedded chain must be free for its run in between.
        with open_recorded_run(target) as recorded, notices.status("challenger") as line:
            client = recorded.client
            path = journal or (
                Path(f"challenger-{client.address}.json")
                if target.folder is None
                else RunFolder(target.folder).challenger
            )
            kept = ChallengeJournal(None if dry_run else path, client.node.chain_id, client.address)
            account = None if dry_run else _account(client.node, keystore, None, password)
            watch = Challenger(client, recorded.store, account, kept, scan_blocks=scan_blocks)
            return watch.run_pass(on_round=lambda number: line.update(f"challenger: round {number}"))
    except EnvironmentFault as error:
        if not is_patient:
            raise
        notices.print(f"[yellow]not now:[/] {escape(str(error))}")
        return None


def _account(
    node: "Node", keystore: Path | None, password_file: Path | None, password: str | None = None
) -> "LocalAccount":
    from ledger.parties import load_keystore
    from trainer.challenger import funded_local_account

    if keystore is None:
        return funded_local_account(node)
    return load_keystore(keystore, read_password(password_file) if password is None else password)


def _exit_code(outcomes: "Sequence[Outcome]") -> int:
    is_standing = any(outcome.is_standing for outcome in outcomes)
    return ExitCode.VERIFICATION_FAILED if is_standing else ExitCode.OK


def _print_pass(report: "PassReport", *, as_json: bool, once: bool) -> None:
    if as_json and once:
        write_json(report.as_json())
        return
    if as_json:
        if report.rounds or report.troubles:
            sys.stdout.write(json.dumps(report.as_json()) + "\n")
            sys.stdout.flush()
        return
    for trouble in report.troubles:
        notices.print(f"[yellow]round {trouble.round}, again later:[/] {escape(str(trouble.error))}")
    for outcome in report.outcomes:
        _print_outcome(outcome)
    looked = len(report.rounds)
    if report.outcomes:
        left = sum(outcome.is_standing for outcome in report.outcomes)
        results.print(
            f"{looked} rounds looked at: {len(report.outcomes)} false, {left} of them still standing"
        )
    elif looked:
        results.print(f"{looked} rounds looked at. {NOTHING_FALSE}")
    elif once and not report.troubles:
        results.print("No round is new: all were looked at before.")
    if once and report.standing:
        numbers = ", ".join(map(str, report.standing))
        results.print(
            f"Something false, or that could not be checked, was left standing in rounds {numbers}."
        )


def _print_outcome(outcome: "Outcome") -> None:
    false = outcome.falsehood
    colour = "yellow" if outcome.is_standing else "green"
    results.print(f"Round {false.round}, member {false.index}: [{colour}]{outcome.state.value}[/]")
    rows = [
        ("worker", false.worker),
        ("false", false.field.value),
        ("expected", short(str(false.expected), keep=24)),
        ("posted", short(str(false.posted), keep=24)),
        ("posted by", false.poster),
        ("challenge", outcome.kind or "none"),
    ]
    if outcome.price is not None:
        rows.append(("gas", f"{outcome.price.gas:,} ({outcome.price.wei / 1e18:.6f} ether)"))
    if outcome.transaction is not None:
        rows.append(("transaction", "0x" + outcome.transaction.hex()))
        rows.append(("slashed", f"{outcome.slashed_wei / 1e18:g} ether, half of it to the challenger"))
    if outcome.answer_by:
        rows.append(("answer by", f"{outcome.answer_by} (Unix time of the chain)"))
    if outcome.detail:
        rows.append(("why", outcome.detail))
    columns(*rows)
