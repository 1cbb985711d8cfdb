"""The door: raw bytes to a transaction that is sure to execute, or a clear refusal."""

from typing import Final

import rlp
from eth.abc import BlockHeaderAPI, SignedTransactionAPI, StateAPI
from eth.exceptions import PyEVMError
from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth_keys.exceptions import BadSignature
from eth_keys.exceptions import ValidationError as KeyValidationError
from eth_utils import ValidationError

from ledger.chain.errors import TransactionRefusedError

LEGACY_TYPE: Final = 0
BLOB_TYPE: Final = 3
SET_CODE_TYPE: Final = 4
MAX_INITCODE_BYTES: Final = 49_152
"""EIP-3860."""

_GAS_TX: Final = 21_000
_FLOOR_GAS_PER_TOKEN: Final = 10
_TOKENS_PER_NONZERO_BYTE: Final = 4
_LAST_TYPE_BYTE: Final = 0x7F
_ADDRESS_BYTES: Final = 20
_STRING_PREFIX: Final = 0x80
_LIST_PREFIX: Final = 0xC0
_SHORT_BYTES: Final = 55
_MAX_NESTING: Final = 8
"""The deepest valid transaction has 4: transaction, access list, entry, keys."""


def decode_transaction(raw: bytes, *, max_bytes: int, index: int = 0) -> SignedTransactionAPI:
    """Decode one raw transaction and recover its sender.

    Args:
        raw: A legacy transaction as RLP, or a typed one as type byte and RLP.
        max_bytes: Largest size that is looked at.
        index: Position in its batch, for the error.

    Returns:
        The transaction; its ``sender`` is computed and its encoding is canonical.

    Raises:
        TransactionRefusedError: Too large, undecodable, of a kind that this chain
            does not take, or with an impossible signature; fault of the caller.
    """
    if len(raw) > max_bytes:
        raise TransactionRefusedError(
            f"oversized data: transaction size {len(raw)}, limit {max_bytes}",
            index=index,
            hint="split the payload over several transactions",
        )
    if raw[:1] == bytes([BLOB_TYPE]):
        raise TransactionRefusedError("transaction type not supported: 3 (blob)", index=index)
    if _is_too_deep(raw):
        raise TransactionRefusedError("rlp: transaction cannot be decoded: nested too deeply", index=index)
    try:
        if raw and raw[0] <= _LAST_TYPE_BYTE:
            transaction = PragueTransactionBuilder.typed_transaction.decode(raw)
        else:
            transaction = PragueTransactionBuilder.legacy_signed.decode(raw)
        canonical = transaction.encode() == raw
        sender = transaction.sender
    except (rlp.RLPException, ValidationError, PyEVMError, BadSignature, KeyValidationError) as error:
        raise _undecodable(error, index) from error
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, RecursionError) as error:
        raise _undecodable(error, index) from error
    if not canonical or len(sender) != _ADDRESS_BYTES:
        raise TransactionRefusedError("rlp: encoding is not canonical", index=index)
    return transaction


def _is_too_deep(raw: bytes) -> bool:
    # The RLP decoder takes quadratic time for nested lists: a minute for a third of a megabyte.
    position = 1 if raw and raw[0] <= _LAST_TYPE_BYTE else 0
    ends: list[int] = []
    while position < len(raw):
        while ends and position >= ends[-1]:
            ends.pop()
        prefix = raw[position]
        position += 1
        if prefix < _STRING_PREFIX:
            continue
        base = _LIST_PREFIX if prefix >= _LIST_PREFIX else _STRING_PREFIX
        size = prefix - base
        if size > _SHORT_BYTES:
            length_bytes = size - _SHORT_BYTES
            size = int.from_bytes(raw[position : position + length_bytes], "big")
            position += length_bytes
        if base == _STRING_PREFIX:
            position += size
            continue
        ends.append(position + size)
        if len(ends) > _MAX_NESTING:
            return True
    return False


def _undecodable(error: Exception, index: int) -> TransactionRefusedError:
    # Messages of foreign decoders may repeat the whole input.
    detail = (str(error) or type(error).__name__)[:200]
    return TransactionRefusedError(
        f"rlp: transaction cannot be decoded: {detail}",
        index=index,
        hint="send the signed transaction as returned by the signer, unchanged",
    )


def transaction_type(transaction: SignedTransactionAPI) -> int:
    """Give the EIP-2718 type, 0 for legacy transactions."""
    return getattr(transaction, "type_id", None) or LEGACY_TYPE


