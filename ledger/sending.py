"""Transactions of one account: nonce, fee, replacement of what hangs, confirmations.

Whatever happens to a process or to a node, nothing is sent twice: what is signed is known by its nonce,
and a version with a higher fee has the same one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address
from web3 import Web3
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3RPCError
from web3.types import BlockData, LogReceipt, TxReceipt

from ledger.asking import NodeAnswerError, NodeUnavailableError, ask, with_fields
from ledger.errors import EnvironmentFault
from ledger.fees import GWEI, Fee, SendPolicy
from ledger.mempool import hanging
from ledger.reverts import RevertedError

_ATTEMPTS = 4
_DEPLOY_GAS = 15_000_000
_TRANSFER_GAS = 21_000
_POLL_S, _POLL_MAX_S = 0.05, 1.0
_CALL_FIELDS = ("from", "to", "data", "value", "gas")
# How nodes say why they do not take a transaction, and what to do then.
_REFUSALS = {
    "insufficient funds": "send ether to {address}: it pays for gas, stakes and bonds",
    "exceeds allowance": "send ether to {address}: it cannot pay for the gas",
    "exceeds the configured cap": "lower --max-fee-gwei, or raise the node's cap on a transaction's cost",
    "nonce too low": "stop the other senders of {address}",
    "underpriced": "stop the other senders of {address}",
}
# What else has our nonce may be in an older block than the newest: nodes that answer in turn are not level.
_LAG_BLOCKS = 8


class WithdrawnError(EnvironmentFault):
    """A transaction was not mined in time, was not wanted any more, and has been replaced by nothing."""

    code = "withdrawn"


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


class Chain(Protocol):
    """What sending needs of a chain; `ledger.node.Node` says what each gives."""

    web3: Web3
    chain_id: int
    policy: SendPolicy

    @property
    def is_local(self) -> bool:
        """Whether blocks come on demand."""

    @property
    def confirmations(self) -> int:
        """Blocks on top of a transaction before it counts."""

    def block_number(self) -> int:
        """Give the number of the newest block."""

    def block(self) -> BlockData:
        """Give the newest block."""

    def nonce(self, address: str) -> int:
        """Give the number of an account's mined transactions."""

    def request(self, method: str, *parameters: object) -> Any:
        """Ask for something that has no method here."""

    def wait_for_block(self, number: int) -> None:
        """Wait until a block exists."""

    def build_on(self, number: int, block_hash: bytes) -> None:
        """Remember a block that what follows rests on."""


