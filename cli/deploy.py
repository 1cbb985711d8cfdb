"""`hallmark deploy`."""

from collections.abc import Mapping
from pathlib import Path

import click

from cli.options import json_option, key_options, read_password, sending_options
from cli.output import columns, write_json


@click.command()
@click.option(
    "--rpc-url",
    envvar="ETH_RPC_URL",
    default="http://127.0.0.1:8545",
    show_default=True,
    help="Node to deploy through.",
)
@key_options("deployer")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("deployment.json"),
    show_default=True,
    help="Where the addresses are written; an interrupted deployment is taken up from there.",
)
@click.option(
    "--data-requests",
    is_flag=True,
    help="Deploy DataRequests too, for ledgers that name it: `hallmark run --data-requests`.",
)
@click.option(
    "--guard-votes",
    is_flag=True,
    help="Deploy GuardVotes too; a run with several guards deploys its own unless it is there.",
)
@sending_options
@json_option
def deploy(
    rpc_url: str,
    keystore: Path | None,
    password_file: Path | None,
    out: Path,
    data_requests: bool,
    guard_votes: bool,
    sending: Mapping[str, int],
    as_json: bool,
) -> None:
    """Deploy what runs share: WorkerRegistry, a GateSpec with the default constants, StakeVault, Challenge.

    A run deploys its own ContributionLedger, and these as well unless they are there.

    \b
    hallmark deploy                              to a local chain
    hallmark deploy --guard-votes                for runs with several guards
    hallmark deploy --rpc-url URL --keystore KEY.json
    """
    from guard.gate import GateParameters
    from ledger.deployment import Deployer, Journal
    from ledger.fees import SendPolicy
    from ledger.node import Node
    from ledger.parties import load_keystore, local_operator

    node = Node.connect(rpc_url, policy=SendPolicy(**sending))
    if keystore is None:
        account = local_operator(node.chain_id)
    else:
        account = load_keystore(keystore, read_password(password_file))
    node.take_up(account)
    deployer = Deployer(node, account, Journal(out, node.chain_id))
    registry, spec = deployer.shared(GateParameters().as_tuple())
    facts = {
        "chain_id": node.chain_id,
        "deployer": account.address,
        "registry": registry,
        "spec": spec,
        "vault": deployer.vault(),
        "challenge": deployer.challenge(),
        **({"data_requests": deployer.data_requests()} if data_requests else {}),
        **({"guard_votes": deployer.guard_votes()} if guard_votes else {}),
        "file": str(out),
    }
    if as_json:
        write_json(facts)
        return
    columns(*((name, str(value)) for name, value in facts.items()))
