"""JSON from files that anybody may have written."""

from typing import Any

from ledger.chain.params import RpcError
from ledger.chain.wire import decode


def loads(data: bytes | str) -> Any:
    """Parse JSON that is nested no deeper than anything of ours.

    The parser of the standard library follows any depth until the stack of the process ends, and the process
    with it, once something has raised the recursion limit as py-evm does.

    Raises:
        ValueError: It is no JSON, is nested more than 64 deep, or has a number that is none.
    """
    try:
        return decode(data)
    except RpcError as error:
        raise ValueError("it is no JSON, or nested beyond reason") from error


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
