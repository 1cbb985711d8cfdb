"""A node with a mempool, as public nodes have one: what pays too little hangs there."""

from collections.abc import Callable
from typing import Any

import rlp
from eth_account import Account
from eth_utils import keccak
from hexbytes import HexBytes
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from ledger.chain import EmbeddedProvider

BLOCK_S = 12.0


class Mempool(JSONBaseProvider):
    """Holds transactions until mine(); takes one in the place of another only for a tenth more.

    Attributes:
        base_fee_wei: What it says the base fee is; cheaper ones hang.
        is_shown: Whether it answers txpool_contentFrom.
        is_oldest_mined: Whether whoever makes the blocks has only the first version of each.
        taken: All it has taken, decoded, in order.
        versions: By sender and nonce, raw, the newest last.
    """

    def __init__(self, inner: EmbeddedProvider, base_fee_wei: int = 10**9) -> None:
        super().__init__()
        self._inner = inner
        self.base_fee_wei = base_fee_wei
        self.is_shown = True
        self.is_oldest_mined = False
        self.taken: list[dict[str, Any]] = []
        self.versions: dict[tuple[str, int], list[bytes]] = {}

    def mine(self) -> None:
        """Make a block, of everything that pays for it."""
        is_empty = True
        for key in sorted(self.versions, key=lambda one: one[1]):
            raw = self.versions[key][0 if self.is_oldest_mined else -1]
            if decode(raw)["maxFeePerGas"] < self.base_fee_wei:
                continue
            if key[1] != self._mined(key[0]):
                continue
            response = self._inner.make_request(RPCEndpoint("eth_sendRawTransaction"), ["0x" + raw.hex()])
            assert "error" not in response, response
            del self.versions[key]
            is_empty = False
        if is_empty:
            self._inner.make_request(RPCEndpoint("evm_mine"), [])

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if method == "eth_sendRawTransaction":
            return self._take(bytes(HexBytes(params[0])))
        if method == "txpool_contentFrom":
            if not self.is_shown:
                return _error("the method txpool_contentFrom does not exist")
            return _result({"pending": self._content(params[0]), "queued": {}})
        if method == "txpool_content":
            return _error("the method txpool_content does not exist")
        if method == "eth_getTransactionCount":
            number = self._mined(params[0])
            while params[1] == "pending" and (params[0], number) in self.versions:
                number += 1
            return _result(hex(number))
        if method == "eth_getTransactionByHash":
            for found in self.versions.values():
                for raw in found:
                    if decode(raw)["hash"] == bytes(HexBytes(params[0])):
                        return _result(_shown(raw))
        response = self._inner.make_request(method, params)
        if method == "eth_getBlockByNumber" and response.get("result"):
            response["result"] = {**response["result"], "baseFeePerGas": hex(self.base_fee_wei)}
        return response

    def _take(self, raw: bytes) -> RPCResponse:
        new = decode(raw)
        key = (new["from"], new["nonce"])
        if new["nonce"] < self._mined(new["from"]):
            return _error("nonce too low")
        found = self.versions.setdefault(key, [])
        for old in found:
            if old == raw:
                return _error("already known")
        if found and any(
            10 * new[name] < 11 * decode(found[-1])[name] for name in ("maxFeePerGas", "maxPriorityFeePerGas")
        ):
            return _error("replacement transaction underpriced")
        found.append(raw)
        self.taken.append(new)
        return _result("0x" + new["hash"].hex())

    def _mined(self, address: str) -> int:
        asked = self._inner.make_request(RPCEndpoint("eth_getTransactionCount"), [address, "latest"])
        return int(str(asked["result"]), 16)

    def _content(self, address: str) -> dict[str, Any]:
        return {
            str(nonce): _shown(found[-1])
            for (sender, nonce), found in self.versions.items()
            if sender == address
        }


class Clock:
    """Stands for the module time: sleeping takes no time, and every BLOCK_S seconds a block comes.

    Attributes:
        now_s: Seconds since the start.
    """

    def __init__(self, on_block: Callable[[], object]) -> None:
        self.now_s = 0.0
        self._next_s = BLOCK_S
        self._on_block = on_block

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        while self.now_s >= self._next_s:
            self._next_s += BLOCK_S
            self._on_block()


def decode(raw: bytes) -> dict[str, Any]:
    """Decode a transaction of type 2."""
    assert raw[0] == 2
    fields: list[Any] = rlp.decode(raw[1:])
    number = [int.from_bytes(field, "big") for field in fields[:5]]
    return {
        "raw": raw,
        "hash": keccak(raw),
        "from": Account.recover_transaction(raw),
        "nonce": number[1],
        "maxPriorityFeePerGas": number[2],
        "maxFeePerGas": number[3],
        "gas": number[4],
        "to": "0x" + fields[5].hex(),
        "value": int.from_bytes(fields[6], "big"),
        "input": "0x" + fields[7].hex(),
    }


def _shown(raw: bytes) -> dict[str, Any]:
    found = decode(raw)
    numbers = ("nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas", "value")
    shown: dict[str, Any] = {**found, **{name: hex(found[name]) for name in numbers}}
    del shown["raw"]
    return {**shown, "hash": "0x" + found["hash"].hex(), "type": "0x2", "blockNumber": None}


def _result(value: Any) -> RPCResponse:
    return {"jsonrpc": "2.0", "id": 1, "result": value}


def _error(message: str) -> RPCResponse:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": message}}
