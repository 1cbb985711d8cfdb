"""JSON-RPC parameters to typed values; whatever is not understood is refused, never ignored."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from ledger.chain.calls import Call
from ledger.chain.errors import ChainError
from ledger.chain.logs import MAX_TOPICS

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

T = TypeVar("T")
D = TypeVar("D")

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_ERROR: Final = -32000
LIMIT_EXCEEDED: Final = -32005
EXECUTION_REVERTED: Final = 3

_TAGS: Final = ("latest", "earliest", "pending", "safe", "finalized")
_PRICE_KEYS: Final = frozenset({"gas", "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas"})
_CALL_KEYS: Final = _PRICE_KEYS | frozenset(
    {"from", "to", "value", "data", "input", "nonce", "chainId", "type", "accessList"}
)
_FILTER_KEYS: Final = frozenset({"fromBlock", "toBlock", "blockHash", "address", "topics"})
_MAX_ALTERNATIVES: Final = 1_000
_MAX_QUANTITY_DIGITS: Final = 64
_HEX: Final = re.compile(r"[0-9a-fA-F]*")
_ADDRESS_BYTES: Final = 20
_WORD_BYTES: Final = 32


class RpcError(ChainError):
    """A request that ends in a JSON-RPC error object.

    Attributes:
        rpc_code: The number of the error, as in JSON-RPC 2.0 and EIP-1474; 3 for a revert.
        message: One sentence.
        data: Revert data as hex, or other detail; may be None.
    """

    def __init__(self, rpc_code: int, message: str, data: Json = None) -> None:
        super().__init__(message)
        self.rpc_code = rpc_code
        self.message = message
        self.data = data


class ParamError(ValueError):
    """One parameter is not what it should be; becomes -32602."""


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block as a client names it; exactly one attribute is set."""

    tag: str | None = None
    number: int | None = None
    block_hash: bytes | None = None


LATEST: Final = BlockRef(tag="latest")
PENDING: Final = BlockRef(tag="pending")


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A call or transaction object.

    Attributes:
        call: What to execute.
        has_sender: Whether it named a sender.
        has_price: Whether it named a price.
        nonce: Nonce for a transaction, or None.
        chain_id: Chain id it is meant for, or None.
    """

    call: Call
    has_sender: bool
    has_price: bool
    nonce: int | None
    chain_id: int | None


@dataclass(frozen=True, slots=True)
class LogRequest:
    """A log filter as a client gives it; block names are not resolved yet."""

    from_block: BlockRef
    to_block: BlockRef
    block_hash: bytes | None
    addresses: tuple[bytes, ...]
    topics: tuple[tuple[bytes, ...], ...]


def quantity(value: Json) -> int:
    """Parse a hex quantity: 0x, no leading zeros, at most 256 bits."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise ParamError("hex quantity like 0x1f expected")
    digits = value[2:]
    if not digits or len(digits) > _MAX_QUANTITY_DIGITS or not _is_hex(digits):
        raise ParamError("hex quantity of at most 256 bits expected")
    if digits[0] == "0" and digits != "0":
        raise ParamError("hex quantity has leading zero digits")
    return int(digits, 16)


def lenient_quantity(value: Json) -> int:
    """Parse a number the way local-chain tools send it: hex, decimal text or a JSON number."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (
        isinstance(value, str) and len(value) <= _MAX_QUANTITY_DIGITS and value.isascii() and value.isdigit()
    ):
        number = int(value)
    else:
        return quantity(value)
    if number < 0:
        raise ParamError("number must not be negative")
    return number


def data(value: Json) -> bytes:
    """Parse hex data: 0x and an even number of digits."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise ParamError("hex data like 0x00ff expected")
    digits = value[2:]
    if len(digits) % 2 or not _is_hex(digits):
        raise ParamError("hex data needs an even number of hex digits")
    return bytes.fromhex(digits)


def address(value: Json) -> bytes:
    """Parse a 20-byte address."""
    return _sized(value, _ADDRESS_BYTES, "address")


def word(value: Json) -> bytes:
    """Parse 32 bytes: a hash or a topic."""
    return _sized(value, _WORD_BYTES, "32-byte hash")


