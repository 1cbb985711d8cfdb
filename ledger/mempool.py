"""What hangs in a node's mempool, as far as the node shows it."""

from collections.abc import Callable
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address

from ledger.asking import NodeAnswerError

_NUMBERS = ("nonce", "value", "gas", "maxFeePerGas", "maxPriorityFeePerGas")


def hanging(
    request: Callable[..., Any], account: LocalAccount, nonce: int, chain_id: int
) -> dict[str, Any] | None:
    """Give a transaction of an account that is in the mempool, if the node shows it.

    A node could show anything to have it signed: only what the key signs with the hash that the node
    states was ours; signatures are deterministic (RFC 6979), and nobody else can make one.

    Args:
        request: Asks the node, see `Node.request`.
        account: Who signed it.
        nonce: Its nonce.
        chain_id: The chain's id.

    Returns:
        Its fields, to be signed again; None if the node shows none.

    Raises:
        NodeUnavailableError: The node did not answer.
    """
    for found in _pool(request, account):
        try:
            numbers = {name: int(found[name], 16) for name in _NUMBERS}
            if numbers["nonce"] != nonce or min(numbers.values()) < 0:
                continue
            fields: dict[str, Any] = {
                **numbers,
                "to": to_checksum_address(found["to"]) if found.get("to") else "",
                "data": bytes.fromhex(found["input"][2:]),
                "chainId": chain_id,
            }
            if account.sign_transaction(fields).hash == bytes.fromhex(found["hash"][2:]):
                return fields
        except (KeyError, ValueError, TypeError, AttributeError):
            continue
    return None


def _pool(request: Callable[..., Any], account: LocalAccount) -> list[Any]:
    """Give what the node shows of an account's transactions in its mempool, unchecked."""
    for method, parameters in (("txpool_contentFrom", (account.address,)), ("txpool_content", ())):
        try:
            content = request(method, *parameters)
        except NodeAnswerError:
            continue  # not every node has these
        entries: list[Any] = []
        for part in content.values() if isinstance(content, dict) else ():
            if method == "txpool_content" and isinstance(part, dict):
                part = {k.lower(): v for k, v in part.items()}.get(account.address.lower())
            entries += part.values() if isinstance(part, dict) else ()
        return entries
    return []