@dataclass(frozen=True, slots=True)
class Sender:
    """One account that sends on one chain; what is under way is on the chain, so it keeps nothing.

    Attributes:
        node: The chain.
        account: Who signs and pays.
    """

    node: Chain
    account: LocalAccount

    def send(
        self,
        to: str,
        data: bytes,
        action: str,
        *,
        local_gas: int | None = None,
        value_wei: int = 0,
        is_wanted: Callable[[], bool] | None = None,
    ) -> Sent:
        """Send calldata and wait until it is mined; arguments and errors as in `Node.send_data`."""
        fields = {"to": to, "data": data, "value": value_wei}
        return self._sent(self._transact(fields, action, local_gas, is_wanted))

    def transfer(self, recipient: str, value_wei: int) -> Sent:
        """Send ether to a checksummed address; errors as in `Node.transfer`."""
        return self.send(recipient, b"", "transfer", local_gas=_TRANSFER_GAS, value_wei=value_wei)

    def create(self, init_code: bytes) -> tuple[str, Sent]:
        """Create a contract.

        Args:
            init_code: Its creation code with the constructor's arguments.

        Returns:
            Its checksummed address and the transaction.

        Raises:
            RevertedError, NodeUnavailableError: As in `Node.send`.
            NodeAnswerError: The receipt names no contract.
        """
        receipt = self._transact({"data": init_code, "value": 0}, "create contract", _DEPLOY_GAS)
        created = receipt["contractAddress"]
        if created is None:
            raise NodeAnswerError("the node's receipt names no created contract")
        return to_checksum_address(created), self._sent(receipt)

    def take_up(self, *, repeats: bool = True) -> int:
        """Get what this account has sent before out of the mempool; as `Node.take_up`."""
        first = self.node.nonce(self.account.address)
        last = self._next_nonce()
        for nonce in range(first, last):
            self._clear(nonce, repeats=repeats)
        return max(0, last - first)

    def _transact(
        self,
        fields: dict[str, Any],
        action: str,
        local_gas: int | None,
        is_wanted: Callable[[], bool] | None = None,
    ) -> TxReceipt:
        for attempt in range(_ATTEMPTS):
            if attempt and is_wanted is not None and not is_wanted():
                raise WithdrawnError(f"{action}: something else was mined in its place, and it is not wanted")
            newest = self.node.block()
            since = max(0, newest["number"] - _LAG_BLOCKS)
            transaction = self._prepared(fields, action, local_gas, newest)
            versions = [self._sign_and_broadcast(transaction, since, action)]
            receipt = self._mined(transaction, versions, since, action, is_wanted)
            if receipt is None:
                continue  # another sender of this key has used the nonce: none of ours can be mined any more
            if receipt["status"] != 1:
                raise self._explain_failure(action, transaction, receipt)
            return receipt
        raise NodeUnavailableError(
            f"{action}: other transactions of {self.account.address} were mined in its place",
            hint="stop the other senders of this key",
        )

    def _prepared(
        self, fields: dict[str, Any], action: str, local_gas: int | None, newest: BlockData
    ) -> dict[str, Any]:
        """Try a transaction, and give its fields but the nonce; the fee is one for after the newest block."""
        fee = Fee.first(_base_fee_wei(newest), self.node.policy.max_fee_wei)
        transaction: dict[str, Any] = {
            **fields,
            "from": self.account.address,
            "chainId": self.node.chain_id,
            "maxPriorityFeePerGas": fee.tip_wei,
            "maxFeePerGas": fee.max_wei,
        }
        # In the pending block: what is valid only from the next block on must not be refused here.
        eth = self.node.web3.eth
        try:
            if local_gas is None or not self.node.is_local:
                estimated = ask(lambda: eth.estimate_gas(cast(Any, transaction), "pending"), action)
                transaction["gas"] = estimated + estimated // 5
            else:
                transaction["gas"] = local_gas
                ask(lambda: eth.call(cast(Any, transaction), "pending"), action)
        except NodeAnswerError as error:
            raise self._refused(error) from error
        return transaction

    def _sign_and_broadcast(self, transaction: dict[str, Any], since: int, action: str) -> bytes:
        """Send with the account's next nonce, and with the one after it if another sender was quicker.

        A node that refuses a nonce may have mined this very transaction with it, if its first answer was
        lost; only where a block shows another is it signed again. Where the same nonce is refused to the end,
        something hangs there that the node does not count: it gets replaced.
        """
        attempt, nonces = 0, set()
        while True:
            attempt += 1
            transaction["nonce"] = self._next_nonce()
            nonces.add(transaction["nonce"])
            signed = self.account.sign_transaction(transaction)
            try:
                ask(partial(_broadcast, self.node.web3, signed.raw_transaction, signed.hash), action)
            except NodeAnswerError as error:
                version, nonce = bytes(signed.hash), int(transaction["nonce"])
                if _is_used(error) and self._late_receipt([version], nonce, since, action) is not None:
                    return version
                is_overtaken, is_underpriced = _is_overtaken(error), _is_underpriced(error)
                if is_underpriced and ((len(nonces) == 1 and attempt >= 2) or not is_overtaken):
                    if attempt > self.node.policy.replacements or not self._raise_fee(transaction):
                        raise self._too_dear(action, transaction) from error
                elif attempt >= _ATTEMPTS or not is_overtaken:
                    raise self._refused(error) from error
                time.sleep(_POLL_S)
            else:
                return bytes(signed.hash)

    def _mined(
        self,
        transaction: dict[str, Any],
        versions: list[bytes],
        since: int,
        action: str,
        is_wanted: Callable[[], bool] | None = None,
    ) -> TxReceipt | None:
        """Wait until one of the versions of a transaction is mined, raising its fee when it has to.

        Args:
            transaction: The newest version's fields; changed.
            versions: Hashes of all versions that were broadcast, same nonce; appended to.
            since: A block not after the first that can hold something with this nonce.
            action: What it does, for messages.
            is_wanted: As in `Node.send`.

        Returns:
            The receipt of whichever was mined; None if something else has the nonce.

        Raises:
            WithdrawnError: It was not wanted any more, and what came in its place was mined.
            NodeUnavailableError: None was mined in time, or the node does not show what was.
        """
        begun, nonce, wanted = time.monotonic(), int(transaction["nonce"]), 0
        first_head: int | None = None
        is_withdrawn = False
        for left in range(self.node.policy.replacements, -1, -1):
            head = self.node.block_number()
            first_head = head if first_head is None else first_head
            receipt = self._receipt_within(versions, self.node.policy.patience_s, action)
            mined = self.node.nonce(self.account.address)
            if receipt is None and mined > nonce:
                receipt = self._late_receipt(versions, nonce, since, action)
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
                transaction = {**self._nothing(nonce), **fee}
                self._replace(transaction, versions, action)
                continue
            if mined < nonce and self._next_nonce() <= mined:
                raise NodeUnavailableError(
                    f"{action}: an earlier transaction of {self.account.address} is gone, "
                    "and it waits for that",
                    hint="the chain was reorganised; run the same command again: it does what is missing",
                )
            if mined < nonce:
                self._clear(mined)  # what hangs is before ours
            elif self._is_passed_over(transaction, head, versions):
                self._replace(transaction, versions, action)
        waited = f" within {time.monotonic() - begun:.0f} s"
        if self.node.block_number() == first_head:
            raise NodeUnavailableError(
                f"{action}: not mined{waited}, and nor was any block: the chain stands still",
                hint="run the same command again when blocks come: it takes up what hangs, and sends nothing "
                "twice",
            )
        raise self._too_dear(action, transaction, waited)

    def _receipt_within(self, versions: Sequence[bytes], patience_s: float, action: str) -> TxReceipt | None:
        """Wait for a receipt with enough blocks on top of it; None if no version is mined in time."""
        wait_s, give_up = _POLL_S, time.monotonic() + patience_s
        until = time.monotonic() + max(patience_s, self.node.policy.confirmation_timeout_s)
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
                    f"{action}: mined, but {self.node.confirmations} blocks on top did not come in time",
                    hint="run the same command again; or ask for fewer --confirmations",
                )
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _POLL_MAX_S)

    def _receipt(self, versions: Sequence[bytes], action: str) -> TxReceipt | None:
        for version in reversed(versions):
            receipt = ask(partial(_find_receipt, self.node.web3, version), action)
            if receipt is not None:
                return receipt
        return None

    def _late_receipt(
        self, versions: Sequence[bytes], nonce: int, since: int, action: str
    ) -> TxReceipt | None:
        """Wait for the receipt of one of the versions, or for what else has the nonce, which is used.

        Nodes index receipts a little later, and of several that answer in turn one may be behind. That there
        is no receipt yet does not show that another sender was quicker: then ours would be sent twice.

        Returns:
            The receipt; None if something else has the nonce.

        Raises:
            NodeUnavailableError: The node shows neither in time.
        """
        wait_s, give_up = _POLL_S, time.monotonic() + self.node.policy.receipt_lag_s
        while True:
            receipt = self._receipt_within(versions, 0, action)
            if receipt is not None:
                return receipt
            used_by, since = self._used_by(nonce, since)
            if used_by is not None and used_by not in versions:
                return None
            if time.monotonic() > give_up:
                raise NodeUnavailableError(
                    f"{action}: nonce {nonce} of {self.account.address} is used, but the node shows neither "
                    "a receipt nor what has used it",
                    hint="the node is behind; run the same command again later, or with another --rpc-url: "
                    "it does what the chain does not have yet, and sends nothing twice",
                )
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _POLL_MAX_S)

    def _used_by(self, nonce: int, since: int) -> tuple[bytes | None, int]:
        """Look for the transaction of this account with a nonce.

        Args:
            nonce: The nonce.
            since: First block to look into.

        Returns:
            Its hash, None if the node shows none; and the first block to look into the next time.
        """
        for number in range(since, self.node.block_number() + 1):
            found = ask(partial(_senders, self.node.web3, number), "read a block with its transactions")
            if found is None:
                return None, number  # one of several nodes has it, another not yet
            for transaction_hash, sender, used in found:
                if (sender, used) == (self.account.address, nonce):
                    return transaction_hash, number
            since = number + 1
        return None, since

    def _is_confirmed(self, receipt: TxReceipt) -> bool:
        """Tell whether enough blocks are on top; a block that is taken away takes its receipts with it."""
        needed = receipt["blockNumber"] + self.node.confirmations
        if self.node.confirmations and self.node.is_local:
            self.node.wait_for_block(needed)  # nobody else makes blocks there
        return self.node.confirmations == 0 or self.node.block_number() >= needed

    def _is_passed_over(self, transaction: dict[str, Any], head: int, versions: Sequence[bytes]) -> bool:
        """Tell whether a transaction was left out for its fee; a chain that stands still leaves none out."""
        too_low = self._base_fee_wei() > transaction["maxFeePerGas"]
        is_gone = not any(_is_known(self.node.web3, version) for version in versions)
        return too_low or is_gone or self.node.block_number() > head

    def _replace(self, transaction: dict[str, Any], versions: list[bytes], action: str) -> None:
        """Send a version with a higher fee; at the cap, send the newest again in case the node dropped it."""
        for _ in range(self.node.policy.replacements):
            is_raised = self._raise_fee(transaction)
            signed = self.account.sign_transaction(transaction)
            if signed.hash not in versions:
                # Before it is sent: whichever is mined counts, also one whose answer got lost.
                versions.append(bytes(signed.hash))
            try:
                ask(partial(_broadcast, self.node.web3, signed.raw_transaction, signed.hash), action)
            except NodeAnswerError as error:
                if not _is_underpriced(error):
                    if _is_overtaken(error) or not is_raised:
                        return  # mined meanwhile, or known, or too cheap at the cap: the wait says which
                    raise self._refused(error) from error
                if not is_raised:
                    return
            else:
                return

    def _clear(self, nonce: int, *, repeats: bool = True) -> None:
        """Wait until whatever has this nonce is mined; replace it when it does not get through.

        Raises:
            NodeUnavailableError: It hangs, and the cap leaves no room.
        """
        action = f"transaction {nonce} of {self.account.address}, which was sent before"
        transaction = hanging(self.node.request, self.account, nonce, self.node.chain_id)
        versions = [] if transaction is None else [bytes(self.account.sign_transaction(transaction).hash)]
        if not repeats:
            fee = self._nothing(nonce) if transaction is None else transaction
            offered = {k: fee[k] for k in ("maxFeePerGas", "maxPriorityFeePerGas")}
            transaction = {**self._nothing(nonce), **offered}
            self._replace(transaction, versions, action)
        for _ in range(self.node.policy.replacements + 1):
            head = self.node.block_number()
            if self._is_used_within(nonce, transaction):
                return
            if self._next_nonce() <= nonce:
                return  # the node has dropped it: nothing is in the way
            if transaction is None:
                if self.node.block_number() == head:
                    continue
                transaction = self._nothing(nonce)
            elif not self._is_passed_over(transaction, head, versions):
                continue
            self._replace(transaction, versions, action)
        if self.node.nonce(self.account.address) <= nonce:
            raise self._too_dear(action, transaction or {})

    def _is_used_within(self, nonce: int, transaction: dict[str, Any] | None) -> bool:
        """Wait until a nonce is used; no longer than it makes sense for a transaction with that fee."""
        give_up = time.monotonic() + self.node.policy.patience_s
        while self.node.nonce(self.account.address) <= nonce:
            is_too_low = transaction is not None and self._base_fee_wei() > transaction["maxFeePerGas"]
            if is_too_low or time.monotonic() > give_up:
                return False
            time.sleep(_POLL_S)
        return True

    def _nothing(self, nonce: int) -> dict[str, Any]:
        """Give a transaction that does nothing but use a nonce."""
        fee = Fee.first(self._base_fee_wei(), self.node.policy.max_fee_wei)
        return {
            "to": self.account.address,
            "data": b"",
            "value": 0,
            "gas": _TRANSFER_GAS,
            "nonce": nonce,
            "chainId": self.node.chain_id,
            "maxFeePerGas": fee.max_wei,
            "maxPriorityFeePerGas": fee.tip_wei,
        }

    def _raise_fee(self, transaction: dict[str, Any]) -> bool:
        """Raise both fields of a transaction; False if the cap leaves no room."""
        fee = Fee(transaction["maxFeePerGas"], transaction["maxPriorityFeePerGas"])
        raised = fee.raised(self._base_fee_wei(), self.node.policy.max_fee_wei)
        if raised is None:
            return False
        transaction["maxFeePerGas"], transaction["maxPriorityFeePerGas"] = raised.max_wei, raised.tip_wei
        return True

    def _refused(self, error: NodeAnswerError) -> NodeAnswerError:
        """Give a node's refusal of a transaction with what can be done about it, if it is a common one."""
        text = str(error).lower()
        hint = next((hint for sign, hint in _REFUSALS.items() if sign in text), error.hint)
        return NodeAnswerError(str(error), hint=hint.format(address=self.account.address))

    def _too_dear(self, action: str, transaction: dict[str, Any], when: str = "") -> NodeUnavailableError:
        again = "it takes up what hangs, and sends nothing twice"
        offered, base = transaction.get("maxFeePerGas"), self._base_fee_wei()
        if offered is None:
            return NodeUnavailableError(
                f"{action}: not mined{when}, and the node does not show what it offers",
                hint=f"run the same command again later: {again}",
            )
        return NodeUnavailableError(
            f"{action}: not mined{when}; {offered / GWEI:g} gwei were offered for each gas, the base fee is "
            f"{base / GWEI:g}, the cap {self.node.policy.max_fee_wei / GWEI:g}",
            hint=f"run the same command again, later or with a higher --max-fee-gwei: {again}",
        )

    def _base_fee_wei(self) -> int:
        return _base_fee_wei(self.node.block())

    def _next_nonce(self) -> int:
        address = self.account.address
        return ask(
            lambda: int(self.node.web3.eth.get_transaction_count(address, "pending")), "ask for the nonce"
        )

    def _explain_failure(self, action: str, transaction: dict[str, Any], receipt: TxReceipt) -> RevertedError:
        """Say why a mined transaction failed: as the block before it has it, which may not be the reason."""
        block, gas = receipt["blockNumber"], int(transaction["gas"])
        failed = f"{action} was mined in block {block}, and failed"
        if receipt["gasUsed"] >= gas:
            return RevertedError(
                action,
                "",
                {},
                b"",
                message=f"{failed}: it used up all of its {gas} gas",
                hint="what it does has become dearer since it was tried; run the same command again",
            )
        replay = {key: transaction[key] for key in _CALL_FIELDS if key in transaction}
        eth = self.node.web3.eth
        try:
            ask(lambda: eth.call(cast(Any, replay), block - 1), "asked why, the node said")
        except RevertedError as reverted:
            return RevertedError(action, reverted.name, reverted.arguments, reverted.data)
        except NodeAnswerError as error:
            why = str(error)
        except NodeUnavailableError:
            why = "the node could not be asked why"
        else:
            why = "one block earlier it would not have: something was quicker"
        return RevertedError(
            action,
            "",
            {},
            b"",
            message=f"{failed}; {why}",
            hint="run the same command again: it looks at what the chain has, and does what is missing",
        )

    def _sent(self, receipt: TxReceipt) -> Sent:
        block, block_hash = receipt["blockNumber"], bytes(receipt["blockHash"])
        self.node.build_on(block, block_hash)
        transaction_hash = bytes(receipt["transactionHash"])
        return Sent(transaction_hash, block, receipt["gasUsed"], receipt["logs"], block_hash)