def slot(value: Json) -> int:
    """Parse a storage slot, as a quantity or as 32 bytes."""
    if isinstance(value, str) and len(value) == 2 + 2 * _WORD_BYTES:
        return int.from_bytes(data(value), "big")
    return quantity(value)


def flag(value: Json) -> bool:
    """Parse true or false."""
    if not isinstance(value, bool):
        raise ParamError("true or false expected")
    return value


def text(value: Json) -> str:
    """Parse a string."""
    if not isinstance(value, str):
        raise ParamError("string expected")
    return value


def list_of(parse: Callable[[Json], object], *, at_most: int) -> Callable[[Json], tuple[object, ...]]:
    """Make a parser for a list of bounded length."""

    def parse_list(value: Json) -> tuple[object, ...]:
        if not isinstance(value, list):
            raise ParamError("list expected")
        if len(value) > at_most:
            raise ParamError(f"list has {len(value)} items, at most {at_most} are accepted")
        return tuple(parse(item) for item in value)

    return parse_list


def percentiles(value: Json) -> tuple[float, ...]:
    """Parse the reward percentiles of eth_feeHistory: 0 to 100, ascending, at most 100."""
    if not isinstance(value, list) or len(value) > 100:
        raise ParamError("list of at most 100 percentiles expected")
    found: list[float] = []
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float) or not 0 <= item <= 100:
            raise ParamError("percentiles are numbers from 0 to 100")
        if found and item < found[-1]:
            raise ParamError("percentiles must ascend")
        found.append(float(item))
    return tuple(found)


def block_ref(value: Json) -> BlockRef:
    """Parse a tag, a hex number, a hash, or an EIP-1898 object."""
    if isinstance(value, dict):
        return _block_object(value)
    if isinstance(value, str) and value in _TAGS:
        return BlockRef(tag=value)
    if isinstance(value, str) and len(value) == 2 + 2 * _WORD_BYTES:
        return BlockRef(block_hash=word(value))
    try:
        return BlockRef(number=quantity(value))
    except ParamError as error:
        raise ParamError(f"block expected: a hex number, a hash, or one of {', '.join(_TAGS)}") from error


def _block_object(value: dict[str, Json]) -> BlockRef:
    keys = set(value)
    if keys == {"blockNumber"}:
        reference = block_ref(value["blockNumber"])
        if reference.block_hash is not None or isinstance(value["blockNumber"], dict):
            raise ParamError("blockNumber must be a number or a tag")
        return reference
    if keys in ({"blockHash"}, {"blockHash", "requireCanonical"}):
        # Every block of this chain is canonical, so the demand always holds.
        flag(value.get("requireCanonical", False))
        return BlockRef(block_hash=word(value["blockHash"]))
    raise ParamError("block object takes either blockNumber, or blockHash with optional requireCanonical")


def call_request(value: Json) -> CallRequest:
    """Parse a call object; unknown keys are refused."""
    fields = _object(value, _CALL_KEYS)
    payload, alias = fields.get("data"), fields.get("input")
    if payload is not None and alias is not None and data(payload) != data(alias):
        raise ParamError("data and input differ")
    payload = alias if payload is None else payload
    max_fee, tip, has_price = _price(fields)
    _check_type(fields.get("type"), fields)
    call = Call(
        sender=_get(fields, "from", address, b"\x00" * _ADDRESS_BYTES),
        to=_get(fields, "to", address, b""),
        data=b"" if payload is None else data(payload),
        value=_get(fields, "value", quantity, 0),
        gas=_get(fields, "gas", quantity, None),
        max_fee_per_gas=max_fee,
        max_priority_fee_per_gas=tip,
        access_list=_get(fields, "accessList", _access_list, ()),
    )
    return CallRequest(
        call,
        has_sender=fields.get("from") is not None,
        has_price=has_price,
        nonce=_get(fields, "nonce", quantity, None),
        chain_id=_get(fields, "chainId", quantity, None),
    )


def _price(fields: dict[str, Json]) -> tuple[int, int, bool]:
    price = _get(fields, "gasPrice", quantity, None)
    max_fee = _get(fields, "maxFeePerGas", quantity, None)
    tip = _get(fields, "maxPriorityFeePerGas", quantity, None)
    if price is not None:
        if max_fee is not None or tip is not None:
            raise ParamError("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified")
        return price, price, True
    if max_fee is None:
        if tip:
            raise ParamError("maxPriorityFeePerGas needs maxFeePerGas")
        return 0, 0, False
    tip = tip or 0
    if tip > max_fee:
        raise ParamError(
            f"max priority fee per gas higher than max fee per gas: tip {tip}, max fee {max_fee}"
        )
    return max_fee, tip, True


