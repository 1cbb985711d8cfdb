"""`hallmark rollback`."""

from pathlib import Path

import click

from cli.options import json_option
from cli.output import results, write_json


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--to",
    "to_round",
    type=click.IntRange(0),
    help="Round to go back to; 0: the start.  [default: the newest]",
)
@json_option
def rollback(run: Path, to_round: int | None, as_json: bool) -> None:
    """Set a run's model back to before a round that was overturned after it was final.

    The ledger records it; `hallmark run` then goes on from there. A round under way is given up.

    \b
    hallmark rollback runs/demo
    hallmark rollback runs/demo --to 4
    """
    from trainer.rollback import roll_back

    done = roll_back(run, to_round)
    if as_json:
        write_json(
            {
                "tainted_from": done.tainted_from,
                "from_round": done.from_round,
                "to_round": done.to_round,
                "model_root": "0x" + done.model_root.hex(),
                "gas": done.gas,
            }
        )
        return
    results.print(
        f"round {done.tainted_from} was overturned; the model is that of round {done.to_round} again "
        f"(rounds {done.to_round + 1} to {done.from_round} are undone)"
    )
    results.print("Go on:  the same `hallmark run` as before")
