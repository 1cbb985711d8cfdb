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
