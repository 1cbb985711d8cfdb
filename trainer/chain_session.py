"""The chain that a run is recorded on: embedded in this process, or any node by URL."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ledger.blobs import BlobStore
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.client import LedgerClient
from ledger.deployment import find_ledger, ledger_created_after
from ledger.fees import SendPolicy
from ledger.node import Node
from trainer.config import load_chain_config
from trainer.errors import ConfigError
from trainer.folder import RunFolder


@dataclass(frozen=True, slots=True)
class RunTarget:
    """Which recorded run somebody asks about.

    Attributes:
        folder: A run's folder; None with an address.
        rpc_url: Node to ask; empty for what the folder says.
        ledger: Address of the ContributionLedger; empty for what the folder says.
        blobs: Blob store; empty for what the folder says.
        sending: Fields of the SendPolicy that rank above what the folder says, or above the defaults.
    """

    folder: Path | None = None
    rpc_url: str = ""
    ledger: str = ""
    blobs: str = ""
    sending: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """An opened run, for reading.

    Attributes:
        client: Its ledger.
        store: Its update files.
        first_block: A block not after that in which its ledger was created; 0 if nothing better is known.
    """

    client: LedgerClient
    store: BlobStore
    first_block: int = 0


@contextmanager
def open_node(rpc_url: str, chain_folder: Path, policy: SendPolicy | None = None) -> Iterator[Node]:
    """Open the chain of a run.

    Args:
        rpc_url: A node; empty for the embedded chain.
        chain_folder: Data of the embedded chain, made if missing.
        policy: How transactions are sent; None for the defaults.

    Yields:
        The node. The embedded chain is closed afterwards.

    Raises:
        LedgerError: The node does not answer, or another process has the folder open.

    Source:
        ADR 6 for the clock.
    """
    if rpc_url:
        yield Node.connect(rpc_url, policy=policy)
        return
    with EmbeddedChain.open(chain_folder, clock=LogicalClock()) as chain:
        yield Node(EmbeddedProvider(RpcDispatcher(chain)), policy=policy)


@contextmanager
def open_recorded_run(target: RunTarget) -> Iterator[RecordedRun]:
    """Open a run that was, or is being, recorded.

    Args:
        target: Where it is.

    Yields:
        The run, for reading.

    Raises:
        ConfigError: There is no run there, or no way to find its ledger.
        LedgerError: The chain or the contract is not what it should be.
    """
    if target.folder is None:
        if not target.rpc_url or not target.ledger:
            raise ConfigError(
                "which run? give its folder, or --rpc-url and --ledger",
                hint="for instance `hallmark audit runs/demo`",
            )
        blobs = target.blobs or "blobs"
        node = Node.connect(target.rpc_url, policy=SendPolicy(**target.sending))
        yield RecordedRun(LedgerClient(node, target.ledger), BlobStore(blobs))
        return
    folder = RunFolder(target.folder)
    if not folder.config.exists():
        raise ConfigError(
            f"{folder.path} is not the folder of a run", hint="`hallmark run --out DIR` makes one"
        )
    # Only where it was recorded: a folder from somebody else must not choose what is imported here.
    config = load_chain_config(folder.config)
    rpc_url = target.rpc_url or config.rpc_url
    if not rpc_url and not folder.chain.exists():
        raise ConfigError(f"{folder.path} holds no chain data; the run never started")
    store = BlobStore(target.blobs or config.blobs or str(folder.blobs))
    with open_node(rpc_url, folder.chain, replace(config.policy, **target.sending)) as node:
        address, first_block = target.ledger, 0
        if not address:
            address = find_ledger(folder.deployment, node)
            first_block = ledger_created_after(folder.deployment, node.chain_id)
        yield RecordedRun(LedgerClient(node, address), store, first_block)
