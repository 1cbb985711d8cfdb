"""Transactions and receipts as they are under a block's two roots.

Source:
    Ethereum Yellow Paper, 4.3; EIP-2718, 2930, 1559, 4844, 7702, 658.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import rlp
from eth_account import Account
from eth_utils import keccak, to_checksum_address
from trie.hexary import HexaryTrie

from trainer.bundle.errors import BundleError

_TYPES_MAX = 4


def encode_transaction(view: Mapping[str, Any]) -> bytes | None:
    """Give a transaction's bytes from what JSON-RPC says of it.

    Returns:
        None for a type that is none of Ethereum's, or fields that do not give the hash that is stated.
    """
    try:
        kind = int(view.get("type", "0x0"), 16)
        signature = [_integer(view["r"]), _integer(view["s"])]
        to, data = _octets(view["to"] or "0x"), _octets(view["input"])
        value, gas, nonce = (_integer(view[name]) for name in ("value", "gas", "nonce"))
        if kind == 0:
            fields: list[Any] = [nonce, _integer(view["gasPrice"]), gas, to, value, data, _integer(view["v"])]
            encoded = bytes(rlp.encode([*fields, *signature]))
        else:
            parity = _integer(view["yParity"] if "yParity" in view else view["v"])
            access = [
                [_octets(entry["address"]), [_octets(key) for key in entry["storageKeys"]]]
                for entry in view.get("accessList") or []
            ]
            prices = ["gasPrice"] if kind == 1 else ["maxPriorityFeePerGas", "maxFeePerGas"]
            fields = [_integer(view["chainId"]), nonce, *(_integer(view[name]) for name in prices)]
            fields += [gas, to, value, data, access]
            if kind == 3:
                hashes = [_octets(entry) for entry in view["blobVersionedHashes"]]
                fields += [_integer(view["maxFeePerBlobGas"]), hashes]
            if kind == 4:
                fields.append([_authorization(entry) for entry in view["authorizationList"]])
            if kind > _TYPES_MAX:
                return None
            encoded = bytes([kind]) + bytes(rlp.encode([*fields, parity, *signature]))
    except (KeyError, TypeError, ValueError, rlp.exceptions.SerializationError):
        return None
    return encoded if keccak(encoded) == _octets(view["hash"]) else None


def encode_receipt(view: Mapping[str, Any]) -> bytes:
    """Give a receipt's bytes from what JSON-RPC says of it.

    Raises:
        KeyError, TypeError, ValueError: It is none; fault of the node.
    """
    outcome = _integer(view["status"]) if "status" in view else _octets(view["root"])
    logs = [
        [_octets(log["address"]), [_octets(topic) for topic in log["topics"]], _octets(log["data"])]
        for log in view["logs"]
    ]
    body = [outcome, _integer(view["cumulativeGasUsed"]), _octets(view["logsBloom"]), logs]
    kind = int(view.get("type", "0x0"), 16)
    return (bytes([kind]) if kind else b"") + bytes(rlp.encode(body))


def list_root(items: Sequence[bytes]) -> bytes:
    """Give the root of the trie from RLP-encoded places to items, 32 bytes."""
    trie = HexaryTrie({})
    for place, item in enumerate(items):
        trie[rlp.encode(place)] = item
    return bytes(trie.root_hash)


def encode_body(number: int, transactions: Sequence[bytes], receipts: Sequence[bytes]) -> bytes:
    """Give the record of a block's transactions and receipts."""
    return bytes(rlp.encode([number, list(transactions), list(receipts)]))


def decode_body(data: bytes) -> tuple[int, list[bytes], list[bytes]]:
    """Read a record.

    Raises:
        BundleError: It is none.
    """
    try:
        number, transactions, receipts = rlp.decode(data, strict=True)
        _require(isinstance(transactions, list) and isinstance(receipts, list), "no lists")
        items = (*transactions, *receipts)
        _require(all(isinstance(item, bytes) and item for item in items), "an item is no bytes")
        _require(len(transactions) == len(receipts), "as many receipts as transactions are due")
        return _big_endian(number), transactions, receipts
    except (ValueError, TypeError, RecursionError, rlp.exceptions.DecodingError) as error:
        raise BundleError("bodies", f"a record is none: {error}") from error


def logs_of(receipt: bytes) -> list[tuple[bytes, list[bytes], bytes]]:
    """Give a receipt's logs: address, topics, data.

    Raises:
        BundleError: It is no receipt.
    """
    try:
        body = rlp.decode(receipt if receipt[0] >= 0xC0 else receipt[1:], strict=True)
        _, _, _, logs = body
        found = [(address, list(topics), data) for address, topics, data in logs]
        for address, topics, data in found:
            _require(isinstance(data, bytes) and len(address) == 20 and len(topics) <= 4, "a log is none")
            _require(all(len(topic) == 32 for topic in topics), "a topic has not 32 bytes")
    except (ValueError, TypeError, RecursionError, rlp.exceptions.DecodingError) as error:
        raise BundleError("bodies", f"a receipt is none: {error}") from error
    return found


def transaction_view(encoded: bytes, number: int, place: int) -> dict[str, str | None]:
    """Give what an audit reads of a transaction, its sender recovered from the signature.

    Raises:
        BundleError: It is no signed transaction.
    """
    try:
        is_legacy = encoded[0] >= 0xC0
        fields = rlp.decode(encoded if is_legacy else encoded[1:], strict=True)
        at = {0: 3, 1: 4}.get(0 if is_legacy else encoded[0], 5)
        to, data = fields[at], fields[at + 2]
        _require(isinstance(to, bytes) and len(to) in (0, 20), "no recipient")
        _require(isinstance(data, bytes), "no data")
        if is_legacy:
            v = _big_endian(fields[6])
            chain_id = (v - 35) // 2 if v >= 35 else None
        else:
            chain_id = _big_endian(fields[0])
        sender = str(Account.recover_transaction(encoded))
    except Exception as error:  # whatever a decoder of hostile bytes may raise
        raise BundleError("bodies", f"a transaction of block {number} is none: {error}") from error
    return {
        "hash": "0x" + keccak(encoded).hex(),
        "blockNumber": hex(number),
        "transactionIndex": hex(place),
        "from": sender,
        "to": to_checksum_address(to) if to else None,
        "input": "0x" + data.hex(),
        "chainId": None if chain_id is None else hex(chain_id),
    }


def in_bloom(bloom: bytes, value: bytes) -> bool:
    """Tell whether a block's bloom filter may hold a value (Yellow Paper, 4.3.1)."""
    digest, bits = keccak(value), int.from_bytes(bloom, "big")
    return all(bits >> (int.from_bytes(digest[i : i + 2], "big") & 2047) & 1 for i in (0, 2, 4))


def _authorization(entry: Mapping[str, Any]) -> list[Any]:
    names = ("chainId", "address", "nonce", "yParity", "r", "s")
    return [_octets(entry[name]) if name == "address" else _integer(entry[name]) for name in names]


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _big_endian(data: Any) -> int:
    if not isinstance(data, bytes) or data[:1] == b"\0" or len(data) > 32:
        raise ValueError("no number")
    return int.from_bytes(data, "big")


def _integer(text: str) -> int:
    return int(text, 16)


def _octets(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
