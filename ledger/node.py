"""One chain, reached in-process or over JSON-RPC, and transactions on it.

The only place that talks to web3. Everything a node answers may be wrong;
callers check what matters.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import requests
from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address
from web3 import Web3
from web3.exceptions import (
    BlockNotFound,
    ContractLogicError,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.providers.base import BaseProvider
from web3.types import BlockData, LogReceipt, RPCEndpoint, TxData, TxReceipt

from ledger.errors import EnvironmentFault, InputError
from ledger.fees import CONFIRMATIONS, GWEI, LOCAL_CONFIRMATIONS, TIP_WEI, Fee, SendPolicy
from ledger.reverts import RevertedError, decode_revert

LOCAL_CHAIN_ID = 31337

_T = TypeVar("_T")
_RETRIES = 4
_DEPLOY_GAS = 15_000_000
_TRANSFER_GAS = 21_000
_POLL_S, _POLL_MAX_S = 0.05, 1.0
# Looks for a receipt after the nonce is used, before somebody else is said to have used it.
_LATE_RECEIPTS = 20
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


class NodeUnavailableError(EnvironmentFault):
    """The node cannot be reached or stopped answering; may be retried."""

    code = "node-unavailable"


class NodeAnswerError(EnvironmentFault):
    """The node answered something that cannot be right."""

    code = "node-answer"


class WithdrawnError(EnvironmentFault):
    """A transaction was not mined in time, was not wanted any more, and has been replaced by nothing."""

    code = "withdrawn"


class WrongChainError(InputError):
    """The node serves another chain than the one asked for."""

    code = "wrong-chain"


@dataclass(frozen=True, slots=True)
class Sent:
    """A mined transaction.

    Attributes:
        hash: Transaction hash, 32 bytes.
        block: Number of the block that holds it.
        gas: Gas that it used, whole transaction.
        logs: Its logs, in order.
        block_hash: Hash of that block, 32 bytes; empty if nobody asked the node.
    """

    hash: bytes
    block: int
    gas: int
    logs: Sequence[LogReceipt]
    block_hash: bytes = b""


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
        self.chain_id: int = self._ask(lambda: self.web3.eth.chain_id, "ask for the chain id")
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
        cls, rpc_url: str, *, expected_chain_id: int | None = None, policy: SendPolicy | None = None
    ) -> "Node":
        """Connect over HTTP.

        Raises:
            InputError: The URL is not an http(s) one.
            NodeUnavailableError, WrongChainError: As in the constructor.
        """
        if not rpc_url.startswith(("http://", "https://")):
            raise InputError(f"not an http(s) URL: {rpc_url!r}", hint="for instance http://127.0.0.1:8545")
        provider = Web3.HTTPProvider(
            rpc_url, request_kwargs={"timeout": 60}, exception_retry_configuration=None
        )
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
        return str(self._ask(lambda: self.web3.client_version, "ask for the client version"))

    def block_number(self) -> int:
        """Give the number of the newest block."""
        return self._ask(lambda: int(self.web3.eth.block_number), "ask for the block number")

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
            if number > head or bytes(self.block(number).get("hash") or b"") != expected:
                del self._built_on[number]
                self._lost.add(number)
        first = min(self._lost, default=None)
        self._lost.clear()
        return first

    def block(self, number: int | None = None) -> BlockData:
        """Give a block, the newest by default, without its transactions' bodies."""
        return self._ask(
            lambda: _with(
                self.web3.eth.get_block("latest" if number is None else number), "number", "timestamp"
            ),
            f"read block {number}",
        )

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

        return max(self._ask(question, "read the pending block"), self.timestamp())

    def code(self, address: str) -> bytes:
        """Give the code at an address; empty for an account without code."""
        return bytes(self._ask(lambda: self.web3.eth.get_code(_address(address)), f"read code at {address}"))

    def request(self, method: str, *parameters: object) -> Any:
        """Ask for something that has no method here; give the JSON as it came.

        Raises:
            NodeUnavailableError: The node did not answer.
            NodeAnswerError: It refused.
        """
        response = self._ask(
            lambda: self.web3.provider.make_request(RPCEndpoint(method), list(parameters)), method
        )
        if "error" in response:
            raise NodeAnswerError(f"{method}: {response['error']}")
        return response.get("result")

    def balance_wei(self, address: str) -> int:
        """Give an account's balance."""
        return self._ask(lambda: int(self.web3.eth.get_balance(_address(address))), "read a balance")

    def transfer(self, account: LocalAccount, recipient: str, value_wei: int) -> Sent:
        """Send ether.

        Raises:
            NodeUnavailableError: The node did not answer, or did not mine in time.
        """
        fields = {"to": _address(recipient), "data": b"", "value": value_wei}
        return self._sent(self._transact(account, fields, "transfer", _TRANSFER_GAS))

    def transaction(self, transaction_hash: bytes) -> TxData:
        """Give a transaction by hash."""
        return self._ask(
            lambda: _with(self.web3.eth.get_transaction(cast(Any, transaction_hash)), "input", "from"),
            "read a transaction",
        )

    def gas_used(self, transaction_hash: bytes) -> int:
        """Give the gas that a mined transaction used, whole transaction."""
        return self._ask(
            lambda: int(self.web3.eth.get_transaction_receipt(cast(Any, transaction_hash))["gasUsed"]),
            "read a receipt",
        )

    def nonce(self, address: str) -> int:
        """Give the number of an account's mined transactions: the nonce of its next one."""
        return self._ask(
            lambda: int(self.web3.eth.get_transaction_count(_address(address))), "ask for the nonce"
        )

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
                page = self._ask(
                    partial(self._logs, wanted, first_block, until, topics), f"read logs of {address}"
                )
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
        return [_with(log, "topics", "data", "transactionHash", "blockNumber") for log in mine]

    def call(self, function: Any, *, sender: str | None = None) -> Any:
        """Evaluate a contract function without a transaction, on the newest state.

        Raises:
            RevertedError: The contract refused.
            NodeUnavailableError: The node did not answer.
        """
        parameters = {"from": sender} if sender else {}
        return self._ask(lambda: function.call(parameters), f"call {function.fn_name}")

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
        fields = {"to": to, "data": data, "value": value_wei}
        return self._sent(self._transact(account, fields, action, local_gas, is_wanted))

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
        gas = self._ask(lambda: int(self.web3.eth.estimate_gas(fields, "pending")), "estimate gas")
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
        receipt = self._transact(account, {"data": init_code, "value": 0}, "create contract", _DEPLOY_GAS)
        created = receipt["contractAddress"]
        if created is None:
            raise NodeAnswerError("the node's receipt names no created contract")
        return to_checksum_address(created), self._sent(receipt)

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
        first = self.nonce(account.address)
        last = self._next_nonce(account)
        for nonce in range(first, last):
            self._clear(account, nonce, repeats=repeats)
        return max(0, last - first)

    def _transact(
        self,
        account: LocalAccount,
        fields: dict[str, Any],
        action: str,
        local_gas: int | None,
        is_wanted: Callable[[], bool] | None = None,
    ) -> TxReceipt:
        for attempt in range(_RETRIES):
            if attempt and is_wanted is not None and not is_wanted():
                raise WithdrawnError(f"{action}: something else was mined in its place, and it is not wanted")
            transaction = self._prepared(account, fields, action, local_gas)
            versions = [self._sign_and_broadcast(account, transaction, action)]
            receipt = self._mined(account, transaction, versions, action, is_wanted)
            if receipt is None:
                continue  # another sender of this key has used the nonce: none of ours can be mined any more
            if receipt["status"] != 1:
                raise self._explain_failure(action, transaction, receipt)
            return receipt
        raise NodeUnavailableError(
            f"{action}: other transactions of {account.address} were mined in its place",
            hint="stop the other senders of this key",
        )

    def _prepared(
        self, account: LocalAccount, fields: dict[str, Any], action: str, local_gas: int | None
    ) -> dict[str, Any]:
        """Try a transaction, and give its fields but the nonce."""
        fee = Fee.first(self._base_fee_wei(), self.policy.max_fee_wei)
        transaction: dict[str, Any] = {
            **fields,
            "from": account.address,
            "chainId": self.chain_id,
            "maxPriorityFeePerGas": fee.tip_wei,
            "maxFeePerGas": fee.max_wei,
        }
        # In the pending block: what is valid only from the next block on must not be refused here.
        if local_gas is None or not self.is_local:
            estimated = self._ask(
                lambda: self.web3.eth.estimate_gas(cast(Any, transaction), "pending"), action
            )
            transaction["gas"] = estimated + estimated // 5
        else:
            transaction["gas"] = local_gas
            self._ask(lambda: self.web3.eth.call(cast(Any, transaction), "pending"), action)
        return transaction

    def _sign_and_broadcast(self, account: LocalAccount, transaction: dict[str, Any], action: str) -> bytes:
        """Send with the account's next nonce, and with the one after it if another sender was quicker.

        A node that refuses a nonce has not taken the transaction, so signing it again sends it once. Where
        the same nonce is refused to the end, something hangs there that the node does not count: it gets
        replaced.
        """
        attempt, nonces = 0, set()
        while True:
            attempt += 1
            transaction["nonce"] = self._next_nonce(account)
            nonces.add(transaction["nonce"])
            signed = account.sign_transaction(transaction)
            try:
                self._ask(partial(self._broadcast, signed.raw_transaction, signed.hash), action)
            except NodeAnswerError as error:
                is_overtaken, is_underpriced = _is_overtaken(error), _is_underpriced(error)
                if is_underpriced and ((len(nonces) == 1 and attempt >= 2) or not is_overtaken):
                    if attempt > self.policy.replacements or not self._raise_fee(transaction):
                        raise self._too_dear(action, transaction) from error
                elif attempt >= _RETRIES or not is_overtaken:
                    raise
                time.sleep(_POLL_S)
            else:
                return bytes(signed.hash)

    def _mined(
        self,
        account: LocalAccount,
        transaction: dict[str, Any],
        versions: list[bytes],
        action: str,
        is_wanted: Callable[[], bool] | None = None,
    ) -> TxReceipt | None:
        """Wait until one of the versions of a transaction is mined, raising its fee when it has to.

        Args:
            account: Who signs.
            transaction: The newest version's fields; changed.
            versions: Hashes of all versions that were broadcast, same nonce; appended to.
            action: What it does, for messages.
            is_wanted: As in :meth:`send`.

        Returns:
            The receipt of whichever was mined; None if something else has the nonce.

        Raises:
            WithdrawnError: It was not wanted any more, and what came in its place was mined.
            NodeUnavailableError: None was mined in time.
        """
        begun, nonce, wanted = time.monotonic(), int(transaction["nonce"]), 0
        is_withdrawn = False
        for left in range(self.policy.replacements, -1, -1):
            head = self.block_number()
            receipt = self._receipt_within(versions, self.policy.patience_s, action)
            mined = self.nonce(account.address)
            if receipt is None and mined > nonce:
                receipt = self._late_receipt(versions, action)
            is_ours = receipt is not None and bytes(receipt["transactionHash"]) in versions[:wanted]
            if is_withdrawn and mined > nonce and not is_ours:
                raise WithdrawnError(
                    f"{action}: was not mined in time, and is not wanted any more",
                    hint="the chain has changed meanwhile; run the same command again",
                )
            if receipt is not None or mined > nonce:
                return receipt
            if left == 0:
                break
            if is_wanted is not None and not is_withdrawn and not is_wanted():
                is_withdrawn, wanted = True, len(versions)
                fee = {k: transaction[k] for k in ("maxFeePerGas", "maxPriorityFeePerGas")}
                transaction = {**self._nothing(account, nonce), **fee}
                self._replace(account, transaction, versions, action)
                continue
            if mined < nonce and self._next_nonce(account) <= mined:
                raise NodeUnavailableError(
                    f"{action}: an earlier transaction of {account.address} is gone, and it waits for that",
                    hint="the chain was reorganised; run the same command again: it does what is missing",
                )
            if mined < nonce:
                self._clear(account, mined)  # what hangs is before ours
            elif self._is_passed_over(transaction, head, versions):
                self._replace(account, transaction, versions, action)
        waited = time.monotonic() - begun
        raise self._too_dear(action, transaction, f" within {waited:.0f} s")

    def _receipt_within(self, versions: Sequence[bytes], patience_s: float, action: str) -> TxReceipt | None:
        """Wait for a receipt with enough blocks on top of it; None if no version is mined in time."""
        wait_s, give_up = _POLL_S, time.monotonic() + patience_s
        until = time.monotonic() + max(patience_s, self.policy.confirmation_timeout_s)
        while True:
            receipt = self._receipt(versions, action)
            if receipt is not None and self._is_confirmed(receipt):
                return receipt
            now = time.monotonic()
            if receipt is not None:
                give_up = now + patience_s  # one that a reorganisation takes away has its time again
            elif now > give_up:
                return None
            if now > until and receipt is not None:
                raise NodeUnavailableError(
                    f"{action}: mined, but {self.confirmations} blocks on top did not come in time",
                    hint="run the same command again; or ask for fewer --confirmations",
                )
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _POLL_MAX_S)

    def _receipt(self, versions: Sequence[bytes], action: str) -> TxReceipt | None:
        for version in reversed(versions):
            receipt = self._ask(partial(self._find_receipt, version), action)
            if receipt is not None:
                return receipt
        return None

    def _late_receipt(self, versions: Sequence[bytes], action: str) -> TxReceipt | None:
        """Look once more after the nonce is known to be used: nodes index receipts a little later."""
        for _ in range(_LATE_RECEIPTS):
            receipt = self._receipt_within(versions, 0, action)
            if receipt is not None:
                return receipt
            time.sleep(_POLL_S)
        return None

    def _is_confirmed(self, receipt: TxReceipt) -> bool:
        """Tell whether enough blocks are on top; a block that is taken away takes its receipts with it."""
        needed = receipt["blockNumber"] + self.confirmations
        if self.confirmations and self.is_local:
            self.wait_for_block(needed)  # nobody else makes blocks there
        return self.confirmations == 0 or self.block_number() >= needed

    def _is_passed_over(self, transaction: dict[str, Any], head: int, versions: Sequence[bytes]) -> bool:
        """Tell whether a transaction was left out for its fee; a chain that stands still leaves none out."""
        too_low = self._base_fee_wei() > transaction["maxFeePerGas"]
        is_gone = not any(self._is_known(version) for version in versions)
        return too_low or is_gone or self.block_number() > head

    def _replace(
        self, account: LocalAccount, transaction: dict[str, Any], versions: list[bytes], action: str
    ) -> None:
        """Send a version with a higher fee; at the cap, send the newest again in case the node dropped it."""
        for _ in range(self.policy.replacements):
            is_raised = self._raise_fee(transaction)
            signed = account.sign_transaction(transaction)
            if signed.hash not in versions:
                # Before it is sent: whichever is mined counts, also one whose answer got lost.
                versions.append(bytes(signed.hash))
            try:
                self._ask(partial(self._broadcast, signed.raw_transaction, signed.hash), action)
            except NodeAnswerError as error:
                if not _is_underpriced(error):
                    if _is_overtaken(error) or not is_raised:
                        return  # mined meanwhile, or known, or too cheap at the cap: the wait says which
                    raise
                if not is_raised:
                    return
            else:
                return

    def _clear(self, account: LocalAccount, nonce: int, *, repeats: bool = True) -> None:
        """Wait until whatever has this nonce is mined; replace it when it does not get through.

        Raises:
            NodeUnavailableError: It hangs, and the cap leaves no room.
        """
        action = f"transaction {nonce} of {account.address}, which was sent before"
        transaction = self._hanging(account, nonce)
        versions = [] if transaction is None else [bytes(account.sign_transaction(transaction).hash)]
        if not repeats:
            fee = self._nothing(account, nonce) if transaction is None else transaction
            offered = {k: fee[k] for k in ("maxFeePerGas", "maxPriorityFeePerGas")}
            transaction = {**self._nothing(account, nonce), **offered}
            self._replace(account, transaction, versions, action)
        for _ in range(self.policy.replacements + 1):
            head = self.block_number()
            if self._is_used_within(account, nonce, transaction):
                return
            if self._next_nonce(account) <= nonce:
                return  # the node has dropped it: nothing is in the way
            if transaction is None:
                if self.block_number() == head:
                    continue
                transaction = self._nothing(account, nonce)
            elif not self._is_passed_over(transaction, head, versions):
                continue
            self._replace(account, transaction, versions, action)
        if self.nonce(account.address) <= nonce:
            raise self._too_dear(action, transaction or {})

    def _is_used_within(self, account: LocalAccount, nonce: int, transaction: dict[str, Any] | None) -> bool:
        """Wait until a nonce is used; no longer than it makes sense for a transaction with that fee."""
        give_up = time.monotonic() + self.policy.patience_s
        while self.nonce(account.address) <= nonce:
            is_too_low = transaction is not None and self._base_fee_wei() > transaction["maxFeePerGas"]
            if is_too_low or time.monotonic() > give_up:
                return False
            time.sleep(_POLL_S)
        return True

    def _nothing(self, account: LocalAccount, nonce: int) -> dict[str, Any]:
        """Give a transaction that does nothing but use a nonce."""
        fee = Fee.first(self._base_fee_wei(), self.policy.max_fee_wei)
        return {
            "to": account.address,
            "data": b"",
            "value": 0,
            "gas": _TRANSFER_GAS,
            "nonce": nonce,
            "chainId": self.chain_id,
            "maxFeePerGas": fee.max_wei,
            "maxPriorityFeePerGas": fee.tip_wei,
        }

    def _hanging(self, account: LocalAccount, nonce: int) -> dict[str, Any] | None:
        """Give a transaction of ours that is in the mempool, if the node shows it.

        A node could show anything to have it signed: only what the key signs with the hash that the node
        states was ours; signatures are deterministic (RFC 6979), and nobody else can make one.
        """
        for found in self._pool(account):
            try:
                if int(found["nonce"], 16) != nonce:
                    continue
                fields: dict[str, Any] = {
                    "to": to_checksum_address(found["to"]) if found.get("to") else "",
                    "data": bytes.fromhex(found["input"][2:]),
                    "value": int(found["value"], 16),
                    "gas": int(found["gas"], 16),
                    "nonce": nonce,
                    "chainId": self.chain_id,
                    "maxFeePerGas": int(found["maxFeePerGas"], 16),
                    "maxPriorityFeePerGas": int(found["maxPriorityFeePerGas"], 16),
                }
                if account.sign_transaction(fields).hash == bytes.fromhex(found["hash"][2:]):
                    return fields
            except (KeyError, ValueError, TypeError, AttributeError):
                continue
        return None

    def _pool(self, account: LocalAccount) -> list[Any]:
        """Give what the node shows of an account's transactions in its mempool, unchecked."""
        for method, parameters in (("txpool_contentFrom", (account.address,)), ("txpool_content", ())):
            try:
                content = self.request(method, *parameters)
            except NodeAnswerError:
                continue  # not every node has these
            entries: list[Any] = []
            for part in content.values() if isinstance(content, dict) else ():
                if method == "txpool_content" and isinstance(part, dict):
                    part = {k.lower(): v for k, v in part.items()}.get(account.address.lower())
                entries += part.values() if isinstance(part, dict) else ()
            return entries
        return []

    def _raise_fee(self, transaction: dict[str, Any]) -> bool:
        """Raise both fields of a transaction; False if the cap leaves no room."""
        fee = Fee(transaction["maxFeePerGas"], transaction["maxPriorityFeePerGas"])
        raised = fee.raised(self._base_fee_wei(), self.policy.max_fee_wei)
        if raised is None:
            return False
        transaction["maxFeePerGas"], transaction["maxPriorityFeePerGas"] = raised.max_wei, raised.tip_wei
        return True

    def _too_dear(self, action: str, transaction: dict[str, Any], when: str = "") -> NodeUnavailableError:
        offered, base = transaction.get("maxFeePerGas", 0), self._base_fee_wei()
        return NodeUnavailableError(
            f"{action}: not mined{when}; {offered / GWEI:g} gwei were offered for each gas, the base fee is "
            f"{base / GWEI:g}, the cap {self.policy.max_fee_wei / GWEI:g}",
            hint="run the same command again, later or with a higher --max-fee-gwei: it takes up what hangs, "
            "and sends nothing twice",
        )

    def _base_fee_wei(self) -> int:
        return int(self.block().get("baseFeePerGas", 0))

    def _next_nonce(self, account: LocalAccount) -> int:
        return self._ask(
            lambda: int(self.web3.eth.get_transaction_count(account.address, "pending")), "ask for the nonce"
        )

    def _is_known(self, transaction_hash: bytes) -> bool:
        def question() -> bool:
            try:
                self.web3.eth.get_transaction(cast(Any, transaction_hash))
            except TransactionNotFound:
                return False
            return True

        return self._ask(question, "read a transaction")

    def _find_receipt(self, transaction_hash: bytes) -> TxReceipt | None:
        try:
            receipt = self.web3.eth.get_transaction_receipt(cast(Any, transaction_hash))
        except TransactionNotFound:
            return None
        if cast(Any, receipt)["blockNumber"] is None:
            return None  # some nodes have one while it is pending
        return _with(receipt, "status", "transactionHash", "blockHash", "gasUsed", "logs")

    def _sent(self, receipt: TxReceipt) -> Sent:
        block, block_hash = receipt["blockNumber"], bytes(receipt["blockHash"])
        self.build_on(block, block_hash)
        transaction_hash = bytes(receipt["transactionHash"])
        return Sent(transaction_hash, block, receipt["gasUsed"], receipt["logs"], block_hash)

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
        response = self._ask(
            lambda: self.web3.provider.make_request(RPCEndpoint(method), list(parameters)), method
        )
        if "error" in response:
            raise NodeAnswerError(
                f"{method} failed: {response['error']}",
                hint="a chain with id 31337 is expected to offer the evm_* methods of local chains",
            )

    def _broadcast(self, raw: bytes, transaction_hash: bytes) -> None:
        try:
            self.web3.eth.send_raw_transaction(raw)
        except Web3RPCError:
            # After a lost answer the first copy may have arrived: then the hash is known.
            try:
                self.web3.eth.get_transaction(cast(Any, transaction_hash))
            except TransactionNotFound:
                pass
            else:
                return
            raise

    def _explain_failure(self, action: str, transaction: dict[str, Any], receipt: TxReceipt) -> Exception:
        replay = {key: value for key, value in transaction.items() if key != "nonce"}
        try:
            self._ask(lambda: self.web3.eth.call(cast(Any, replay), receipt["blockNumber"] - 1), action)
        except RevertedError as reverted:
            return reverted
        return decode_revert(action, b"")

    def _ask(self, question: Callable[[], _T], action: str) -> _T:
        delay_s = 0.1
        for attempt in range(_RETRIES):
            try:
                return question()
            except ContractLogicError as error:
                raise decode_revert(action, _revert_data(error)) from error
            except (requests.RequestException, ConnectionError, TimeoutError) as error:
                if attempt == _RETRIES - 1:
                    raise NodeUnavailableError(
                        f"{action}: the node does not answer ({type(error).__name__})",
                        hint="start one with `hallmark chain start`, or check --rpc-url; nothing was lost",
                    ) from error
                time.sleep(delay_s)
                delay_s *= 3
            except Web3RPCError as error:
                raise NodeAnswerError(f"{action}: {error.message or error}") from error
            except (Web3Exception, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
                raise NodeAnswerError(f"{action}: the node's answer makes no sense: {error}") from error
        raise NodeUnavailableError(f"{action}: the node does not answer")


def _is_too_much(error: NodeAnswerError) -> bool:
    """Tell whether a node refused a range of blocks for its size; there is no code that all nodes use."""
    text = str(error).lower()
    return any(sign in text for sign in _TOO_MUCH)


def _is_overtaken(error: NodeAnswerError) -> bool:
    """Tell whether a node refused a nonce because another transaction has it; nodes share the words only."""
    text = str(error).lower()
    return any(sign in text for sign in ("nonce too low", "replacement transaction underpriced"))


def _is_underpriced(error: NodeAnswerError) -> bool:
    """Tell whether a node refused a transaction for its fee."""
    text = str(error).lower()
    return any(sign in text for sign in ("underpriced", "less than block base fee", "fee too low"))


def _with(answer: _T, *names: str) -> _T:
    """Give an answer that has these fields; a KeyError says that it does not."""
    for name in names:
        cast(Any, answer)[name]
    return answer


def _revert_data(error: ContractLogicError) -> bytes:
    data = error.data
    if isinstance(data, dict):
        data = data.get("data")
    if not isinstance(data, str) or not data.startswith("0x"):
        return b""
    try:
        return bytes.fromhex(data[2:])
    except ValueError:
        return b""


def _address(value: str) -> Any:
    try:
        return to_checksum_address(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"not an address: {value!r}") from error
