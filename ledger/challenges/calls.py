"""Calldata of contract functions from their committed ABI."""

from collections.abc import Sequence
from functools import cache

from eth_abi.abi import encode
from eth_utils import keccak

from ledger import artifacts
from ledger.errors import InputError


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
