"""Time and memory of one round's decision: ours beside rules that must see all updates at once.

Everybody starts from the same int8 files and ends with one step, float32 [d]. Each rule runs in a process of
its own, with one thread, and works through the coordinates in blocks, so that nothing is copied that need not
be; the published rules are those of trainer.defences, whose results they give.
"""

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchInputError
from guard.gate import GateParameters, Reading, Status, WorkerEvidence
from guard.settlement import Settlement
from guard.signs import ROW_VALUES, SeedSigns
from guard.sketch import Engine, Sketch
from guard.state import GateState
from trainer.defences.base import assumed_faults
from trainer.defences.geometric_median import SMOOTHING, STEPS
from trainer.merge import Weighted, merge

FloatArray = NDArray[np.float32]
Stack = NDArray[np.float32]

BLOCK = 1 << 16
"""Coordinates at a time."""

EXPONENT = -10
_SEED = sha256(b"hallmark bench decision").digest()
_ANCHOR = "anchor"
_SAMPLE_S = 0.002
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class RuleCost:
    """What one decision costs by one rule.

    Attributes:
        seconds: From the files to the step, wall clock, the fastest of the repeats; reading included.
        extra_bytes: By how much private resident memory grew at most, above what was resident before; pages
            of mapped files, which the kernel drops when it needs them, are not counted. Sampled every 2 ms.
            None where the kernel does not tell.
    """

    seconds: float
    extra_bytes: int | None


@dataclass(frozen=True, slots=True)
class DecisionBench:
    """One decision by several rules.

    Attributes:
        workers: Number of updates.
        values: int8 values of each.
        repeats: How often each rule ran.
        rules: Name -> cost.
        time_against_ours: Name -> seconds, divided by ours.
        memory_against_ours: Name -> extra bytes, divided by ours; without those that are not known.
    """

    workers: int
    values: int
    repeats: int
    rules: Mapping[str, RuleCost]
    time_against_ours: Mapping[str, float]
    memory_against_ours: Mapping[str, float]


def bench_decision(workers: int = 64, values: int = 10_000_000, repeats: int = 2) -> DecisionBench:
    """Time one decision by every rule of RULES.

    Honest updates: a common direction and as much noise, drawn as int8; the files lie in the system's folder
    for temporary files and are in the page cache when the clock starts.

    Args:
        workers: Number of updates, 3..255.
        values: int8 values of each, 1..2^32. Some 4.1 * workers * values bytes of memory and
            workers * values bytes of disk are needed.
        repeats: How often to run each rule, at least 1.

    Raises:
        BenchInputError: An argument is out of range; fault of the caller.
    """
    for name, value, low, high in (
        ("workers", workers, 3, 255),
        ("values", values, 1, 1 << 32),
        ("repeats", repeats, 1, 1000),
    ):
        if not low <= value <= high:
            raise BenchInputError(f"{name} is {value}", hint=f"{low} to {high}")
    with tempfile.TemporaryDirectory() as folder:
        write_updates(Path(folder), workers, values)
        costs = {rule: _in_new_process(rule, Path(folder), workers, values, repeats) for rule in RULES}
    ours = costs["hallmark"]
    return DecisionBench(
        workers=workers,
        values=values,
        repeats=repeats,
        rules=costs,
        time_against_ours={rule: cost.seconds / ours.seconds for rule, cost in costs.items()},
        memory_against_ours={
            rule: cost.extra_bytes / ours.extra_bytes
            for rule, cost in costs.items()
            if cost.extra_bytes and ours.extra_bytes
        },
    )


def write_updates(folder: Path, workers: int, values: int) -> None:
    """Write `0`, `1`, ... and `anchor`: int8 [values] each, half common and half their own."""
    common = np.random.default_rng(0).normal(0, 20, values).astype(np.float32)
    for number, name in enumerate([*map(str, range(workers)), _ANCHOR]):
        own = np.random.default_rng(number + 1).normal(0, 20, values).astype(np.float32)
        own += common
        np.clip(np.rint(own), -127, 127).astype(np.int8).tofile(folder / name)


def hallmark_step(folder: Path, workers: int, values: int) -> FloatArray:
    """Decide as the guard does: one update at a time, then the gate, then a merge from the files."""
    signs = SeedSigns(_SEED)
    readings = [_reading(_load(folder, str(i)), signs) for i in range(workers)]
    evidence = tuple(WorkerEvidence(Status.COMMITTED, reading) for reading in readings)
    settlement = Settlement(_reading(_load(folder, _ANCHOR), signs), 0, evidence)
    state, parameters = GateState.start(workers), GateParameters()
    settlement = replace(settlement, median=state.median(parameters, settlement))
    weights = state.decide(parameters, 1, settlement).weights
    terms = [
        Weighted(np.memmap(folder / name, np.int8, "r"), EXPONENT, weight)
        for name, weight in (
            *((str(i), w) for i, w in zip(weights.indices, weights.weights, strict=True)),
            (_ANCHOR, weights.anchor),
        )
    ]
    zero = np.zeros(values, dtype=np.float32)
    # From a model of zero without momentum, at rate 1: minus the merged update.
    return merge(zero, zero, terms, outer_lr_micro=1_000_000, outer_momentum_micro=0)[0]


