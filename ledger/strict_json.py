"""JSON that anybody may have written: in files, requests to our chain, and a node's answers."""

import json
import re
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 64
_STRING_OR_BRACKET: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def loads(data: bytes | str) -> Any:
    """Parse JSON that is nested no deeper than anything of ours.

    The parser of the standard library follows any depth until the stack of the process ends, and the process
    with it, once something has raised the recursion limit as py-evm does.

    Args:
        data: UTF-8 text.

    Raises:
        ValueError: It is no JSON, is nested more than 64 deep, or has a number that is none.
    """
    text = data if isinstance(data, str) else data.decode()
    _check_depth(text)
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply for the stack that is left") from error


def digest_from(text: str) -> bytes:
    """Read 32 bytes in hex, without 0x.

    Raises:
        TypeError, ValueError: It is something else.
    """
    data = bytes.fromhex(text)
    if len(data) != 32:
        raise ValueError(f"{len(data)} bytes instead of 32")
    return data


def number_from(value: object) -> int:
    """Read a whole number from 0 on.

    Raises:
        ValueError: It is something else.
    """
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number")
    return value


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        found = match[0]
        if found in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError("nested too deeply")
        elif found in "]}":
            depth -= 1


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
