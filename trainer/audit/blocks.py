"""Blocks as an auditor needs them: their times, and hashes that are those of their headers."""

from collections.abc import Mapping
from typing import Any

import rlp
from eth_utils import keccak

from ledger.asking import NodeAnswerError
from ledger.node import Node

# In the order of the header's encoding; later forks' fields are optional from the first one missing on.
_HEADER = (
    "parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom",
    "difficulty", "number", "gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce",
)  # fmt: skip
_LATER = (
    "baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot",
    "requestsHash",
)  # fmt: skip
_QUANTITIES = {
    "difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas", "blobGasUsed",
    "excessBlobGas",
}  # fmt: skip
_SIZES = {
    **dict.fromkeys(
        (
            "parentHash", "sha3Uncles", "stateRoot", "transactionsRoot", "receiptsRoot", "mixHash",
            "withdrawalsRoot", "parentBeaconBlockRoot", "requestsHash",
        ), 32,
    ),
    "miner": 20, "logsBloom": 256, "nonce": 8,
}  # fmt: skip
_BESIDE = {"hash", "transactions", "uncles", "withdrawals", "size", "totalDifficulty"}


class Blocks:
    """Reads blocks; remembers the times of those of one round."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._times: dict[int, int] = {}

    def forget(self) -> None:
        """Forget the times; called between rounds so that memory stays bounded."""
        self._times.clear()

    def time(self, number: int) -> int:
        """Give a block's time, Unix seconds.

        Raises:
            EnvironmentFault: The node failed, or has no such block.
        """
        if number not in self._times:
            self._times[number] = int(self._node.block(number)["timestamp"])
        return self._times[number]

    def hashes(self, number: int) -> tuple[bytes, bytes | None]:
        """Give a block's hash as the node states it, and as its header has it.

        Returns:
            Two times 32 bytes; None for the second where the header is not one of Ethereum's (some rollups
            have fields of their own).

        Raises:
            EnvironmentFault: The node failed, or has no such block.
        """
        block = self._node.block(number)
        stated = block.get("hash")
        if stated is None:
            raise NodeAnswerError(f"block {number} has no hash")
        return bytes(stated), header_hash(block)


def header_hash(block: Mapping[str, Any]) -> bytes | None:
    """Compute a block's hash from the fields of its header.

    Args:
        block: As a node gives it.

    Returns:
        32 bytes, or None if a field is missing or is none of Ethereum's.

    Source:
        Ethereum Yellow Paper, 4.3; EIP-1559, 4895, 4844, 4788, 7685.
    """
    encoded = encode_header(block)
    return None if encoded is None else keccak(encoded)


def encode_header(block: Mapping[str, Any]) -> bytes | None:
    """Give the bytes whose keccak is a block's hash; None as for header_hash()."""
    if not set(block) <= {*_HEADER, *_LATER, *_BESIDE} or not set(_HEADER) <= set(block):
        return None
    names = list(_HEADER)
    for name in _LATER:
        if name not in block:
            break
        names.append(name)
    try:
        return bytes(rlp.encode([_encoded(block[name]) for name in names]))
    except (ValueError, TypeError, rlp.exceptions.SerializationError):
        return None


def decode_header(data: bytes) -> dict[str, str]:
    """Give the fields of a header as JSON-RPC writes them, its hash too.

    Raises:
        ValueError: The bytes are no header of Ethereum's.
    """
    try:
        values = rlp.decode(data, strict=True)
    except (RecursionError, rlp.exceptions.DecodingError) as error:
        raise ValueError(f"no RLP: {error}") from error
    names = (*_HEADER, *_LATER)
    if not isinstance(values, list) or not len(_HEADER) <= len(values) <= len(names):
        raise ValueError("no list of as many fields as a header has")
    if not all(isinstance(value, bytes) for value in values):
        raise ValueError("a field is a list")
    fields = dict(zip(names, values, strict=False))
    for name, value in fields.items():
        if name in _QUANTITIES and (len(value) > 32 or value[:1] == b"\0"):
            raise ValueError(f"{name} is no number")
        if name in _SIZES and len(value) != _SIZES[name]:
            raise ValueError(f"{name} has {len(value)} bytes")
    shown = {
        name: hex(int.from_bytes(value, "big")) if name in _QUANTITIES else "0x" + value.hex()
        for name, value in fields.items()
    }
    return {**shown, "hash": "0x" + keccak(data).hex()}


def _encoded(value: Any) -> bytes:
    if isinstance(value, int):
        return value.to_bytes((value.bit_length() + 7) // 8, "big")
    if isinstance(value, str):
        return bytes.fromhex(value.removeprefix("0x"))
    return bytes(value)
