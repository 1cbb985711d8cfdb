"""`hallmark deploy`."""

import os
from pathlib import Path

import click

from cli.options import json_option
from cli.output import columns, write_json


@click.command()
@click.option(
    "--rpc-url",
    envvar="ETH_RPC_URL",
    default="http://127.0.0.1:8545",
    show_default=True,
    help="Node to deploy through.",
)
@click.option(
    "--keystore",
    envvar="ETH_KEYSTORE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keystore v3 file of the deployer; not needed on a local chain.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with its password; or set ETH_PASSWORD; asked for otherwise.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("deployment.json"),
    show_default=True,
    help="Where the addresses are written; an interrupted deployment is taken up from there.",
)
@json_option
def deploy(rpc_url: str, keystore: Path | None, password_file: Path | None, out: Path, as_json: bool) -> None:
    """Deploy what runs share: WorkerRegistry, and a GateSpec with the default constants.

    A run deploys its own ContributionLedger, and these two as well unless they are there.

    \b
    hallmark deploy                              to a local chain
    hallmark deploy --rpc-url URL --keystore KEY.json
    """
    from guard.gate import GateParameters
    from ledger.deployment import Deployer, Journal
    from ledger.node import Node
    from ledger.parties import load_keystore, local_operator

    node = Node.connect(rpc_url)
    if keystore is None:
        account = local_operator(node.chain_id)
    else:
        account = load_keystore(keystore, _password(password_file))
    deployer = Deployer(node, account, Journal(out, node.chain_id))
    registry, spec = deployer.shared(GateParameters().as_tuple())
    facts = {
        "chain_id": node.chain_id,
        "deployer": account.address,
        "registry": registry,
        "spec": spec,
        "file": str(out),
    }
    if as_json:
        write_json(facts)
        return
    columns(*((name, str(value)) for name, value in facts.items()))


def _password(path: Path | None) -> str:
    if path is not None:
        try:
            return path.read_text().rstrip("\n")
        except OSError as error:
            raise click.UsageError(f"cannot read {path}: {error}") from error
    return os.environ.get("ETH_PASSWORD") or str(click.prompt("Password", hide_input=True, err=True))
