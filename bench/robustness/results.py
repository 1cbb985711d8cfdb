"""results.jsonl: one row a cell, appended as soon as it is there, so that a stopped command can go on."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from bench.errors import BenchInputError
from bench.robustness.cell import Row
from bench.robustness.grid import Cell

FILE = "results.jsonl"


def read_rows(folder: Path) -> list[Row]:
    """Read the rows of a folder; a torn last line, left by a process that was killed, is cut off the file.

    Args:
        folder: Where results.jsonl is; it may be missing.

    Returns:
        The rows, oldest first.

    Raises:
        BenchInputError: A line that is not the last is no row.
    """
    path = folder / FILE
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    rows = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = json.loads(line)
            cell_of(row)
        except (ValueError, KeyError, TypeError) as error:
            raise BenchInputError(f"{path}, line {number}: no row of a result: {error}") from error
        rows.append(cast(Row, row))
    return rows


def append_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Add rows, each one line, and wait until they are on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
        file.flush()
        os.fsync(file.fileno())


def cell_of(row: Row) -> Cell:
    """Give the cell that a row fills."""
    return Cell(
        row["task"],
        row["split"],
        row["share"],
        row["attack"],
        row["defence"],
        row["seed"],
        row["rounds"],
        row.get("root_samples", 0),
    )
