"""Views of contracts on a proven part of a chain's state.

The part is a set of byte strings by their keccak: nodes of the state trie, nodes of contracts' storage tries,
and code. Starting from the state root in a block's header nothing else can be read, so what a view answers is
proven: a false node is one that is not found.
"""

from collections.abc import Callable, Mapping

from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.exceptions import Revert, StateRootNotFound
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague.state import PragueState
from eth.vm.interrupt import EVMMissingData
from eth.vm.message import Message
from eth.vm.transaction_context import BaseTransactionContext
from eth_typing import Address, BlockNumber, Hash32

from trainer.bundle.errors import BundleError

CALL_GAS = 200_000_000

Fetch = Callable[[bytes, int | None], None]
"""Told of an account, and of a slot of its storage or None, before they are read."""


class RevertedViewError(Exception):
    """A view reverted.

    Attributes:
        data: What it reverted with.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__("0x" + data.hex())
        self.data = data


class _State(PragueState):
    """A state that tells what is read."""

    fetch: Fetch = staticmethod(lambda _address, _slot: None)

    def set_system_contracts(self) -> None:
        """Leave out what only the making of blocks needs."""

    def get_storage(self, address: Address, slot: int, from_journal: bool = True) -> int:
        self.fetch(address, slot)
        return super().get_storage(address, slot, from_journal)

    def get_code(self, address: Address) -> bytes:
        self.fetch(address, None)
        return super().get_code(address)

    def get_code_hash(self, address: Address) -> Hash32:
        self.fetch(address, None)
        return super().get_code_hash(address)

    def get_balance(self, address: Address) -> int:
        self.fetch(address, None)
        return super().get_balance(address)

    def get_nonce(self, address: Address) -> int:
        self.fetch(address, None)
        return super().get_nonce(address)

    def account_exists(self, address: Address) -> bool:
        self.fetch(address, None)
        return super().account_exists(address)

    def account_is_empty(self, address: Address) -> bool:
        self.fetch(address, None)
        return super().account_is_empty(address)

    def touch_account(self, address: Address) -> None:
        self.fetch(address, None)
        super().touch_account(address)


class ProvenState:
    """The state after one block, as far as its proven part goes."""

    def __init__(
        self,
        nodes: dict[bytes, bytes],
        header: Mapping[str, str],
        chain_id: int,
        fetch: Fetch | None = None,
    ) -> None:
        """Bind to a block.

        Args:
            nodes: The proven part, by keccak.
            header: The block's header, as JSON-RPC writes it.
            chain_id: The chain.
            fetch: Adds what is about to be read to `nodes`; None where nothing can be added.
        """
        self._nodes = nodes
        self._root = Hash32(bytes.fromhex(header["stateRoot"][2:]))
        self._fetch = fetch
        self._context = ExecutionContext(
            coinbase=Address(bytes.fromhex(header["miner"][2:])),
            timestamp=int(header["timestamp"], 16),
            block_number=BlockNumber(int(header["number"], 16)),
            difficulty=int(header["difficulty"], 16),
            mix_hash=Hash32(bytes.fromhex(header["mixHash"][2:])),
            gas_limit=int(header["gasLimit"], 16),
            prev_hashes=(),
            chain_id=chain_id,
            base_fee_per_gas=int(header.get("baseFeePerGas", "0x0"), 16),
            excess_blob_gas=0,
        )

    def code(self, address: bytes) -> bytes:
        """Give the code of an account.

        Raises:
            BundleError: The proven part does not tell.
        """
        return self._within(lambda state: bytes(state.get_code(Address(address))))

    def call(self, to: bytes, data: bytes, sender: bytes = bytes(20)) -> bytes:
        """Evaluate a view under the rules of Prague.

        Raises:
            BundleError: It reads what is not in the proven part.
            RevertedViewError: It reverted.
        """

        def run(state: PragueState) -> bytes:
            message = Message(
                gas=CALL_GAS,
                to=Address(to),
                sender=Address(sender),
                value=0,
                data=data,
                code=state.get_code(Address(to)),
                is_static=True,
            )
            context = BaseTransactionContext(gas_price=0, origin=Address(sender))
            computation = state.computation_class.apply_message(state, message, context)
            if computation.is_error:
                if isinstance(computation.error, EVMMissingData):
                    raise computation.error
                is_revert = isinstance(computation.error, Revert)
                raise RevertedViewError(bytes(computation.output) if is_revert else b"")
            return bytes(computation.output)

        return self._within(run)

    def _within(self, question: Callable[[PragueState], bytes]) -> bytes:
        state = _State(AtomicDB(MemoryDB(self._nodes)), self._context, self._root)
        if self._fetch is not None:
            state.fetch = self._fetch
        try:
            return question(state)
        except (EVMMissingData, StateRootNotFound, KeyError) as error:
            raise BundleError("state", f"what a view reads is not proven: {error}") from error
