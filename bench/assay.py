"""How long the assay of one update takes, beside hashing and copying the same bytes; one thread."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from guard.gate import Status
from guard.signs import SeedSigns
from guard.sketch import Engine
from ledger.blobs import ROOT_BYTES
from ledger.merkle import digest_tree_root
from ledger.update import UpdateFacts, encode_update
from trainer.assay import assay

_SEED = sha256(b"hallmark bench").digest()
_PROC = Path("/proc/self")


class BenchError(Exception):
    """The benchmark did not do what it was to measure."""


@dataclass(frozen=True, slots=True)
class AssaySeconds:
    """The fastest of all repeats, in seconds of wall clock.

    Attributes:
        assay: Root, sketch, word, norm and the check for malformed bytes, in one pass.
        sha256: One hashlib.sha256 over the same bytes.
        copy: One copy of the same bytes into memory that is already mapped.
    """

    assay: float
    sha256: float
    copy: float


@dataclass(frozen=True, slots=True)
class AssayBench:
    """What an assay costs on this machine.

    Attributes:
        values: Number of int8 values of the update.
        repeats: How often each was timed, in turns.
        engine: Which code made the sketch.
        seconds: The timings.
        ratio_to_sha256: seconds.assay / seconds.sha256, of the fastest repeats.
        traced_s: The assay with the leaves of the trace and the root over them, in seconds; the fastest repeat.
        trace: traced_s / seconds.assay.
        update_bytes: Size of the update file, held in memory once.
        extra_bytes: By how much the peak of resident memory during an assay exceeds what was resident just
            before it, update and compiled code being there already; None where the kernel does not tell.
        peak_bytes: update_bytes + extra_bytes; None like it.
    """

    values: int
    repeats: int
    engine: Engine
    seconds: AssaySeconds
    ratio_to_sha256: float
    traced_s: float
    trace: float
    update_bytes: int
    extra_bytes: int | None
    peak_bytes: int | None


def bench_assay(values: int, repeats: int, engine: Engine = Engine.NUMBA) -> AssayBench:
    """Time the assay of an update of random values.

    Each repeat runs all of them one after the other, so that a busy machine slows them alike;
    the fastest of each counts. Compiling and drawing the update are not timed. The memory is measured in an
    assay of its own, before anything else is allocated.

    Args:
        values: Number of int8 values, 1..2^40; as many bytes of memory are needed three times over.
        repeats: How often to run each, at least 1.
        engine: Which code makes the sketch.

    Returns:
        The timings and the memory.

    Raises:
        ledger.update.UpdateInputError: ``values`` is out of range; fault of the caller.
        BenchError: The assay did not accept its update.
    """
    facts = UpdateFacts(run=1, round=1, worker=bytes(20), shape_digest=bytes(32), length=values)
    drawn = np.random.default_rng(0).integers(-127, 128, values, dtype=np.int8)
    data = encode_update(facts.header(-10), drawn)
    del drawn
    signs = SeedSigns(_SEED)

    def run_assay() -> None:
        if assay(data, facts, signs, engine=engine).status != Status.COMMITTED:
            raise BenchError("the assay refused a sound update")

    def run_traced() -> None:
        found = assay(data, facts, signs, engine=engine, with_trace=True)
        if not found.leaves or len(digest_tree_root(found.leaves)) != ROOT_BYTES:
            raise BenchError("the assay gave no trace")

    small = UpdateFacts(run=1, round=1, worker=bytes(20), shape_digest=bytes(32), length=1)
    assay(encode_update(small.header(0), np.zeros(1, np.int8)), small, signs, engine=engine)  # compiles
    extra = _extra_memory(run_assay)

    source = np.frombuffer(data, dtype=np.uint8)
    target = np.zeros_like(source)
    target.fill(1)
    runs: dict[str, Callable[[], object]] = {
        "assay": run_assay,
        "traced": run_traced,
        "sha256": lambda: sha256(data).digest(),
        "copy": lambda: np.copyto(target, source),
    }
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(max(1, repeats)):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return AssayBench(
        values=values,
        repeats=max(1, repeats),
        engine=engine,
        seconds=AssaySeconds(best["assay"], best["sha256"], best["copy"]),
        ratio_to_sha256=best["assay"] / best["sha256"],
        traced_s=best["traced"],
        trace=best["traced"] / best["assay"],
        update_bytes=len(data),
        extra_bytes=extra,
        peak_bytes=None if extra is None else len(data) + extra,
    )


def _extra_memory(run: Callable[[], None]) -> int | None:
    """Give the growth of the peak of resident memory while something runs, in bytes (Linux)."""
    try:
        before = _resident("VmRSS")
        # 5 resets the high-water mark to what is resident now.
        (_PROC / "clear_refs").write_text("5")
        if _resident("VmHWM") > before + (1 << 20):
            return None
    except (OSError, ValueError):
        return None
    run()
    return max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    for line in (_PROC / "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(field)