def _check_type(value: Json, fields: dict[str, Json]) -> None:
    if value is None:
        return
    kind = quantity(value)
    if kind not in (0, 1, 2):
        raise ParamError(f"transaction type {kind} is not supported here")
    if kind == 0 and fields.get("accessList"):
        raise ParamError("a type 0 transaction has no access list")
    if kind != 2 and fields.get("maxFeePerGas") is not None:
        raise ParamError(f"a type {kind} transaction has gasPrice, not maxFeePerGas")


def _access_list(value: Json) -> tuple[tuple[bytes, tuple[int, ...]], ...]:
    if not isinstance(value, list) or len(value) > _MAX_ALTERNATIVES:
        raise ParamError(f"access list of at most {_MAX_ALTERNATIVES} entries expected")
    entries = []
    for item in value:
        fields = _object(item, frozenset({"address", "storageKeys"}))
        keys = fields.get("storageKeys", [])
        if not isinstance(keys, list) or len(keys) > _MAX_ALTERNATIVES:
            raise ParamError("storageKeys: list expected")
        entries.append(
            (address(fields.get("address")), tuple(int.from_bytes(word(key), "big") for key in keys))
        )
    return tuple(entries)


def log_request(value: Json) -> LogRequest:
    """Parse a log filter; unknown keys are refused."""
    fields = _object(value, _FILTER_KEYS)
    block_hash = _get(fields, "blockHash", word, None)
    if block_hash is not None and (fields.get("fromBlock") is not None or fields.get("toBlock") is not None):
        raise ParamError("cannot specify both blockHash and fromBlock/toBlock")
    return LogRequest(
        from_block=_get(fields, "fromBlock", block_ref, LATEST),
        to_block=_get(fields, "toBlock", block_ref, LATEST),
        block_hash=block_hash,
        addresses=_get(fields, "address", _addresses, ()),
        topics=_get(fields, "topics", _topics, ()),
    )


def _addresses(value: Json) -> tuple[bytes, ...]:
    items = value if isinstance(value, list) else [value]
    if len(items) > _MAX_ALTERNATIVES:
        raise ParamError(f"at most {_MAX_ALTERNATIVES} addresses")
    return tuple(address(item) for item in items)


def _topics(value: Json) -> tuple[tuple[bytes, ...], ...]:
    if not isinstance(value, list) or len(value) > MAX_TOPICS:
        raise ParamError(f"list of at most {MAX_TOPICS} topics expected")
    positions: list[tuple[bytes, ...]] = []
    for item in value:
        if item is None:
            positions.append(())
            continue
        accepted = item if isinstance(item, list) else [item]
        if len(accepted) > _MAX_ALTERNATIVES:
            raise ParamError(f"at most {_MAX_ALTERNATIVES} topics for one position")
        # A null among alternatives makes the whole position a wildcard.
        positions.append(() if None in accepted else tuple(word(topic) for topic in accepted))
    return tuple(positions)


def _object(value: Json, known: frozenset[str]) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise ParamError("object expected")
    unknown = sorted(set(value) - known)
    if unknown:
        raise ParamError(f"unsupported field {unknown[0][:64]!r}; known are {', '.join(sorted(known))}")
    return value


def _get(fields: dict[str, Json], name: str, parse: Callable[[Json], T], default: D) -> T | D:
    value = fields.get(name)
    if value is None:
        return default
    try:
        return parse(value)
    except ParamError as error:
        raise ParamError(f"{name}: {error}") from error


def _sized(value: Json, size: int, name: str) -> bytes:
    try:
        found = data(value)
    except ParamError as error:
        raise ParamError(f"{name} expected: {error}") from error
    if len(found) != size:
        raise ParamError(f"{name} of {size} bytes expected, got {len(found)}")
    return found


def _is_hex(digits: str) -> bool:
    # bytes.fromhex and int() also accept spaces, underscores and other alphabets' digits.
    return _HEX.fullmatch(digits) is not None
