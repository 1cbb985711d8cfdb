"""Where output goes: results to stdout, progress and remarks to stderr."""

import dataclasses
import json
import sys
from enum import Enum

from rich.console import Console

results = Console(highlight=False, soft_wrap=True)
"""What was asked for, when it is for people."""

notices = Console(stderr=True, highlight=False)
"""Progress and remarks."""


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
        results.print(f"  {name:<12} {value}")


def short(hex_text: str, keep: int = 8) -> str:
    """Give a long hex text's beginning and end."""
    return hex_text if len(hex_text) <= 2 * keep + 2 else f"{hex_text[: keep + 2]}…{hex_text[-4:]}"
