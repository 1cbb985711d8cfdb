"""Recorded runs for tests, and nodes that lie about them."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils import keccak
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from guard.gate import GateParameters
from guard.spec import trace
from ledger import artifacts
from ledger.blobs import BlobStore
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.client import LedgerClient, LedgerFacts
from ledger.deployment import Deployer, Journal, RunFacts, ledger_address
from ledger.history import RoundHistory, read_rounds
from ledger.node import Node
from ledger.parties import Parties, local_parties
from trainer.audit import AuditReport, audit
from trainer.config import RunConfig
from trainer.folder import RunFolder
from trainer.reporting import SilentObserver
from trainer.run import run

Forge = Callable[[str, Sequence[Any], Any], Any]
"""Takes method, parameters and the true result; gives the result that the node states."""


class ForgingProvider(JSONBaseProvider):
    """A node that serves a chain, but lies where it was told to."""

    def __init__(self, inner: EmbeddedProvider, *forges: Forge) -> None:
        super().__init__()
        self._inner = inner
        self._forges = forges

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        response = self._inner.make_request(method, params)
        if "result" in response:
            for forge in self._forges:
                response["result"] = forge(method, params, response["result"])
        return response


class FailingProvider(JSONBaseProvider):
    """A node that is gone for some requests.

    Attributes:
        requests: How many have come so far.
    """

    def __init__(self, inner: EmbeddedProvider, fails: Callable[[int, str], bool]) -> None:
        super().__init__()
        self.requests = 0
        self._inner = inner
        self._fails = fails

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        self.requests += 1
        if self._fails(self.requests, method):
            raise ConnectionError("the node is gone")
        return self._inner.make_request(method, params)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A finished run with its chain open.

    Attributes:
        folder: The run's folder.
        provider: Serves its chain.
        ledger: Address of the ledger.
        facts: What the chain says that never changes.
        histories: What the chain says of every round.
    """

    folder: RunFolder
    provider: EmbeddedProvider
    ledger: str
    facts: LedgerFacts
    histories: tuple[RoundHistory, ...]

    def audit(self, *forges: Forge, blobs: Path | None = None) -> AuditReport:
        """Audit it, through a node that lies and with other blobs if there are any."""
        node = Node(ForgingProvider(self.provider, *forges))
        return audit(node, self.ledger, BlobStore(blobs or self.folder.blobs))

    def client(self) -> LedgerClient:
        """Bind to its ledger anew."""
        return LedgerClient(Node(self.provider), self.ledger)

    def store(self) -> BlobStore:
        """Open its files."""
        return BlobStore(self.folder.blobs)

    def name(self, index: int | None) -> str:
        """Give a member's identity; "" for None."""
        return "" if index is None else self.facts.members[index].identity

    def root(self, round_: int, index: int) -> bytes:
        """Give a committed root."""
        return next(c.update_root for c in self.histories[round_ - 1].commitments if c.index == index)

    def spec_trace_root(self, round_: int, without: Sequence[int] = ()) -> bytes:
        """Give a round's trace root by the literal spec, from the committed files; some may have no word."""
        history = self.histories[round_ - 1]
        assert history.verdicts is not None
        roots = [bytes(32)] * len(self.facts.members)
        for index in {c.index for c in history.commitments} - set(without):
            path = BlobStore(self.folder.blobs).location(self.root(round_, index))
            roots[index] = trace.member_root(history.verdicts.seed, Path(path).read_bytes()[96:])
        return trace.round_root(roots)

    def copied_blobs(self, target: Path) -> Path:
        """Copy the run's blobs somewhere where they may be spoilt."""
        shutil.copytree(self.folder.blobs, target)
        return target


@contextmanager
def record(config: RunConfig) -> Iterator[Recorded]:
    """Run a configuration and open what it left."""
    run(config, SilentObserver())
    folder = RunFolder(Path(config.out))
    with reopen(folder) as recorded:
        yield recorded


@contextmanager
def reopen(folder: RunFolder) -> Iterator[Recorded]:
    """Open the chain of a run that is not running."""
    with EmbeddedChain.open(folder.chain, clock=LogicalClock()) as chain:
        provider = EmbeddedProvider(RpcDispatcher(chain))
        node = Node(provider)
        address = ledger_address(folder.deployment, node.chain_id)
        client = LedgerClient(node, address)
        histories = tuple(read_rounds(node, address))
        yield Recorded(folder, provider, client.address, client.facts, histories)


# Forges


def call(contract: str, function: str, change: Callable[[Any], Any], argument: int | None = None) -> Forge:
    """Change what a view function returns; with an argument, only for that first argument."""
    entry = next(
        e for e in artifacts.load(contract).abi if e.get("name") == function and e["type"] == "function"
    )
    selector = _selector(entry)
    types = [_type(item) for item in entry["outputs"]]

    def forge(method: str, params: Sequence[Any], result: Any) -> Any:
        if method != "eth_call":
            return result
        data = bytes.fromhex((params[0].get("data") or params[0].get("input"))[2:])
        if data[:4] != selector or (argument is not None and int.from_bytes(data[4:36], "big") != argument):
            return result
        (value,) = decode(types, bytes.fromhex(result[2:]))
        return "0x" + encode(types, [change(value)]).hex()

    return forge


