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

import numpy as np
from eth_utils import keccak

from bench.errors import BenchInputError
from bench.toy_chain import WORKERS, ToyChain
from guard.gate import GateParameters, WorkerEvidence
from guard.settlement import Settlement
from guard.sketch import Engine
from guard.state import GateState
from ledger.blobs import BlobStore
from ledger.client import LedgerFacts, Member
from ledger.contribution import Domain
from ledger.deployment import NO_ADDRESS
from ledger.update import encode_update
from trainer.assay import Assay, assay
from trainer.audit.readings import BytesAgain
from trainer.audit.report import Findings
from trainer.traces import round_traces

ROUNDS = (10, 10_000)

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
            records, assays of files of one segment; neither the start of the process nor an EVM's views are
            counted.
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

    The runs are those of bench.toy_chain: real signatures, files, verdicts, merges, records and blocks, made
    without an EVM. Each is audited by `trainer.audit` in a process of its own, without replay.

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
        chain = ToyChain(Path(folder) / "run")
        for count in sorted(set(rounds)):
            chain.play_to(count, lambda number: on_step(f"making round {number}"))
            on_step(f"auditing {count} rounds")
            measured = _audit_apart(chain.folder, count)
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


def _settlement(gate: GateState, parameters: GateParameters, found: Sequence[Assay]) -> Settlement:
    anchor = found[-1].reading
    if anchor is None:
        raise AuditBenchError("the toy's anchor is not sound")
    workers = tuple(WorkerEvidence(one.status, one.reading) for one in found[:-1])
    draft = Settlement(anchor, 0, workers)
    traces = round_traces({index: one.leaves for index, one in enumerate(found)}, len(found))
    return Settlement(anchor, gate.median(parameters, draft), workers, traces.root)


def _throughput(folder: Path, values: int, repeats: int, jobs: int) -> tuple[float, float]:
    """Give bytes per second of the audit's reading, and of hashing the same files."""
    members = tuple(Member(f"0x{index:040x}", f"0x{index:040x}") for index in range(_FILES))
    facts = LedgerFacts(
        Domain(1, NO_ADDRESS), 1, (), bytes(32), members, NO_ADDRESS, NO_ADDRESS, NO_ADDRESS, NO_ADDRESS,
        _SHAPE, values, NO_ADDRESS, NO_ADDRESS, NO_ADDRESS, bytes(32),
    )  # fmt: skip
    store, seed, rng = (
        BlobStore(folder / "large"),
        sha256(b"hallmark bench").digest(),
        np.random.default_rng(0),
    )
    roots, found, size = {}, [], 0
    for index in range(_FILES):
        update = facts.update_facts(1, index)
        data = encode_update(update.header(-10), rng.integers(-127, 128, values, dtype=np.int8))
        one = assay(data, update, seed, engine=Engine.NUMBA, with_trace=True)  # compiles, the first time
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
from bench.toy_chain import ToyChain
from ledger.blobs import BlobStore
from trainer.audit import AuditOptions, audit
from trainer.audit.source import reading

chain = ToyChain(Path(sys.argv[1]))
start = time.perf_counter()
report = audit(reading(chain), chain.ledger, BlobStore(chain.blobs), AuditOptions(replay=False))
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"ok": report.ok, "rounds": report.checked.rounds, "seconds": seconds, "peak_bytes": peak}))
"""


def _audit_apart(folder: Path, rounds: int) -> dict[str, float]:
    """Audit a run in a process of its own; give seconds and peak of resident memory (Linux)."""
    done = subprocess.run(
        [sys.executable, "-c", _APART, str(folder)], check=True, capture_output=True, text=True
    )
    measured: dict[str, float] = json.loads(done.stdout)
    if not measured["ok"] or measured["rounds"] != rounds + 1:  # the last one is open
        raise AuditBenchError("the audit found a difference in the toy run")
    return measured
