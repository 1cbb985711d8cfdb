"""Fills the cells that are still empty, on several processes of one thread each."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.robustness.cell import Row, cell_config, run_cells, same_run
from bench.robustness.grid import Cell
from bench.robustness.results import append_rows, cell_of, read_rows
from trainer.defences import defence_named

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a command is.

    Attributes:
        done: Cells filled, with those that were there before.
        total: Cells asked for.
        row: The row that was written last; None at the start.
    """

    done: int
    total: int
    row: Row | None = None


def fill(
    cells: Sequence[Cell], folder: Path, processes: int, on_progress: Callable[[Progress], None]
) -> list[Row]:
    """Run what is missing of these cells.

    Args:
        cells: The cells.
        folder: Where results.jsonl is, or will be.
        processes: How many processes; each uses one thread.
        on_progress: Told at the start and after every row.

    Returns:
        The rows of these cells, in their order.

    Raises:
        TrainerError: A name is unknown, or a value out of range; nothing was run then.
        BenchInputError: The file holds something else.
    """
    wanted = [replace(cell, rounds=cell_config(cell).rounds) for cell in cells]
    for name in {cell.defence for cell in wanted}:
        defence_named(name)
    rows = {cell_of(row): row for row in read_rows(folder)}
    missing = [cell for cell in wanted if cell not in rows]
    done = len(wanted) - len(missing)
    on_progress(Progress(done, len(wanted)))
    for filled in _results(same_run(missing), processes):
        append_rows(folder, filled)
        for row in filled:
            rows[cell_of(row)] = row
            done += 1
            on_progress(Progress(done, len(wanted), row))
    return [rows[cell] for cell in wanted]


def _results(groups: Sequence[Sequence[Cell]], processes: int) -> Iterator[list[Row]]:
    if processes <= 1 or len(groups) <= 1:
        yield from map(run_cells, groups)
        return
    context = multiprocessing.get_context("spawn")
    with (
        _single_threaded_children(),
        ProcessPoolExecutor(min(processes, len(groups)), context, initializer=_one_thread) as pool,
    ):
        try:
            for future in as_completed([pool.submit(run_cells, group) for group in groups]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one_thread() -> None:
    torch.set_num_threads(1)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Have numpy's libraries use one thread in processes started meanwhile; they read this when loaded."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
