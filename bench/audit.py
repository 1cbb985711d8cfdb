"""How fast an audit is, beside hashing the same bytes, and how much memory runs of different lengths take."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from eth_account.signers.local import LocalAccount
from eth_utils import keccak
from web3.types import TxReceipt

from bench.errors import BenchInputError
from guard.gate import GateParameters, Status, WorkerEvidence
from guard.settlement import Settlement, encode_settlement
from guard.signs import SeedSigns
from guard.sketch import Engine
from guard.state import GateState
from ledger.blobs import BlobKind, BlobStore
from ledger.calldata import SignedCommitment
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.client import LedgerClient, LedgerFacts, Member
from ledger.contribution import Domain, sign
from ledger.deployment import NO_ADDRESS, Deployer, Journal, RunFacts
from ledger.node import Node
from ledger.parties import local_parties
from ledger.update import Model, UpdateFacts, UpdateView, encode_model, encode_update, model_root
from trainer.assay import Assay, assay
from trainer.audit.readings import BytesAgain
from trainer.audit.report import Findings
from trainer.folder import RunFolder
from trainer.merge import Weighted, merge

ROUNDS = (10, 1_000)
WORKERS = 2

_LENGTH = 64
_WINDOW_S = 3600
_SHAPE = keccak(b"shape")
_FILES = 4


class AuditBenchError(Exception):
    """The audit did not accept the run that it was to measure."""


@dataclass(frozen=True, slots=True)
class AuditBench:
    """Measured on the machine at hand; compare ratios, not seconds.

    Attributes:
        blob_bytes_per_s: Update files through the part of the audit that reads, assays and compares them,
            with as many threads as cores.
        sha256_bytes_per_s: The same files read and hashed whole, with as many threads, in turns with that.
        ratio_to_sha256: blob_bytes_per_s / sha256_bytes_per_s.
        verdicts_per_s: Verdicts of the longest run below by the seconds of its whole audit: signatures,
            records, proofs of approval, assays of files of one segment; start of the process not counted.
        peak_bytes: Peak of resident memory of a process that audits a run, by the run's number of rounds.
        seconds: Of those audits, by the number of rounds.
        workers: Cohort size of those runs.
    """

    blob_bytes_per_s: float
    sha256_bytes_per_s: float
    ratio_to_sha256: float
    verdicts_per_s: float
    peak_bytes: dict[str, int]
    seconds: dict[str, float]
    workers: int


def bench_audit(
    rounds: Sequence[int] = ROUNDS,
    *,
    values: int = 32_000_000,
    repeats: int = 3,
    jobs: int = 1,
    on_step: Callable[[str], None] = lambda _: None,
) -> AuditBench:
    """Measure the audit.

    The runs are real ones: signed commitments, files, verdicts and merges on an embedded chain on the disk;
    only the training is a toy. Each is audited by `trainer.audit` in a process of its own, without replay.

    Args:
        rounds: Lengths of the runs whose audits are measured, each at least 1.
        values: int8 values of each of the four files whose throughput is measured.
        repeats: How often the throughput is measured; the fastest counts.
        jobs: Threads, for the throughput and for the hashing beside it.
        on_step: Told what begins.

    Returns:
        The measurement.

    Raises:
        BenchInputError: A number of rounds is out of range; fault of the caller.
        AuditBenchError: An audit found a difference.
    """
    if not rounds or min(rounds) < 1:
        raise BenchInputError("rounds are at least 1")
    with tempfile.TemporaryDirectory() as folder:
        on_step("throughput")
        ours, theirs = _throughput(Path(folder), values, repeats, jobs)
        peaks, seconds = {}, {}
        run = ToyRun(RunFolder(Path(folder) / "run"))
        for count in sorted(set(rounds)):
            run.play_to(count, lambda number: on_step(f"making round {number}"))
            on_step(f"auditing {count} rounds")
            measured = _audit_apart(run.folder.path)
            peaks[str(count)], seconds[str(count)] = int(measured["peak_bytes"]), measured["seconds"]
    longest = max(rounds)
    return AuditBench(
        blob_bytes_per_s=ours,
        sha256_bytes_per_s=theirs,
        ratio_to_sha256=ours / theirs,
        verdicts_per_s=longest * WORKERS / seconds[str(longest)],
        peak_bytes=peaks,
        seconds=seconds,
        workers=WORKERS,
    )


class QuickNode(Node):
    """A local chain that is sent transactions without asking first whether they will succeed."""

    def _transact(
        self, account: LocalAccount, fields: dict[str, Any], action: str, local_gas: int | None
    ) -> TxReceipt:
        if local_gas is None or action == "create contract":
            return super()._transact(account, fields, action, local_gas)
        transaction = {
            **fields,
            "chainId": self.chain_id,
            "nonce": self.nonce(account.address),
            "gas": local_gas,
            "maxPriorityFeePerGas": 10**9,
            "maxFeePerGas": 10**12,
        }
        signed = account.sign_transaction(transaction)
        self.web3.eth.send_raw_transaction(signed.raw_transaction)
        receipt = self.web3.eth.get_transaction_receipt(signed.hash)
        if receipt["status"] != 1:
            raise AuditBenchError(f"{action} failed")
        return receipt


class ToyRun:
    """A run whose workers take a few random steps; everything else about it is real.

    Attributes:
        folder: Where it is.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Begin a run in an empty folder."""
        self.folder = folder
        self._store = BlobStore(folder.blobs)
        folder.blobs.mkdir(parents=True)
        folder.write_config("")
        self._done = 0
        self._rng = np.random.default_rng(0)
        zeros = np.zeros(_LENGTH, np.float32)
        self._model = Model(zeros, zeros.copy(), _SHAPE)
        self._gate = GateState.start(WORKERS)
        self._parties = local_parties(WORKERS)
        self._parameters = GateParameters()

    def play_to(self, rounds: int, on_round: Callable[[int], None]) -> None:
        """Play rounds until so many are finished; the last one leaves none open."""
        with EmbeddedChain.open(self.folder.chain, clock=LogicalClock()) as chain:
            node = QuickNode(EmbeddedProvider(RpcDispatcher(chain)))
            client = self._client(node)
            if client.state().stage == 0 and self._done < rounds:
                client.open_round(self._parties.operator, node.next_timestamp() + _WINDOW_S)
            while self._done < rounds:
                self._play(client, is_last=self._done + 1 == rounds)
                self._done += 1
                if self._done % 100 == 0:
                    on_round(self._done)

    def _client(self, node: Node) -> LedgerClient:
        root = model_root(self._model.parameters, self._model.momentum, _SHAPE)
        if self._done == 0:
            self._store.put(root, encode_model(self._model), BlobKind.MODEL)
        facts = RunFacts(1, root, _SHAPE, _LENGTH, _WINDOW_S)
        deployer = Deployer(node, self._parties.operator, Journal(self.folder.deployment, node.chain_id))
        return LedgerClient(node, deployer.run(self._parameters.as_tuple(), self._parties, facts))

    def _play(self, client: LedgerClient, *, is_last: bool) -> None:
        state, node = client.state(), client.node
        step = self._rng.integers(-100, 101, _LENGTH)
        files, batch = [], {}
        for index, party in enumerate((*self._parties.workers, self._parties.guard)):
            noisy = np.clip(step + self._rng.integers(-20, 21, _LENGTH), -127, 127).astype(np.int8)
            facts = _facts(client.facts, state.round, index)
            data = encode_update(facts.header(-14), noisy)
            root = assay(data, facts, bytes(32)).root or b""
            # Not through the store: it waits for the disk each time, and nothing here must outlive a crash.
            Path(self._store.location(root)).write_bytes(data)
            message = client.contribution(
                index, state.round, state.parent_model, root, 1, state.commit_deadline
            )
            signature = sign(message.digest(client.facts.domain), bytes(party.signer.key))
            batch[index] = SignedCommitment(root, 1, signature)
            files.append((facts, data))
        client.commit_batch(self._parties.operator, state.round, state.commit_deadline, batch)
        sealed = client.state()
        accumulator = client.record_of(state.round)
        signs = SeedSigns(client.seed_of(sealed, accumulator))
        found = [assay(data, facts, signs) for facts, data in files]
        anchor = found[-1].reading
        if anchor is None or any(one.status != Status.COMMITTED for one in found):
            raise AuditBenchError("the toy's own updates are not sound")
        settlement = _settlement(self._gate, self._parameters, found)
        decision = self._gate.decide(self._parameters, state.round, settlement)
        client.settle(self._parties.guard.signer, state.round, encode_settlement(settlement))
        weights = decision.weights
        terms = [
            Weighted(UpdateView(files[index][1]).values, -14, weight)
            for index, weight in zip(weights.indices, weights.weights, strict=True)
        ]
        if weights.anchor:
            terms.append(Weighted(UpdateView(files[-1][1]).values, -14, weights.anchor))
        theta, momentum = merge(
            self._model.parameters,
            self._model.momentum,
            terms,
            outer_lr_micro=self._parameters.outer_lr_micro,
            outer_momentum_micro=self._parameters.outer_momentum_micro,
        )
        self._model, self._gate = Model(theta, momentum, _SHAPE), decision.after
        digest = keccak(weights.preimage(client.facts.run, state.round))
        deadline = 0 if is_last else node.next_timestamp() + _WINDOW_S
        root = model_root(theta, momentum, _SHAPE)
        client.finalize(self._parties.operator, state.round, root, digest, deadline)


def _settlement(gate: GateState, parameters: GateParameters, found: Sequence[Assay]) -> Settlement:
    anchor = found[-1].reading
    if anchor is None:
        raise AuditBenchError("the toy's anchor is not sound")
    workers = tuple(WorkerEvidence(one.status, one.reading) for one in found[:-1])
    draft = Settlement(anchor, 0, workers)
    return Settlement(anchor, gate.median(parameters, draft), workers)


def _facts(facts: LedgerFacts, round_: int, index: int) -> UpdateFacts:
    worker = bytes.fromhex(facts.members[index].identity[2:])
    return UpdateFacts(facts.run, round_, worker, facts.shape_digest, facts.length)


def _throughput(folder: Path, values: int, repeats: int, jobs: int) -> tuple[float, float]:
    """Give bytes per second of the audit's reading, and of hashing the same files."""
    members = tuple(Member(f"0x{index:040x}", f"0x{index:040x}") for index in range(_FILES))
    facts = LedgerFacts(
        Domain(1, NO_ADDRESS), 1, (), bytes(32), members, NO_ADDRESS, NO_ADDRESS, NO_ADDRESS, NO_ADDRESS,
        _SHAPE, values,
    )  # fmt: skip
    store, seed, rng = (
        BlobStore(folder / "large"),
        sha256(b"hallmark bench").digest(),
        np.random.default_rng(0),
    )
    roots, found, size = {}, [], 0
    for index in range(_FILES):
        update = _facts(facts, 1, index)
        data = encode_update(update.header(-10), rng.integers(-127, 128, values, dtype=np.int8))
        one = assay(data, update, seed, engine=Engine.NUMBA)  # compiles, the first time
        roots[index] = one.root or b""
        store.put(roots[index], data)
        found.append(one)
        size += len(data)
    del data
    settlement = _settlement(GateState.start(_FILES - 1), GateParameters(), found)
    paths = [Path(store.location(root)) for root in roots.values()]

    def read_again() -> None:
        findings = Findings()
        BytesAgain(facts, store, findings, jobs).compare(1, roots, settlement, seed, 0)
        if findings.total:
            raise AuditBenchError("the audit refused sound updates")

    def hash_all() -> None:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda path: sha256(path.read_bytes()).digest(), paths))

    best = {read_again: float("inf"), hash_all: float("inf")}
    for _ in range(max(1, repeats)):
        for work in best:
            start = time.perf_counter()
            work()
            best[work] = min(best[work], time.perf_counter() - start)
    return size / best[read_again], size / best[hash_all]


_APART = """
import json, resource, sys, time
from pathlib import Path
from trainer.audit import AuditOptions, audit
from trainer.chain_session import RunTarget, open_recorded_run

with open_recorded_run(RunTarget(Path(sys.argv[1]))) as run:
    start = time.perf_counter()
    options = AuditOptions(replay=False, first_block=run.first_block)
    report = audit(run.client.node, run.client.address, run.store, options)
    seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"ok": report.ok, "seconds": seconds, "peak_bytes": peak}))
"""


def _audit_apart(folder: Path) -> dict[str, float]:
    """Audit a run in a process of its own; give seconds and peak of resident memory (Linux)."""
    done = subprocess.run(
        [sys.executable, "-c", _APART, str(folder)], check=True, capture_output=True, text=True
    )
    measured: dict[str, float] = json.loads(done.stdout)
    if not measured["ok"]:
        raise AuditBenchError("the audit found a difference in the toy run")
    return measured