def mean_step(folder: Path, workers: int, values: int) -> FloatArray:
    """Average, one update at a time: no defence, the least that a merge can cost."""
    total = np.zeros(values, dtype=np.float32)
    for i in range(workers):
        total += _load(folder, str(i))
    total *= np.float32(2.0**EXPONENT / workers)
    return total


def krum_step(folder: Path, workers: int, values: int) -> FloatArray:
    """Give the update with the nearest neighbourhood."""
    updates = _load_all(folder, workers, values)
    nearest = np.sort(_squared_distances(updates), axis=1)[:, 1 : workers - assumed_faults(workers)]
    chosen: FloatArray = updates[int(np.argmin(nearest.sum(axis=1)))].copy()
    return chosen


def nnm_trimmed_mean_step(folder: Path, workers: int, values: int) -> FloatArray:
    """Mix every update with its nearest, then trim every coordinate."""
    updates = _load_all(folder, workers, values)
    faults = assumed_faults(workers)
    nearest = np.argsort(_squared_distances(updates), axis=1, kind="stable")[:, : workers - faults]
    mixing = np.zeros((workers, workers), dtype=np.float32)
    np.put_along_axis(mixing, nearest, np.float32(1 / (workers - faults)), axis=1)
    step = np.empty(values, dtype=np.float32)
    for part in _blocks(values):
        mixed = np.sort(mixing @ updates[:, part], axis=0)
        step[part] = mixed[faults : workers - faults].mean(axis=0)
    return step


def geometric_median_step(folder: Path, workers: int, values: int) -> FloatArray:
    """Take Weiszfeld's steps from zero."""
    updates = _load_all(folder, workers, values)
    point = np.zeros(values, dtype=np.float32)
    for _ in range(STEPS):
        squares = np.zeros(workers)
        for part in _blocks(values):
            apart = updates[:, part] - point[part]
            squares += np.einsum("ij,ij->i", apart, apart)
        weights = 1.0 / np.maximum(SMOOTHING, np.sqrt(squares))
        shares = (weights / weights.sum()).astype(np.float32)
        for part in _blocks(values):
            point[part] = shares @ updates[:, part]
    return point


Step = Callable[[Path, int, int], FloatArray]

RULES: Mapping[str, Step] = {
    "hallmark": hallmark_step,
    "mean": mean_step,
    "krum": krum_step,
    "nnm_trimmed_mean": nnm_trimmed_mean_step,
    "geometric_median": geometric_median_step,
}


def _load(folder: Path, name: str) -> NDArray[np.int8]:
    return np.fromfile(folder / name, dtype=np.int8)


def _load_all(folder: Path, workers: int, values: int) -> Stack:
    updates = np.empty((workers, values), dtype=np.float32)
    for i in range(workers):
        np.multiply(_load(folder, str(i)), np.float32(2.0**EXPONENT), out=updates[i])
    return updates


def _reading(update: NDArray[np.int8], signs: SeedSigns) -> Reading:
    sketch = Sketch(signs, engine=Engine.NUMBA)
    whole = len(update) // ROW_VALUES * ROW_VALUES
    sketch.update(update[:whole])
    if whole < len(update):
        last = np.zeros(ROW_VALUES, dtype=np.int8)
        last[: len(update) - whole] = update[whole:]
        sketch.update(last)
    return Reading(sketch.code(), sketch.norm2, EXPONENT)


def _blocks(values: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, values, BLOCK)]


def _squared_distances(updates: Stack) -> NDArray[np.float64]:
    """Give trainer.defences.base.squared_distances without a copy of all updates."""
    products = np.zeros((len(updates), len(updates)))
    for part in _blocks(updates.shape[1]):
        products += updates[:, part] @ updates[:, part].T
    squares = np.diag(products)
    found: NDArray[np.float64] = np.maximum(0.0, squares[:, None] + squares[None, :] - 2 * products)
    np.fill_diagonal(found, 0.0)
    return found


def _in_new_process(rule: str, folder: Path, workers: int, values: int, repeats: int) -> RuleCost:
    """Measure in a process that starts from nothing, with one thread for every library."""
    context = multiprocessing.get_context("spawn")
    with _one_thread(), context.Pool(1) as pool:
        return pool.apply(measure, (rule, folder, workers, values, repeats))


def measure(rule: str, folder: Path, workers: int, values: int, repeats: int) -> RuleCost:
    """Run one rule, after a run on a few values that compiles what must be compiled."""
    step = RULES[rule]
    with tempfile.TemporaryDirectory() as small:
        write_updates(Path(small), 3, ROW_VALUES)
        step(Path(small), 3, ROW_VALUES)
    best, peaks = float("inf"), []
    for _ in range(repeats):
        with _Peak() as memory:
            start = time.perf_counter()
            step(folder, workers, values)
            best = min(best, time.perf_counter() - start)
        peaks.append(memory.bytes)
    known = [peak for peak in peaks if peak is not None]
    return RuleCost(best, max(known) if known else None)


class _Peak:
    """Samples private resident memory in a thread of its own (Linux)."""

    def __init__(self) -> None:
        self.bytes: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._before = _private_bytes()
        if self._before is not None:
            self.bytes = 0
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._before is not None:
            self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            now = _private_bytes()
            if now is not None and self._before is not None and self.bytes is not None:
                self.bytes = max(self.bytes, now - self._before)


def _private_bytes() -> int | None:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


@contextmanager
def _one_thread() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
