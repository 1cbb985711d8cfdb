"""Calls that are executed and forgotten: eth_call and eth_estimateGas."""

from dataclasses import dataclass
from typing import Final, cast

from eth.abc import BlockHeaderAPI, ComputationAPI, SignedTransactionAPI, StateAPI
from eth.exceptions import Revert
from eth.vm.forks.berlin.transactions import calculate_txn_intrinsic_gas_berlin
from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError
from eth_typing import Address
from eth_utils import ValidationError

from ledger.chain.chain import EmbeddedChain
from ledger.chain.errors import CallRefusedError, CallRevertedError
from ledger.chain.transactions import MAX_INITCODE_BYTES, floor_gas

DEFAULT_GAS_CAP: Final = 100_000_000
"""What eth_call may use where the caller names no limit."""

_ERROR_SELECTOR: Final = bytes.fromhex("08c379a0")
_PANIC_SELECTOR: Final = bytes.fromhex("4e487b71")
_PANICS: Final = {
    0x00: "generic panic",
    0x01: "assert(false)",
    0x11: "arithmetic underflow or overflow",
    0x12: "division or modulo by zero",
    0x21: "enum overflow",
    0x22: "invalid encoded storage byte array accessed",
    0x31: "out-of-bounds array access; popping on an empty array",
    0x32: "out-of-bounds access of an array or bytesN",
    0x41: "out of memory",
    0x51: "uninitialized function",
}
_CALL_STIPEND: Final = 2_300


@dataclass(frozen=True, slots=True)
class Call:
    """A transaction that nobody signed.

    Attributes:
        sender: Who appears to send it, 20 bytes.
        to: Contract or account; empty to create a contract.
        data: Calldata, or init code.
        value: Wei to send along.
        gas: Gas limit, or None for the cap.
        max_fee_per_gas: Wei; 0 runs it free of charge, with a base fee of 0.
        max_priority_fee_per_gas: Wei.
        access_list: EIP-2930 addresses and slots that start warm.
    """

    sender: bytes = b"\x00" * 20
    to: bytes = b""
    data: bytes = b""
    value: int = 0
    gas: int | None = None
    max_fee_per_gas: int = 0
    max_priority_fee_per_gas: int = 0
    access_list: tuple[tuple[bytes, tuple[int, ...]], ...] = ()