def log(name: str, round_: int, change: Callable[[dict[str, Any]], None]) -> Forge:
    """Change the arguments of an event of one round."""
    entry = next(
        e for e in artifacts.load("ContributionLedger").abi if e.get("name") == name and e["type"] == "event"
    )
    plain = [item for item in entry["inputs"] if not item["indexed"]]
    types = [item["type"] for item in plain]

    def alter(found: dict[str, Any]) -> dict[str, Any]:
        values = dict(
            zip([i["name"] for i in plain], decode(types, bytes.fromhex(found["data"][2:])), strict=True)
        )
        change(values)
        return {**found, "data": "0x" + encode(types, list(values.values())).hex()}

    return logs(lambda found: [alter(one) if is_event(one, name, round_) else one for one in found])


def logs(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Forge:
    """Change the list of logs."""

    def forge(method: str, _: Sequence[Any], result: Any) -> Any:
        return change(result) if method == "eth_getLogs" else result

    return forge


def is_event(found: dict[str, Any], name: str, round_: int) -> bool:
    """Tell whether a log is a round's event of this name."""
    entry = next(
        e for e in artifacts.load("ContributionLedger").abi if e.get("name") == name and e["type"] == "event"
    )
    topics = found["topics"]
    return topics[0] == "0x" + keccak(text=_signature(entry)).hex() and int(topics[1], 16) == round_


def calldata(function: str, round_: int, change: Callable[[dict[str, Any]], None]) -> Forge:
    """Change the arguments in the transaction that made a call for one round."""
    entry = next(e for e in artifacts.load("ContributionLedger").abi if e.get("name") == function)
    selector, types = _selector(entry), [item["type"] for item in entry["inputs"]]
    names = [item["name"].strip("_") for item in entry["inputs"]]

    def forge(method: str, _: Sequence[Any], result: Any) -> Any:
        if method != "eth_getTransactionByHash" or bytes.fromhex(result["input"][2:10]) != selector:
            return result
        values = dict(zip(names, decode(types, bytes.fromhex(result["input"][10:])), strict=True))
        if values["round"] != round_:
            return result
        change(values)
        return {**result, "input": "0x" + (selector + encode(types, list(values.values()))).hex()}

    return forge


def transaction(wanted: bytes, **changes: str) -> Forge:
    """Change fields of one transaction."""

    def forge(method: str, params: Sequence[Any], result: Any) -> Any:
        is_it = method == "eth_getTransactionByHash" and params[0] == "0x" + wanted.hex()
        return {**result, **changes} if is_it else result

    return forge


def block(number: int, change: Callable[[dict[str, Any]], None]) -> Forge:
    """Change fields of one block."""

    def forge(method: str, params: Sequence[Any], result: Any) -> Any:
        if method == "eth_getBlockByNumber" and result and int(result["number"], 16) == number:
            change(result)
        return result

    return forge


def code(address: str, change: Callable[[bytes], bytes]) -> Forge:
    """Change the code at an address."""

    def forge(method: str, params: Sequence[Any], result: Any) -> Any:
        if method == "eth_getCode" and params[0].lower() == address.lower():
            return "0x" + change(bytes.fromhex(result[2:])).hex()
        return result

    return forge


def flip(data: bytes, at: int, mask: int = 1) -> bytes:
    """Give bytes with some bits of one byte flipped."""
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def _selector(entry: dict[str, Any]) -> bytes:
    return keccak(text=_signature(entry))[:4]


def _signature(entry: dict[str, Any]) -> str:
    return f"{entry['name']}({','.join(_type(item) for item in entry['inputs'])})"


def _type(item: dict[str, Any]) -> str:
    kind: str = item["type"]
    if kind.startswith("tuple"):
        return f"({','.join(_type(part) for part in item['components'])}){kind[5:]}"
    return kind


# A ledger to play by hand


@dataclass(frozen=True, slots=True)
class Stage:
    """A run's contracts on a chain in memory, nothing committed yet.

    Attributes:
        provider: Serves the chain.
        client: The ledger.
        parties: Everybody's keys.
    """

    provider: EmbeddedProvider
    client: LedgerClient
    parties: Parties


@contextmanager
def empty_ledger(
    path: Path, workers: int, facts: RunFacts, gate: GateParameters | None = None
) -> Iterator[Stage]:
    """Deploy a ledger on a chain in memory."""
    with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
        provider = EmbeddedProvider(RpcDispatcher(chain))
        node = Node(provider)
        parties = local_parties(workers)
        deployer = Deployer(node, parties.operator, Journal(path / "deployment.json", node.chain_id))
        address = deployer.run((gate or GateParameters()).as_tuple(), parties, facts)
        yield Stage(provider, LedgerClient(node, address), parties)
