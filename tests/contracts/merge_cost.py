"""What the integer merge and its trace cost an aggregator, beside the merge of today.

    python -m tests.contracts.merge_cost [values] [workers ...]

Prints nanoseconds of one core for each value of each update, the least of five turns. They alternate, so that
whatever else the machine does meets all of them.
"""

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from ledger.merkle import digest_tree_root
from tests.contracts.merge_proof import (
    BLOCK_ROWS,
    Constants,
    Model,
    Term,
    merge,
    outer_step,
    running_sums,
)
from trainer.merge import Weighted
from trainer.merge import merge as merge_of_today

_TURNS = 5


def measure(values: int, workers: int) -> dict[str, float]:
    """Give nanoseconds for each value of each update, the anchor's included.

    Args:
        values: Values of the model, whole segments.
        workers: Number of approved updates; the anchor comes on top.
    """
    rng = np.random.default_rng(workers)
    constants = Constants(bytes(32), values)
    arrays = [
        np.clip(np.rint(rng.normal(0, 42, values)), -127, 127).astype(np.int8) for _ in range(workers + 1)
    ]
    header = bytes(5) + bytes([256 - 14]) + bytes(90)
    terms = [Term(header, array.tobytes(), 2**32 // len(arrays)) for array in arrays]
    weighted = [Weighted(array, -14, 2**32 // len(arrays)) for array in arrays]
    theta, v = (rng.normal(0, size, values).astype(np.float32) for size in (0.05, 0.005))
    old = Model(*(np.rint(array * np.float32(2**24)).astype(np.int32) for array in (theta, v)))

    def without_trace() -> None:
        for start in range(0, constants.rows, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, constants.rows))
            *_, sums = running_sums(terms, rows)
            outer_step(constants, sums, old, rows)

    def with_trace() -> None:
        _, trace = merge(constants, old, terms)
        digest_tree_root(b"".join(leaf for leaves in trace for leaf in leaves))

    works: dict[str, Callable[[], object]] = {
        "merge of today": lambda: merge_of_today(
            theta, v, weighted, outer_lr_micro=700_000, outer_momentum_micro=900_000
        ),
        "integers": without_trace,
        "integers and trace": with_trace,
    }
    least = dict.fromkeys(works, float("inf"))
    for _ in range(_TURNS):
        for name, work in works.items():
            started = time.process_time()
            work()
            least[name] = min(least[name], time.process_time() - started)
    return {name: seconds * 1e9 / values / len(arrays) for name, seconds in least.items()}


def main(arguments: Sequence[str]) -> None:
    """Print one line for each number of workers."""
    numbers = [int(argument) for argument in arguments] or [1 << 22]
    for workers in numbers[1:] or [8, 16, 64]:
        found = measure(numbers[0], workers)
        line = ", ".join(f"{name} {cost:.2f}" for name, cost in found.items())
        ratio = found["integers and trace"] / found["merge of today"]
        sys.stdout.write(f"{workers} workers: {line} ns; ratio {ratio:.1f}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
