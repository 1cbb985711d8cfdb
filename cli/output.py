"""Where output goes: results to stdout, progress and remarks to stderr."""

import dataclasses
import json
import shlex
import sys
from enum import Enum
from pathlib import Path

from rich.console import Console
from rich.markup import escape

_PIPE_COLUMNS = 160

results = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
"""What was asked for, when it is for people; in a pipe, tables are wide enough to lose nothing."""

notices = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
"""Progress and remarks; one line each where nobody's window wraps them."""


def write_json(value: object) -> None:
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(plain(value), indent=2) + "\n")


def plain(value: object) -> object:
    """Turn dataclasses, bytes and enums into what JSON knows; bytes become 0x hex."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def columns(*rows: tuple[str, str]) -> None:
    """Write pairs of a name and a value, one to a line; long values are not broken."""
    for name, value in rows:
        results.print(f"  {name:<12} {escape(value)}")


def as_argument(path: str | Path) -> str:
    """Give a file's name as a shell takes it, for a console that takes markup."""
    return escape(shlex.quote(str(path)))


def short(text: str, keep: int = 8) -> str:
    """Give a long hex number's beginning and end; other texts as they are."""
    is_long_hex = text.startswith("0x") and " " not in text and len(text) > 2 * keep + 2
    return f"{text[: keep + 2]}…{text[-4:]}" if is_long_hex else text