def floor_gas(data: bytes) -> int:
    """Give the least gas that a transaction with this calldata must pay.

    21000 + 10 * (zero bytes + 4 * other bytes).

    Source:
        EIP-7623.
    """
    zeros = data.count(0)
    return _GAS_TX + _FLOOR_GAS_PER_TOKEN * (zeros + _TOKENS_PER_NONZERO_BYTE * (len(data) - zeros))


def least_gas(transaction: SignedTransactionAPI) -> int:
    """Give the gas below which a transaction is invalid: intrinsic cost or calldata floor."""
    return max(transaction.intrinsic_gas, floor_gas(transaction.data))


def admit(
    state: StateAPI, header: BlockHeaderAPI, transaction: SignedTransactionAPI, *, chain_id: int, index: int
) -> None:
    """Check a transaction against the state it would execute on.

    Args:
        state: State after the transactions before it in the block.
        header: Header under construction; ``gas_used`` covers those before it.
        transaction: A decoded transaction.
        chain_id: Chain id that it must be signed for.
        index: Position in its batch, for the error.

    Raises:
        TransactionRefusedError: It could not be part of a valid block here and now;
            worded as geth does, so that client libraries recognise it.
    """
    reason, hint = _objection(state, header, transaction, chain_id)
    if reason:
        raise TransactionRefusedError(reason, index=index, transaction_hash=transaction.hash, hint=hint)


def _objection(
    state: StateAPI, header: BlockHeaderAPI, transaction: SignedTransactionAPI, chain_id: int
) -> tuple[str, str]:
    signed_for = transaction.chain_id
    if signed_for is None:
        return (
            "only replay-protected (EIP-155) transactions allowed over RPC",
            f"sign with chain id {chain_id}",
        )
    if signed_for != chain_id:
        return (
            f"invalid chain id for signer: have {signed_for} want {chain_id}",
            f"sign with chain id {chain_id}",
        )
    for reason, hint in (
        _nonce_objection(state.get_nonce(transaction.sender), transaction.nonce),
        _gas_objection(header, transaction),
        _fee_objection(header.base_fee_per_gas or 0, transaction),
        _funds_objection(state.get_balance(transaction.sender), transaction),
    ):
        if reason:
            return reason, hint
    return "", ""


def _nonce_objection(expected: int, nonce: int) -> tuple[str, str]:
    if nonce < expected:
        return (
            f"nonce too low: next nonce {expected}, tx nonce {nonce}",
            "it may already be mined; ask for its receipt",
        )
    if nonce > expected:
        return (
            f"nonce too high: next nonce {expected}, tx nonce {nonce}",
            "this chain keeps no queue; send transactions in order of their nonces",
        )
    return "", ""


def _gas_objection(header: BlockHeaderAPI, transaction: SignedTransactionAPI) -> tuple[str, str]:
    left = header.gas_limit - header.gas_used
    if transaction.gas > header.gas_limit:
        return (
            f"exceeds block gas limit: have {transaction.gas}, limit {header.gas_limit}",
            "lower the gas limit",
        )
    if transaction.gas > left:
        return (
            f"gas limit reached: have {transaction.gas}, left in block {left}",
            "spread the batch over several blocks",
        )
    if transaction.to == b"" and len(transaction.data) > MAX_INITCODE_BYTES:
        return (
            f"max initcode size exceeded: code size {len(transaction.data)} limit {MAX_INITCODE_BYTES}",
            "split the contract",
        )
    needed = least_gas(transaction)
    if transaction.gas < needed:
        return (
            f"intrinsic gas too low: have {transaction.gas}, want {needed}",
            "let eth_estimateGas set the gas limit",
        )
    if transaction_type(transaction) == SET_CODE_TYPE and not transaction.authorization_list:
        return "EIP-7702 transaction with empty auth list", ""
    return "", ""


def _fee_objection(base_fee: int, transaction: SignedTransactionAPI) -> tuple[str, str]:
    cap, tip = transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas
    if tip > cap:
        return f"max priority fee per gas higher than max fee per gas: tip {tip}, max fee {cap}", ""
    if cap < base_fee:
        return (
            f"max fee per gas less than block base fee: maxFeePerGas: {cap}, baseFee: {base_fee}",
            "raise maxFeePerGas",
        )
    return "", ""


def _funds_objection(balance: int, transaction: SignedTransactionAPI) -> tuple[str, str]:
    cost = transaction.gas * transaction.max_fee_per_gas + transaction.value
    if balance < cost:
        return (
            f"insufficient funds for gas * price + value: balance {balance}, tx cost {cost},"
            f" overshot {cost - balance}",
            "fund the sender, or lower gas, price or value",
        )
    return "", ""