def _broadcast(web3: Web3, raw: bytes, transaction_hash: bytes) -> None:
    try:
        web3.eth.send_raw_transaction(raw)
    except Web3RPCError:
        # After a lost answer the first copy may have arrived: then the hash is known.
        try:
            web3.eth.get_transaction(cast(Any, transaction_hash))
        except TransactionNotFound:
            pass
        else:
            return
        raise


def _find_receipt(web3: Web3, transaction_hash: bytes) -> TxReceipt | None:
    try:
        receipt = web3.eth.get_transaction_receipt(cast(Any, transaction_hash))
    except TransactionNotFound:
        return None
    if cast(Any, receipt)["blockNumber"] is None:
        return None  # some nodes have one while it is pending
    return with_fields(receipt, "status", "transactionHash", "blockHash", "gasUsed", "logs")


def _base_fee_wei(block: BlockData) -> int:
    return int(block.get("baseFeePerGas", 0))


def _senders(web3: Web3, number: int) -> list[tuple[bytes, str, int]] | None:
    """Give hash, sender and nonce of each transaction of a block; None if the node has no such block."""
    try:
        block = web3.eth.get_block(number, full_transactions=True)
    except BlockNotFound:
        return None
    shown = cast(Sequence[Any], block["transactions"])
    return [(bytes(one["hash"]), str(one["from"]), int(one["nonce"])) for one in shown]


def _is_known(web3: Web3, transaction_hash: bytes) -> bool:
    def question() -> bool:
        try:
            web3.eth.get_transaction(cast(Any, transaction_hash))
        except TransactionNotFound:
            return False
        return True

    return ask(question, "read a transaction")


def _is_overtaken(error: NodeAnswerError) -> bool:
    """Tell whether a node refused a nonce because another transaction has it; nodes share the words only."""
    return _is_used(error) or "replacement transaction underpriced" in str(error).lower()


def _is_used(error: NodeAnswerError) -> bool:
    """Tell whether a node refused a nonce because something that is mined has it."""
    return "nonce too low" in str(error).lower()


def _is_underpriced(error: NodeAnswerError) -> bool:
    """Tell whether a node refused a transaction for its fee."""
    text = str(error).lower()
    return any(sign in text for sign in ("underpriced", "less than block base fee", "fee too low"))
