"""The chain that a run is recorded on: embedded in this process, or any node by URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.node import Node


@contextmanager
def open_node(rpc_url: str, chain_folder: Path) -> Iterator[Node]:
    """Open the chain of a run.

    Args:
        rpc_url: A node; empty for the embedded chain.
        chain_folder: Data of the embedded chain, made if missing.

    Yields:
        The node. The embedded chain is closed afterwards.

    Raises:
        LedgerError: The node does not answer, or another process has the folder open.

    Source:
        ADR 6 for the clock.
    """
    if rpc_url:
        yield Node.connect(rpc_url)
        return
    with EmbeddedChain.open(chain_folder, clock=LogicalClock()) as chain:
        yield Node(EmbeddedProvider(RpcDispatcher(chain)))
