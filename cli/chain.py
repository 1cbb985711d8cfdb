"""`hallmark chain start` and `chain status`."""

import sys
from pathlib import Path

import click
from rich.markup import escape

from cli.options import json_option
from cli.output import columns, notices, results, write_json


@click.group()
def chain() -> None:
    """Serve the embedded chain to web3.py, cast, ethers and `hallmark run --rpc-url`."""


@chain.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/chain"),
    show_default=True,
    help="Folder of the chain's data; it survives being killed.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8545, show_default=True, help="0 picks one.")
@click.option("--public", is_flag=True, help="Allow a host that others reach; its keys are public.")
@json_option
def start(data: Path, host: str, port: int, public: bool, as_json: bool) -> None:
    """Start the chain and serve JSON-RPC over HTTP and WebSocket until stopped.

    Chain id 31337; the accounts of the well-known test mnemonic are funded. One block per transaction.

    \b
    hallmark chain start
    hallmark chain start --data /tmp/chain --port 0 --json
    """
    from ledger.chain import BoundAddress, EmbeddedChain, ServerConfig, run_server

    def bound(address: BoundAddress) -> None:
        if as_json:
            write_json({"http": address.http_url, "websocket": address.websocket_url, "data": str(data)})
            sys.stdout.flush()
            return
        results.print(
            f"chain 31337 at {address.http_url} and {address.websocket_url}, data in {escape(str(data))}"
        )
        results.print(f"  export ETH_RPC_URL={address.http_url}")
        notices.print("[dim]local chain: everybody knows its keys. Ctrl-C stops it; nothing is lost.[/]")

    config = ServerConfig(host=host, port=port, allow_public=public)
    with EmbeddedChain.open(data) as embedded:
        run_server(embedded, config, on_bound=bound)


@chain.command()
@click.option(
    "--rpc-url",
    envvar="ETH_RPC_URL",
    default="http://127.0.0.1:8545",
    show_default=True,
    help="Node to ask.",
)
@json_option
def status(rpc_url: str, as_json: bool) -> None:
    """Ask a node how it is.

    \b
    hallmark chain status --rpc-url http://127.0.0.1:8545
    """
    from ledger.node import Node

    node = Node.connect(rpc_url)
    head = node.block()
    facts = {
        "rpc_url": rpc_url,
        "client": node.client_version(),
        "chain_id": node.chain_id,
        "block": int(head["number"]),
        "block_hash": "0x" + bytes(head["hash"]).hex(),
        "timestamp": int(head["timestamp"]),
        "is_local": node.is_local,
    }
    if as_json:
        write_json(facts)
        return
    columns(*((name, str(value)) for name, value in facts.items()))
