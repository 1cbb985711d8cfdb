"""One chain, reached in-process or over JSON-RPC: its blocks, logs, calls and time.

What gets a transaction mined is in `ledger.sending`, what goes over the wire in `ledger.http_provider`.
Everything a node answers may be wrong; callers check what matters.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address
from web3 import Web3
from web3.exceptions import BlockNotFound
from web3.providers.base import BaseProvider
from web3.types import BlockData, LogReceipt, RPCEndpoint, TxData

from ledger.asking import NodeAnswerError, NodeUnavailableError, ask, said, with_fields
from ledger.errors import InputError
from ledger.fees import CONFIRMATIONS, LOCAL_CONFIRMATIONS, TIP_WEI, SendPolicy
from ledger.http_provider import ANSWER_TIMEOUT_S, HttpProvider
from ledger.sending import Sender, Sent

LOCAL_CHAIN_ID = 31337

_BLOCKS_REMEMBERED = 64

# How nodes say that a range of blocks, or the answer to it, is too large for one request.
_TOO_MUCH = (
    "range",
    "limit",
    "too many",
    "too large",
    "exceed",
    "more than",
    "response size",
    "timeout",
    "timed out",
)
_PAGE_BLOCKS = 512
_PAGE_BLOCKS_MAX = 1 << 17
_PAGE_LOGS = 512


class WrongChainError(InputError):
    """The node serves another chain than the one asked for."""

    code = "wrong-chain"


class Node:
    """A chain as the rest of the package sees it."""

    def __init__(
        self,
        provider: BaseProvider,
        *,
        expected_chain_id: int | None = None,
        policy: SendPolicy | None = None,
    ) -> None:
        """Wrap a provider and check which chain it serves.

        Args:
            provider: Any web3 provider.
            expected_chain_id: Refuse any other chain; None accepts all.
            policy: Fees, patience and confirmations of what is sent; None for the defaults.

        Raises:
            NodeUnavailableError: Nothing answers there.
            WrongChainError: It answers for another chain.
        """
        self.web3 = Web3(provider)
        self.chain_id: int = ask(lambda: self.web3.eth.chain_id, "ask for the chain id")
        if expected_chain_id is not None and self.chain_id != expected_chain_id:
            raise WrongChainError(
                f"expected chain id {expected_chain_id}, the node serves {self.chain_id}",
                hint="check --rpc-url; a run, a signature and a ledger belong to one chain",
            )
        self.policy = policy or SendPolicy()
        self._built_on: dict[int, bytes] = {}
        self._lost: set[int] = set()

    @classmethod
    def connect(
        cls,
        rpc_url: str,
        *,
        expected_chain_id: int | None = None,
        policy: SendPolicy | None = None,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> "Node":
        """Connect over HTTP.

        Args:
            rpc_url: An http(s) URL.
            expected_chain_id: As in the constructor.
            policy: As in the constructor.
            answer_timeout_s: Most seconds for one question and its whole answer.

        Raises:
            InputError: The URL is not an http(s) one.
            NodeUnavailableError, WrongChainError: As in the constructor.
        """
        if not rpc_url.startswith(("http://", "https://")):
            raise InputError(f"not an http(s) URL: {rpc_url!r}", hint="for instance http://127.0.0.1:8545")
        provider = HttpProvider(rpc_url, answer_timeout_s=answer_timeout_s)
        return cls(provider, expected_chain_id=expected_chain_id, policy=policy)

    @property
    def confirmations(self) -> int:
        """Blocks on top of something before it is built upon."""
        if self.policy.confirmations is not None:
            return self.policy.confirmations
        return LOCAL_CONFIRMATIONS if self.is_local else CONFIRMATIONS

    @property
    def is_local(self) -> bool:
        """True on the local-chain id, where the well-known test keys may be used."""
        return self.chain_id == LOCAL_CHAIN_ID

    def client_version(self) -> str:
        """Give what the node says it is."""
        return str(ask(lambda: self.web3.client_version, "ask for the client version"))

    def block_number(self) -> int:
        """Give the number of the newest block."""
        return ask(lambda: int(self.web3.eth.block_number), "ask for the block number")

    def build_on(self, number: int, block_hash: bytes) -> None:
        """Remember a block that what follows rests on: whether it is still there, `lost_block` says."""
        if self._built_on.pop(number, block_hash) != block_hash:
            self._lost.add(number)
        self._built_on[number] = block_hash
        while len(self._built_on) > _BLOCKS_REMEMBERED:
            del self._built_on[next(iter(self._built_on))]

    def lost_block(self) -> int | None:
        """Tell whether a block that was built on is gone: the chain was reorganised.

        Those that are gone are forgotten.

        Returns:
            Number of the first of them; None if all are there.

        Raises:
            NodeUnavailableError: The node did not answer.
        """
        head = self.block_number()
        for number, expected in list(self._built_on.items()):
            if number > head or bytes(self.block(number)["hash"]) != expected:
                del self._built_on[number]
                self._lost.add(number)
        first = min(self._lost, default=None)
        self._lost.clear()
        return first

    def block(self, number: int | None = None) -> BlockData:
        """Give a block, the newest by default, with its hash and without its transactions' bodies."""
        wanted: Any = "latest" if number is None else number
        return ask(lambda: _whole(self.web3.eth.get_block(wanted)), f"read block {wanted}")

    def timestamp(self) -> int:
        """Give the newest block's time in Unix seconds."""
        return int(self.block()["timestamp"])

    def next_timestamp(self) -> int:
        """Give the time, in Unix seconds, that a block mined now would have.

        A chain that mines on demand may have been idle for hours: a deadline that is counted from its newest
        block would be over before it is set.
        """

        def question() -> int:
            try:
                return int(self.web3.eth.get_block("pending")["timestamp"])
            except BlockNotFound:
                return 0  # public nodes need not have one; there the newest block is never old

        return max(ask(question, "read the pending block"), self.timestamp())

    def code(self, address: str) -> bytes:
        """Give the code at an address; empty for an account without code."""
        return bytes(ask(lambda: self.web3.eth.get_code(_address(address)), f"read code at {address}"))

    def request(self, method: str, *parameters: object) -> Any:
        """Ask for something that has no method here; give the JSON as it came.

        Raises:
            NodeUnavailableError: The node did not answer.
            NodeAnswerError: It refused.
        """
        response = ask(
            lambda: dict(self.web3.provider.make_request(RPCEndpoint(method), list(parameters))), method
        )
        if "error" in response:
            raise NodeAnswerError(f"{method}: {said(response['error'])}")
        return response.get("result")

    def balance_wei(self, address: str) -> int:
        """Give an account's balance."""
        return ask(lambda: int(self.web3.eth.get_balance(_address(address))), "read a balance")

    def transfer(self, account: LocalAccount, recipient: str, value_wei: int) -> Sent:
        """Send ether.

        Raises:
            NodeUnavailableError: The node did not answer, or did not mine in time.
        """
        return Sender(self, account).transfer(_address(recipient), value_wei)

    def transaction(self, transaction_hash: bytes) -> TxData:
        """Give a transaction by hash."""
        return ask(
            lambda: with_fields(self.web3.eth.get_transaction(cast(Any, transaction_hash)), "input", "from"),
            "read a transaction",
        )

    def gas_used(self, transaction_hash: bytes) -> int:
        """Give the gas that a mined transaction used, whole transaction."""
        return ask(
            lambda: int(self.web3.eth.get_transaction_receipt(cast(Any, transaction_hash))["gasUsed"]),
            "read a receipt",
        )

    def nonce(self, address: str) -> int:
        """Give the number of an account's mined transactions: the nonce of its next one."""
        return ask(lambda: int(self.web3.eth.get_transaction_count(_address(address))), "ask for the nonce")

    def logs(
        self,
        address: str,
        first_block: int = 0,
        last_block: int | None = None,
        topics: Sequence[bytes | None] = (),
    ) -> list[LogReceipt]:
        """Give all logs of one contract, oldest first; as log_pages(), in one list."""
        return [log for _, page in self.log_pages(address, first_block, last_block, topics) for log in page]

    def log_pages(
        self,
        address: str,
        first_block: int = 0,
        last_block: int | None = None,
        topics: Sequence[bytes | None] = (),
    ) -> Iterator[tuple[int, list[LogReceipt]]]:
        """Give the logs of one contract, oldest first, a range of blocks at a time.

        A range grows while its answers are small. A node that finds a range too large is asked for half of
        it, and never for that much again. The address is checked on every log again: a node that ignores the
        filter must not slip in another contract's events.

        Args:
            address: The contract.
            first_block: First block to look into.
            last_block: Last one; None for the newest.
            topics: What the first topics must be, 32 bytes each; None for any.

        Yields:
            The last block of a range, and the logs in it.

        Raises:
            NodeUnavailableError: The node did not answer.
            NodeAnswerError: It refused even one block, or its answer makes no sense.
        """
        wanted = _address(address)
        last = self.block_number() if last_block is None else last_block
        span, most = _PAGE_BLOCKS, _PAGE_BLOCKS_MAX
        while first_block <= last:
            until = min(last, first_block + span - 1)
            try:
                page = ask(partial(self._logs, wanted, first_block, until, topics), f"read logs of {address}")
            except NodeAnswerError as error:
                if until == first_block or not _is_too_much(error):
                    raise
                span = most = (until - first_block + 1) // 2
                continue
            yield until, page
            first_block = until + 1
            if len(page) > _PAGE_LOGS:
                span = max(1, span // 2)
            elif 2 * len(page) <= _PAGE_LOGS:
                span = min(2 * span, most)

    def _logs(
        self, wanted: str, first_block: int, last_block: int, topics: Sequence[bytes | None]
    ) -> list[LogReceipt]:
        asked: dict[str, Any] = {"address": wanted, "fromBlock": first_block, "toBlock": last_block}
        if topics:
            asked["topics"] = [None if topic is None else "0x" + topic.hex() for topic in topics]
        found = self.web3.eth.get_logs(cast(Any, asked))
        mine = [log for log in found if log["address"] == wanted]
        return [with_fields(log, "topics", "data", "transactionHash", "blockNumber") for log in mine]

    def call(self, function: Any, *, sender: str | None = None) -> Any:
        """Evaluate a contract function without a transaction, on the newest state.

        Raises:
            RevertedError: The contract refused.
            NodeUnavailableError: The node did not answer.
        """
        parameters = {"from": sender} if sender else {}
        return ask(lambda: function.call(parameters), f"call {function.fn_name}")

    def send(
        self,
        account: LocalAccount,
        function: Any,
        *,
        local_gas: int | None = None,
        value_wei: int = 0,
        is_wanted: Callable[[], bool] | None = None,
    ) -> Sent:
        """Call a contract function in a transaction and wait until it is mined.

        A call with the same arguments goes first, so that a refusal is found
        before anything is paid. A lost connection is tried again with the same
        signed bytes, so nothing can be sent twice.

        Args:
            account: Who signs and pays.
            function: Bound contract function.
            local_gas: Gas limit on a local chain, where gas has one meaning and an estimate costs
                twenty executions; elsewhere, and if None, it is estimated.
            value_wei: Ether to send along, in wei.
            is_wanted: Asked before the fee is raised; if not, the transaction gives way to nothing.

        Returns:
            The mined transaction.

        Raises:
            RevertedError: The contract refused.
            WithdrawnError: It was not wanted any more, and was not mined.
            NodeUnavailableError: The node did not answer, or did not mine in time.
        """
        data = function._encode_transaction_data()
        return self.send_data(
            account,
            function.address,
            data,
            function.fn_name,
            local_gas=local_gas,
            value_wei=value_wei,
            is_wanted=is_wanted,
        )

    def send_data(
        self,
        account: LocalAccount,
        to: str,
        data: bytes,
        action: str,
        *,
        local_gas: int | None = None,
        value_wei: int = 0,
        is_wanted: Callable[[], bool] | None = None,
    ) -> Sent:
        """Send calldata that is encoded already; see :meth:`send`.

        Args:
            account: Who signs and pays.
            to: Checksummed address of a contract.
            data: Selector and arguments.
            action: What it does, for messages.
            local_gas: As in :meth:`send`.
            value_wei: Ether to send along, in wei.
            is_wanted: As in :meth:`send`.

        Returns:
            The mined transaction.

        Raises:
            RevertedError: The contract refused.
            WithdrawnError: It was not wanted any more, and was not mined.
            NodeUnavailableError: The node did not answer, or did not mine in time.
        """
        return Sender(self, account).send(
            to, data, action, local_gas=local_gas, value_wei=value_wei, is_wanted=is_wanted
        )

    def estimate(self, sender: str, to: str, data: bytes, value_wei: int = 0) -> tuple[int, int]:
        """Estimate what a transaction would cost if it were sent now.

        Args:
            sender: Who would send it.
            to: Checksummed address of a contract.
            data: Selector and arguments.
            value_wei: Ether to send along, in wei.

        Returns:
            Gas, and wei for each gas.

        Raises:
            RevertedError: The contract would refuse.
            NodeUnavailableError: The node did not answer.
        """
        fields: Any = {"from": sender, "to": to, "data": data, "value": value_wei}
        gas = ask(lambda: int(self.web3.eth.estimate_gas(fields, "pending")), "estimate gas")
        return gas, self.gas_price_wei()

    def gas_price_wei(self) -> int:
        """Give what one gas costs in the next block, about: base fee and our tip, in wei."""
        return int(self.block().get("baseFeePerGas", 0)) + TIP_WEI

    def deploy(
        self, account: LocalAccount, abi: Any, bytecode: bytes, *arguments: object
    ) -> tuple[str, Sent]:
        """Create a contract.

        Returns:
            Its checksummed address and the transaction.
        """
        constructor = self.web3.eth.contract(abi=abi, bytecode=bytecode).constructor(*arguments)
        init_code = bytes.fromhex(constructor.data_in_transaction.removeprefix("0x"))
        return Sender(self, account).create(init_code)

    def take_up(self, account: LocalAccount, *, repeats: bool = True) -> int:
        """See to it that nothing hangs in the mempool that this account has sent before.

        To be called when work is taken up, before the chain's state is read: what a killed process has sent
        may still be mined, or hang below the base fee for ever and everything after it with it. It gets its
        time; then its fee is raised, with the same content if the node shows it, else by a transaction
        of nothing to oneself in its place. What is missing then is seen on the chain and done again.

        Args:
            account: Whose transactions.
            repeats: Whether they may be sent again. Not where what was true when they were signed may be
                false when they are mined: then they give way to nothing at once.

        Returns:
            How many were waiting.

        Raises:
            NodeUnavailableError: They could not be got out of the way below the cap.
        """
        return Sender(self, account).take_up(repeats=repeats)

    def wait_for_block(self, number: int, *, timeout_s: float = 300.0) -> None:
        """Wait until a block exists; on a local chain, mine up to it.

        Raises:
            NodeUnavailableError: It did not come in time.
        """
        give_up = time.monotonic() + timeout_s
        while self.block_number() < number:
            if self.is_local:
                self._local("evm_mine")
                continue
            if time.monotonic() > give_up:
                raise NodeUnavailableError(f"block {number} did not come within {timeout_s:.0f} s")
            time.sleep(0.5)

    def wait_until(self, timestamp: int, *, timeout_s: float = 86_400.0) -> None:
        """Wait until a block's time has reached a Unix second; on a local chain, go there at once."""
        if self.timestamp() >= timestamp:
            return
        if self.is_local:
            self._local("evm_setNextBlockTimestamp", timestamp)
            self._local("evm_mine")
            return
        give_up = time.monotonic() + timeout_s
        while self.timestamp() < timestamp:
            if time.monotonic() > give_up:
                raise NodeUnavailableError(f"no block reached time {timestamp} within {timeout_s:.0f} s")
            time.sleep(1.0)

    def _local(self, method: str, *parameters: object) -> None:
        try:
            self.request(method, *parameters)
        except NodeAnswerError as error:
            raise NodeAnswerError(
                str(error),
                hint="a chain with id 31337 is expected to offer the evm_* methods of local chains",
            ) from error


def _is_too_much(error: NodeAnswerError) -> bool:
    """Tell whether a node refused a range of blocks for its size; there is no code that all nodes use."""
    text = str(error).lower()
    return any(sign in text for sign in _TOO_MUCH)


def _whole(block: BlockData) -> BlockData:
    """Give a block that has what is read of it, and is not the pending one."""
    has_numbers = isinstance(block["number"], int) and isinstance(block["timestamp"], int)
    if not has_numbers or len(bytes(block["hash"])) != 32:
        raise ValueError("the block has no number, time or hash")
    return block


def _address(value: str) -> Any:
    try:
        return to_checksum_address(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"not an address: {value!r}") from error
