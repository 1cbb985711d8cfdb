"""A ledger on a chain in memory, for tests of what reads and writes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from guard.gate import GateParameters
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.client import LedgerClient
from ledger.deployment import Deployer, Journal, RunFacts
from ledger.node import Node
from ledger.parties import Parties, local_parties

FACTS = RunFacts(
    run=7, initial_model=b"\x05" * 32, shape_digest=b"\x06" * 32, length=10, commit_window_s=3600
)


@dataclass(frozen=True, slots=True)
class Played:
    """A run's contracts, nothing committed yet.

    Attributes:
        provider: Serves the chain.
        node: The chain.
        client: The ledger.
        parties: Everybody's keys.
        journal: Where the deployment was written down.
    """

    provider: EmbeddedProvider
    node: Node
    client: LedgerClient
    parties: Parties
    journal: Path


@contextmanager
def played(folder: Path, workers: int = 2, guards: int = 1, *, has_votes: bool = False) -> Iterator[Played]:
    """Deploy a ledger, with a GuardVotes contract if it is asked for."""
    with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
        provider = EmbeddedProvider(RpcDispatcher(chain))
        node, parties, path = Node(provider), local_parties(workers, guards), folder / "deployment.json"
        deployer = Deployer(node, parties.operator, Journal(path, node.chain_id))
        facts = replace(FACTS, data_requests=deployer.guard_votes()) if has_votes else FACTS
        address = deployer.run(GateParameters().as_tuple(), parties, facts)
        yield Played(provider, node, LedgerClient(node, address), parties, path)
