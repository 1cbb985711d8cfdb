"""Gas per contribution, by phase and cohort size, on the embedded chain."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from eth_utils import keccak

from guard.gate import GateParameters, Reading, Status, WorkerEvidence
from guard.settlement import Settlement, encode_settlement
from guard.state import GateState
from ledger.calldata import SignedCommitment
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.client import LedgerClient
from ledger.contribution import sign
from ledger.deployment import Deployer, MemoryJournal, RunFacts
from ledger.node import Node
from ledger.parties import Parties, local_parties
from ledger.sending import Sent
from trainer.settled import draft_settlement

HARDFORK = "prague"
SIZES = (8, 16, 32, 64, 128)
ROUNDS = 4
"""The last one is reported: every slot that a round reuses has been written before."""

_LENGTH = 100_000_000
_WINDOW_S = 3600


@dataclass(frozen=True, slots=True)
class RoundGas:
    """Gas of one round's transactions, whole transactions with calldata.

    Attributes:
        workers: Number of workers; the guards' anchors are committed on top.
        commit: commitBatch with every EIP-712 signature verified; seals the round.
        seal: A seal transaction; 0 because the last commitment seals.
        settle: The gate recomputed, reputation written; fixes the seed.
        finalize: Merge recorded, next round opened.
    """

    workers: int
    commit: int
    seal: int
    settle: int
    finalize: int

    def per_contribution(self) -> dict[str, float]:
        """Give gas by phase, and in total, divided by the number of workers."""
        phases = {
            "commit": self.commit,
            "seal": self.seal,
            "settle": self.settle,
            "finalize": self.finalize,
        }
        phases["total"] = sum(phases.values())
        return {name: gas / self.workers for name, gas in phases.items()}


def bench_gas(
    sizes: Sequence[int] = SIZES, on_size: Callable[[int], None] = lambda _: None, guards: int = 1
) -> list[RoundGas]:
    """Measure exact gas on a fresh chain for each cohort size.

    All workers are present and judged; codes, norms and roots are random bytes of realistic
    size, drawn from a fixed seed, so the numbers are the same on every machine.

    Args:
        sizes: Numbers of workers, each 1..255.
        on_size: Told which size begins.
        guards: Number of guards, odd, 1..15.

    Returns:
        One entry per size.

    Raises:
        InputError: No ledger takes so many workers and guards.
    """
    results = []
    for size in sizes:
        on_size(size)
        with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
            results.append(_measure(Node(EmbeddedProvider(RpcDispatcher(chain))), size, guards))
    return results


def _measure(node: Node, size: int, guards: int) -> RoundGas:
    rounds = SyntheticRounds(node, size, guards)
    for _ in range(ROUNDS - 1):
        rounds.play()
    sent = rounds.play()
    return RoundGas(size, sent["commit"].gas, 0, sent["settle"].gas, sent["finalize"].gas)


class SyntheticRounds:
    """Rounds with real signatures, transactions and verdicts, but made-up updates.

    Attributes:
        seconds: Wall time spent so far, by step.
    """

    def __init__(self, node: Node, size: int, guards: int = 1) -> None:
        """Deploy a run with this many workers and guards."""
        self._parties = local_parties(size, guards)
        facts = RunFacts(
            run=1,
            initial_model=keccak(b"model"),
            shape_digest=keccak(b"shape"),
            length=_LENGTH,
            commit_window_s=_WINDOW_S,
        )
        self._parameters = GateParameters()
        deployer = Deployer(node, self._parties.operator, MemoryJournal())
        address = deployer.run(self._parameters.as_tuple(), self._parties, facts)
        self._client = LedgerClient(node, address)
        self._rng = np.random.default_rng(size)
        self._state = GateState.start(size, guards)
        self._size, self._guards = size, guards
        self.seconds = dict.fromkeys(("sign", "commit", "settle", "finalize"), 0.0)

    def play(self) -> dict[str, Sent]:
        """Play one round; give its transactions by name."""
        client, operator = self._client, self._parties.operator
        node, state = client.node, client.state()
        started = time.perf_counter()
        batch = _signed(client, self._parties, state.round, state.commit_deadline, self._rng)
        self._book("sign", started)
        started = time.perf_counter()
        commit = client.commit_batch(operator, state.round, state.commit_deadline, batch)
        node.wait_for_block(client.state().seal_block + 1)
        self._book("commit", started)
        accumulator = client.record_of(state.round)
        seed = client.seed_of(client.state(), accumulator)
        settlement = _settlement(self._parameters, self._state, self._size, self._guards, self._rng, seed)
        decision = self._state.decide(self._parameters, state.round, settlement)
        self._state = decision.after
        started = time.perf_counter()
        settle = client.settle(self._parties.guard.signer, state.round, encode_settlement(settlement))
        self._book("settle", started)
        started = time.perf_counter()
        digest = keccak(decision.weights.preimage(client.facts.run, state.round))
        model = keccak(self._rng.bytes(32))
        deadline = node.timestamp() + _WINDOW_S
        finalize = client.finalize(operator, state.round, model, digest, deadline)
        self._book("finalize", started)
        return {"commit": commit, "settle": settle, "finalize": finalize}

    def _book(self, step: str, started: float) -> None:
        self.seconds[step] += time.perf_counter() - started


def _signed(
    client: LedgerClient, parties: Parties, number: int, deadline: int, rng: np.random.Generator
) -> dict[int, SignedCommitment]:
    parent = client.state().parent_model
    batch = {}
    for index, party in enumerate(parties.members):
        root, tokens = rng.bytes(32), int(rng.integers(1 << 20, 1 << 24))
        contribution = client.contribution(index, number, parent, root, tokens, deadline)
        digest = contribution.digest(client.facts.domain)
        batch[index] = SignedCommitment(root, tokens, sign(digest, bytes(party.signer.key)))
    return batch


def _settlement(
    parameters: GateParameters,
    state: GateState,
    size: int,
    guards: int,
    rng: np.random.Generator,
    seed: bytes,
) -> Settlement:
    """Give readings of honest-looking updates: codes that share about 60 % of the first anchor's bits."""
    anchor = Reading(int.from_bytes(rng.bytes(32), "big"), int(rng.integers(1 << 35, 1 << 37)), -14)

    def like_the_anchor() -> WorkerEvidence:
        flips = int.from_bytes(np.packbits(rng.random(256) < 0.4).tobytes(), "big")
        reading = Reading(anchor.code ^ flips, int(rng.integers(1 << 35, 1 << 37)), -14)
        return WorkerEvidence(Status.COMMITTED, reading)

    workers = [like_the_anchor() for _ in range(size)]
    trace_root = rng.bytes(32)
    first = WorkerEvidence(Status.COMMITTED, anchor)
    anchors = [first, *(like_the_anchor() for _ in range(guards - 1))]
    draft = draft_settlement(workers, anchors, trace_root, seed)
    return replace(draft, median=state.median(parameters, draft))