class _CallTransaction:
    """Just enough of a signed transaction for py-evm's executor."""

    type_id = 2
    y_parity = 0
    r = 1
    s = 1

    def __init__(self, call: Call, nonce: int, gas: int) -> None:
        self.sender = call.sender
        self.to = call.to
        self.data = call.data
        self.value = call.value
        self.max_fee_per_gas = call.max_fee_per_gas
        self.max_priority_fee_per_gas = call.max_priority_fee_per_gas
        self.access_list = call.access_list
        self.nonce = nonce
        self.gas = gas
        self.intrinsic_gas = intrinsic_gas(call)

    def validate(self) -> None:
        """Nothing to do: there is no signature, and the gas was checked before."""


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a simulated call did.

    Attributes:
        output: What it returned, or the code of a new contract.
        gas_used: What a transaction would have paid for.
    """

    output: bytes
    gas_used: int


def intrinsic_gas(call: Call) -> int:
    """Give the gas that a call costs before anything runs."""
    return int(calculate_txn_intrinsic_gas_berlin(cast(SignedTransactionAPI, call)))


def run_call(
    chain: EmbeddedChain, header: BlockHeaderAPI, call: Call, *, gas_cap: int = DEFAULT_GAS_CAP
) -> CallResult:
    """Execute a call on the state and in the context of a block.

    Args:
        chain: The chain.
        header: The block; its base fee counts only if the call names a price.
        call: What to execute.
        gas_cap: Most gas to use, whatever the call asks for.

    Returns:
        Output and gas used; the state is as before.

    Raises:
        CallRefusedError: The sender cannot pay, or the gas is below the minimum.
        CallRevertedError: The code reverted or failed.
    """
    with chain.reading():
        gas = gas_cap if call.gas is None else min(call.gas, gas_cap)
        return _run(chain, header, call, gas)


def estimate_gas(
    chain: EmbeddedChain, header: BlockHeaderAPI, call: Call, *, gas_cap: int | None = None
) -> int:
    """Give the smallest gas limit with which a transaction succeeds.

    Gas used is not enough: a call passes on at most 63/64 of what is left, refunds
    come only at the end, and contracts may read gasleft(). So the limit is searched
    by bisection, on the state and in the context of the given block.

    Args:
        chain: The chain.
        header: The block.
        call: The transaction; its ``gas``, if any, is the most that is tried.
        gas_cap: Most gas to try; the block's gas limit if None.

    Returns:
        The exact minimum, including the calldata floor of EIP-7623.

    Raises:
        CallRefusedError: The sender cannot pay, or the cap is below the minimum.
        CallRevertedError: The transaction fails with the cap, too.
    """
    with chain.reading():
        highest = min(gas_cap or header.gas_limit, header.gas_limit)
        highest = highest if call.gas is None else min(highest, call.gas)
        if call.max_fee_per_gas:
            # As geth: try no more than the sender can pay for.
            spendable = max(0, chain.state_at(header).get_balance(Address(call.sender)) - call.value)
            highest = min(highest, spendable // call.max_fee_per_gas)
        lowest = max(intrinsic_gas(call), floor_gas(call.data))
        if highest < lowest:
            raise CallRefusedError(f"gas required exceeds allowance ({highest})")
        used = _run(chain, header, call, highest).gas_used
        # Most transactions need what they use, or 1/63 more at each level of calls.
        low, high = max(lowest, used) - 1, highest
        guess = min(highest, (used + _CALL_STIPEND) * 64 // 63)
        while high - low > 1:
            middle = guess if low < guess < high else (low + high) // 2
            guess = low
            if _succeeds(chain, header, call, middle):
                high = middle
            else:
                low = middle
        return high


def _succeeds(chain: EmbeddedChain, header: BlockHeaderAPI, call: Call, gas: int) -> bool:
    try:
        _run(chain, header, call, gas)
    except CallRevertedError:
        return False
    return True


def _run(chain: EmbeddedChain, header: BlockHeaderAPI, call: Call, gas: int) -> CallResult:
    least = max(intrinsic_gas(call), floor_gas(call.data))
    if gas < least:
        raise CallRefusedError(f"intrinsic gas too low: have {gas}, want {least}")
    if not call.to and len(call.data) > MAX_INITCODE_BYTES:
        raise CallRefusedError(
            f"max initcode size exceeded: code size {len(call.data)} limit {MAX_INITCODE_BYTES}"
        )
    # A call without a price must not fail for want of the base fee.
    vm = chain.vm_at(header if call.max_fee_per_gas else header.copy(base_fee_per_gas=0))
    state = vm.state
    _check_funds(state, call, gas)
    transaction = cast(
        SignedTransactionAPI, _CallTransaction(call, state.get_nonce(Address(call.sender)), gas)
    )
    try:
        # The machine is thrown away afterwards, and the store refuses writes, so nothing needs undoing.
        computation = state.get_transaction_executor()(transaction)
    except ValidationError as error:
        raise CallRefusedError(str(error)[:200]) from error
    if computation.is_error:
        raise _reverted(computation)
    output = computation.output if call.to else state.get_code(computation.msg.storage_address)
    return CallResult(bytes(output), int(vm.finalize_gas_used(transaction, computation)))


def _check_funds(state: StateAPI, call: Call, gas: int) -> None:
    balance = state.get_balance(Address(call.sender))
    cost = gas * call.max_fee_per_gas + call.value
    if balance < cost:
        raise CallRefusedError(
            f"insufficient funds for gas * price + value: balance {balance}, tx cost {cost},"
            f" overshot {cost - balance}"
        )


def _reverted(computation: ComputationAPI) -> CallRevertedError:
    if isinstance(computation.error, Revert):
        output = bytes(computation.output)
        return CallRevertedError(revert_message(output), data=output, is_revert=True)
    name = type(computation.error).__name__
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
    detail = str(computation.error)[:200]
    return CallRevertedError(f"{words}: {detail}" if detail else words, data=b"", is_revert=False)


def revert_message(data: bytes) -> str:
    """Put revert data into words, as geth does.

    Args:
        data: What the contract reverted with.

    Returns:
        "execution reverted", with the reason where it is one of the two that
        Solidity has built in. Custom errors are for the caller to decode.
    """
    if data[:4] == _ERROR_SELECTOR:
        try:
            (reason,) = abi_decode(["string"], data[4:])
        except (DecodingError, UnicodeDecodeError, OverflowError):
            return "execution reverted"
        return f"execution reverted: {reason}"
    if data[:4] == _PANIC_SELECTOR and len(data) == 36:
        code = int.from_bytes(data[4:], "big")
        return f"execution reverted: panic: {_PANICS.get(code, 'unknown panic code')} (0x{code:02x})"
    return "execution reverted"
