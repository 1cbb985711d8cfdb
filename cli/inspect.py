"""`hallmark history`, `reputation`, `explain`: questions to a recorded run."""

from typing import TYPE_CHECKING

import click
from rich.table import Table

from cli.options import json_option, target_options
from cli.output import columns, plain, results, short, write_json

if TYPE_CHECKING:
    from ledger.client import LedgerFacts
    from trainer.chain_session import RunTarget
    from trainer.inspection import Verdict

WIDE = 120
"""Columns from which whole addresses fit into a table."""

NUMBERS = ("round", "score", "evidence", "weight")
STYLE = {
    "approved": "green",
    "refused": "red",
    "absent": "dim",
    "void": "dim",
    "anchor": "cyan",
    "outvoted": "magenta",
    "overturned": "yellow",
}


@click.command()
@click.argument("worker")
@target_options()
@json_option
def history(worker: str, target: "RunTarget", as_json: bool) -> None:
    """Show what WORKER contributed, round by round, and what became of it.

    WORKER is an identity address or a cohort index; the last indices are the guards'. Of one of several
    guards the score is its agreement with their majority.

    \b
    hallmark history 7
    hallmark history 10                          the first guard of a run with ten workers
    hallmark history 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --run runs/demo --json
    """
    from trainer.chain_session import open_recorded_run
    from trainer.inspection import worker_history

    with open_recorded_run(target) as recorded:
        verdicts = worker_history(recorded.client, worker)
    if as_json:
        write_json(verdicts)
        return
    if not verdicts:
        results.print("no round has been opened yet")
        return
    title = member_name(verdicts[0]).capitalize()
    table = Table(title=f"{title}  {verdicts[0].worker}", title_justify="left")
    for name in ("round", "outcome", "score", "evidence", "weight", "why"):
        table.add_column(name, justify="right" if name in NUMBERS else "left")
    for v in verdicts:
        table.add_row(
            str(v.round),
            f"[{STYLE.get(v.outcome, 'default')}]{v.outcome}[/]",
            "" if v.score is None else str(v.score),
            "" if v.evidence_after is None else f"{v.evidence_after / 1024:+.2f}",
            f"{v.weight_q32 / 2**32:.3f}",
            "" if v.outcome == "approved" else v.reason,
        )
    results.print(table)


def member_name(v: "Verdict") -> str:
    """Name a member: "worker 7", "guard 0, member 8"."""
    return f"worker {v.index}" if v.guard is None else f"guard {v.guard}, member {v.index}"


@click.command()
@click.argument("worker", required=False)
@target_options()
@json_option
def reputation(worker: str | None, target: "RunTarget", as_json: bool) -> None:
    """Show reputations as the Reputation contract gives them: all, or WORKER's.

    Of several guards it shows how far each agreed with their majority: the mean score, and in how many rounds
    it was above 0 (accepted) or not (refused). There is no evidence against a guard, and none is banned.

    \b
    hallmark reputation
    hallmark reputation 3 --json
    """
    from guard.gate import GateParameters
    from trainer.chain_session import open_recorded_run
    from trainer.inspection import worker_index

    with open_recorded_run(target) as recorded:
        client = recorded.client
        rules = GateParameters(*client.facts.parameters)
        facts = client.facts
        listed = len(facts.members) if facts.guards > 1 else facts.workers
        wanted = range(listed) if worker is None else [worker_index(client, worker)]
        rows = [
            (index, facts.members[index].identity, client.reputation_at(index), guard_number(facts, index))
            for index in wanted
        ]
    if as_json:
        write_json([{"index": i, "worker": w, "guard": k, **as_fields(view)} for i, w, view, k in rows])
        return
    limits = f"refused from {rules.accept_below / 1024:g}, banned from {rules.ban_from / 1024:g}"
    table = Table(title=f"Reputation (evidence: nats against it, {limits}; score: mean; last: round)")
    for name in ("index", "worker", "evidence", "score", "accepted", "refused", "last", ""):
        is_text = name in ("worker", "")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=is_text)
    for index, identity, view, guard in rows:
        if guard == 0:
            table.add_section()
        table.add_row(
            str(index),
            identity if results.width >= WIDE else short(identity, keep=4),
            f"{view.llr / 1024:+.2f}" if guard is None else "",
            f"{view.ema / 64:+.0f}",
            str(view.accepted),
            str(view.refused),
            str(view.last_round) if view.last_round else "never",
            "[red]banned[/]" if view.is_banned else "" if guard is None else f"[cyan]guard {guard}[/]",
        )
    results.print(table)


def guard_number(facts: "LedgerFacts", index: int) -> int | None:
    """Give the number of the guard with this cohort index; None for a worker."""
    return index - facts.workers if facts.is_guard(index) else None


def as_fields(view: object) -> dict[str, object]:
    """Give a dataclass as a JSON object."""
    fields = plain(view)
    return fields if isinstance(fields, dict) else {}


@click.command()
@click.argument("contribution")
@target_options()
@json_option
def explain(contribution: str, target: "RunTarget", as_json: bool) -> None:
    """Explain one CONTRIBUTION: what was committed, how it was challenged, why it was accepted or refused.

    CONTRIBUTION is ROUND:WORKER (cohort index or identity), or an update root. A guard's is its anchor.

    \b
    hallmark explain 3:7
    hallmark explain 0x5f1c…  --json
    """
    from trainer.chain_session import open_recorded_run
    from trainer.inspection import find_contribution

    with open_recorded_run(target) as recorded:
        verdict = find_contribution(recorded.client, contribution)
    if as_json:
        write_json(verdict)
        return
    _print_explanation(verdict)


def _print_explanation(v: "Verdict") -> None:
    style = STYLE.get(v.outcome, "default")
    results.print(f"Round {v.round}, {member_name(v)} ({v.worker}): [{style}]{v.outcome}[/]")
    results.print(f"  because {v.reason}.")
    if v.update_root is not None and v.commit_transaction is not None:
        how = "relayed with its signature" if v.signed else "sent by itself"
        columns(
            ("committed", f"update root 0x{v.update_root.hex()}"),
            ("", f"block {v.commit_block}, {how}, transaction 0x{v.commit_transaction.hex()}"),
        )
    if v.seed is not None and v.settle_transaction is not None:
        columns(
            ("challenged", f"seed 0x{v.seed.hex()}, from the hash of block {v.seed_block}"),
            ("judged", f"transaction 0x{v.settle_transaction.hex()}"),
        )
    if v.overturn_transaction is not None:
        columns(("overturned", f"transaction 0x{v.overturn_transaction.hex()}"))
    if v.score is not None and v.guard is not None:
        columns(("score", f"{v.score} of 256 against the majority of the guards"))
    elif v.score is not None:
        usual = "none yet" if v.yardstick is None else f"{v.yardstick / 256:.1f}"
        columns(("score", f"{v.score} of 256 (yardstick, how far honest work agrees now: {usual})"))
    if v.evidence_before is not None and v.evidence_after is not None:
        before, after = v.evidence_before / 1024, v.evidence_after / 1024
        columns(("evidence", f"{before:+.2f} nats against it before, {after:+.2f} after"))
    if v.norm2 is not None and v.exponent is not None:
        columns(("norm", f"{v.norm2**0.5 * 2.0**v.exponent:.4g}"))
    if v.outcome in ("approved", "anchor"):
        columns(("weight", f"{v.weight_q32 / 2**32:.4f} of the merge"))
