"""Calldata of contract functions from their committed ABI."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils import keccak

from ledger import artifacts
from ledger.errors import InputError

MAX_CALLS = 64
"""Places in one transaction's data that are looked at for a call."""


def encode_call(contract: str, function: str, arguments: Sequence[object]) -> bytes:
    """Give the calldata of a call.

    Args:
        contract: Name of a compiled contract.
        function: Name of a function that is not overloaded.
        arguments: Its arguments; structs are tuples in the order of their fields.

    Returns:
        Selector and encoded arguments.

    Raises:
        InputError: There is no such function, or an argument does not fit its type; fault of the caller.
    """
    selector, types = _signature(contract, function)
    try:
        return selector + encode(types, list(arguments))
    except Exception as error:
        raise InputError(f"{function} does not encode: {error}") from error


def find_calls(contract: str, function: str, calldata: bytes) -> Iterator[tuple[Any, ...]]:
    """Find calls of a function in a transaction's data: the call itself, or those that a contract passes on.

    Args:
        contract: Name of a compiled contract.
        function: Name of a function that is not overloaded.
        calldata: Of a transaction; hostile.

    Yields:
        Arguments of what decodes as such a call, at most MAX_CALLS; whether they mean anything is for the
        caller to check.
    """
    selector, types = _signature(contract, function)
    at = -1
    for _ in range(MAX_CALLS):
        at = calldata.find(selector, at + 1)
        if at < 0:
            return
        try:
            yield decode(types, calldata[at + len(selector) :], strict=False)
        except (DecodingError, ValueError, OverflowError):
            continue


@cache
def _signature(contract: str, function: str) -> tuple[bytes, list[str]]:
    entries = [e for e in artifacts.load(contract).abi if e["type"] == "function" and e["name"] == function]
    if len(entries) != 1:
        raise InputError(f"{contract} has no single function {function}")
    types = [_type(item) for item in entries[0]["inputs"]]
    return keccak(text=f"{function}({','.join(types)})")[:4], types


def _type(item: dict[str, object]) -> str:
    kind = str(item["type"])
    components = item.get("components")
    if not kind.startswith("tuple") or not isinstance(components, list):
        return kind
    return "(" + ",".join(_type(component) for component in components) + ")" + kind.removeprefix("tuple")
