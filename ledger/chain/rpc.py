"""JSON-RPC over the embedded chain: JSON values in, JSON values out, no transport."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from eth.abc import BlockHeaderAPI
from eth_account import Account
from eth_typing import Address
from eth_utils import to_checksum_address
from eth_utils.crypto import keccak

from ledger.chain import params
from ledger.chain.accounts import BRANCHES, local_addresses, local_keys
from ledger.chain.calls import estimate_gas, run_call
from ledger.chain.chain import EmbeddedChain
from ledger.chain.errors import (
    BlockUnknownError,
    CallRevertedError,
    ChainError,
    ChainInputError,
    TooManyLogsError,
    TransactionRefusedError,
)
from ledger.chain.fees import SUGGESTED_TIP_WEI, fee_history
from ledger.chain.filters import FilterTable, TooManyFiltersError
from ledger.chain.logs import LogQuery, StoredLog
from ledger.chain.params import BlockRef, CallRequest, Json, LogRequest, ParamError, RpcError
from ledger.chain.proofs import proof_view
from ledger.chain.views import (
    block_view,
    hex_data,
    log_view,
    pending_block_view,
    receipt_view,
    transaction_view,
)

Parser = Callable[[Json], object]
Handler = Callable[..., Json]

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """What one request may cost.

    Attributes:
        call_gas: Most gas of eth_call and of what eth_estimateGas tries; the machine does
            some millions of gas in a second, and one call holds up the chain.
        logs: Most logs of one answer.
        filters: Most polling filters at a time.
        batch_transactions: Most transactions of hallmark_sendRawTransactions.
        mined_blocks: Most blocks of one evm_mine.
    """

    call_gas: int = 100_000_000
    logs: int = 100_000
    filters: int = 1_000
    batch_transactions: int = 10_000
    mined_blocks: int = 10_000


@dataclass(frozen=True, slots=True)
class _Method:
    handler: Handler
    required: tuple[Parser, ...]
    optional: tuple[Parser, ...]


class RpcDispatcher:
    """Answers JSON-RPC methods. May be called from any thread."""

    def __init__(self, chain: EmbeddedChain, *, limits: RpcLimits | None = None) -> None:
        """Bind the methods to a chain.

        Args:
            chain: The open chain.
            limits: What one request may cost; the defaults if None.
        """
        self.chain = chain
        self.limits = limits or RpcLimits()
        self._filters = FilterTable(limit=self.limits.filters)
        self._methods = self._table()

    @property
    def methods(self) -> frozenset[str]:
        """Names of all methods."""
        return frozenset(self._methods)

    def handle(self, method: str, parameters: Sequence[Json]) -> Json:
        """Answer one request.

        Args:
            method: Name of the method.
            parameters: Its positional parameters. A null in place of an optional
                one counts as left out.

        Returns:
            The result, of JSON types only.

        Raises:
            RpcError: The request failed; it carries number, message and data of the
                JSON-RPC error object.
        """
        found = self._methods.get(method)
        if found is None:
            raise RpcError(
                params.METHOD_NOT_FOUND, f"the method {method[:64]} does not exist/is not available"
            )
        try:
            arguments = _parse(found, parameters)
            with self.chain.reading():
                return found.handler(*arguments)
        except RpcError:
            raise
        except ParamError as error:
            raise RpcError(params.INVALID_PARAMS, f"invalid params: {error}") from error
        except CallRevertedError as error:
            if error.is_revert:
                raise RpcError(params.EXECUTION_REVERTED, str(error), hex_data(error.data)) from error
            raise RpcError(params.SERVER_ERROR, str(error)) from error
        except (TooManyLogsError, TooManyFiltersError) as error:
            raise RpcError(params.LIMIT_EXCEEDED, _with_hint(error)) from error
        except ChainInputError as error:
            raise RpcError(params.SERVER_ERROR, _with_hint(error)) from error
        except ChainError as error:
            raise RpcError(params.INTERNAL_ERROR, _with_hint(error)) from error
        except Exception as error:
            # The last line of defence: a server must not die of one request, nor leak its insides.
            _LOG.exception("request %s failed", method)
            raise RpcError(params.INTERNAL_ERROR, f"internal error: {type(error).__name__}") from error

    def _table(self) -> dict[str, _Method]:
        p = params
        table: dict[str, _Method] = {}

        def add(name: str, handler: Handler, *required: Parser, optional: tuple[Parser, ...] = ()) -> None:
            table[name] = _Method(handler, required, optional)

        add("web3_clientVersion", client_version)
        add("web3_sha3", lambda value: hex_data(keccak(value)), p.data)
        add("net_version", lambda: str(self.chain.genesis.chain_id))
        add("net_listening", lambda: True)
        add("net_peerCount", lambda: "0x0")
        add("eth_chainId", lambda: hex(self.chain.genesis.chain_id))
        add("eth_syncing", lambda: False)
        add("eth_mining", lambda: True)
        add("eth_accounts", self._accounts)
        add("eth_blockNumber", lambda: hex(self.chain.head().block_number))
        add("eth_getBlockByNumber", self._block_by_ref, p.block_ref, optional=(p.flag,))
        add("eth_getBlockByHash", self._block_by_hash, p.word, optional=(p.flag,))
        add("eth_getHeaderByNumber", self._header_by_ref, p.block_ref)
        add("eth_getHeaderByHash", self._header_by_hash, p.word)
        add("eth_getBlockTransactionCountByNumber", self._count_by_ref, p.block_ref)
        add("eth_getBlockTransactionCountByHash", self._count_by_hash, p.word)
        add("eth_getUncleCountByBlockNumber", self._no_uncles, p.block_ref)
        add("eth_getUncleCountByBlockHash", lambda value: self._no_uncles(BlockRef(block_hash=value)), p.word)
        add("eth_getTransactionByHash", self._transaction, p.word)
        add("eth_getRawTransactionByHash", self._raw_transaction, p.word)
        add("eth_getTransactionByBlockNumberAndIndex", self._transaction_at, p.block_ref, p.quantity)
        add("eth_getTransactionByBlockHashAndIndex", self._transaction_at_hash, p.word, p.quantity)
        add("eth_getTransactionReceipt", self._receipt, p.word)
        add("eth_getBlockReceipts", self._block_receipts, p.block_ref)
        add("eth_getBalance", self._balance, p.address, optional=(p.block_ref,))
        add("eth_getCode", self._code, p.address, optional=(p.block_ref,))
        add("eth_getTransactionCount", self._nonce, p.address, optional=(p.block_ref,))
        add("eth_getStorageAt", self._storage, p.address, p.slot, optional=(p.block_ref,))
        add("eth_getProof", self._proof, p.address, p.list_of(p.slot, at_most=1_000), optional=(p.block_ref,))
        add("eth_call", self._call, p.call_request, optional=(p.block_ref,))
        add("eth_estimateGas", self._estimate, p.call_request, optional=(p.block_ref,))
        add("eth_gasPrice", self._gas_price)
        add("eth_maxPriorityFeePerGas", lambda: hex(SUGGESTED_TIP_WEI))
        add("eth_feeHistory", self._fee_history, p.lenient_quantity, p.block_ref, optional=(p.percentiles,))
        add("eth_sendRawTransaction", self._send_raw, p.data)
        add("eth_sendTransaction", self._send, p.call_request)
        add("eth_getLogs", self._logs, p.log_request)
        add("eth_newFilter", self._new_filter, p.log_request)
        add("eth_newBlockFilter", self._new_block_filter)
        add("eth_getFilterChanges", self._filter_changes, p.text)
        add("eth_getFilterLogs", self._filter_logs, p.text)
        add("eth_uninstallFilter", self._filters.remove, p.text)
        add("evm_increaseTime", self.chain.skip_time, p.lenient_quantity)
        add("evm_setNextBlockTimestamp", self._set_next_timestamp, p.lenient_quantity)
        add("evm_mine", self._mine, optional=(_mine_options,))
        add(
            "hallmark_sendRawTransactions",
            self._send_batch,
            p.list_of(p.data, at_most=self.limits.batch_transactions),
        )
        return table

    # Blocks

    def resolve(self, reference: BlockRef) -> BlockHeaderAPI:
        """Give the header that a client named.

        ``safe`` and ``finalized`` are the head, as a single node never reorganises;
        ``pending`` is the header of a block mined now.

        Raises:
            BlockUnknownError: There is no such block.
        """
        if reference.block_hash is not None:
            return self.chain.header(reference.block_hash)
        if reference.number is not None:
            if reference.number > self.chain.head().block_number:
                raise BlockUnknownError(reference.number)
            return self.chain.header(reference.number)
        if reference.tag == "pending":
            return self.chain.next_header()
        return self.chain.header(0) if reference.tag == "earliest" else self.chain.head()

    def _known(self, reference: BlockRef) -> BlockHeaderAPI | None:
        try:
            return self.resolve(reference)
        except BlockUnknownError:
            return None

    def _block_by_ref(self, reference: BlockRef, full: bool = False) -> Json:
        header = self._known(reference)
        if header is None:
            return None
        if reference == params.PENDING:
            return pending_block_view(header)
        return block_view(self.chain.block(header), full=full)

    def _block_by_hash(self, block_hash: bytes, full: bool = False) -> Json:
        return self._block_by_ref(BlockRef(block_hash=block_hash), full)

    def _header_by_ref(self, reference: BlockRef) -> Json:
        block = self._block_by_ref(reference)
        if isinstance(block, dict):
            for name in ("transactions", "uncles", "withdrawals", "size", "totalDifficulty"):
                del block[name]
        return block

    def _header_by_hash(self, block_hash: bytes) -> Json:
        return self._header_by_ref(BlockRef(block_hash=block_hash))

    def _count_by_ref(self, reference: BlockRef) -> Json:
        header = self._known(reference)
        if header is None:
            return None
        return hex(0 if reference == params.PENDING else len(self.chain.block(header).block.transactions))

    def _count_by_hash(self, block_hash: bytes) -> Json:
        return self._count_by_ref(BlockRef(block_hash=block_hash))

    def _no_uncles(self, reference: BlockRef) -> Json:
        return None if self._known(reference) is None else "0x0"

    # Transactions

    def _transaction(self, transaction_hash: bytes) -> Json:
        place = self.chain.transaction_place(transaction_hash)
        return None if place is None else self._transaction_at(BlockRef(number=place[0]), place[1])

    def _raw_transaction(self, transaction_hash: bytes) -> Json:
        place = self.chain.transaction_place(transaction_hash)
        found = None if place is None else self.chain.transaction(*place)
        return None if found is None else hex_data(found.encode())

    def _transaction_at(self, reference: BlockRef, index: int) -> Json:
        header = self._known(reference)
        if header is None or reference == params.PENDING:
            return None
        transaction = self.chain.transaction(header.block_number, index)
        return None if transaction is None else transaction_view(transaction, header, index)

    def _transaction_at_hash(self, block_hash: bytes, index: int) -> Json:
        return self._transaction_at(BlockRef(block_hash=block_hash), index)

    def _receipt(self, transaction_hash: bytes) -> Json:
        place = self.chain.transaction_place(transaction_hash)
        if place is None:
            return None
        number, index = place
        transaction = self.chain.transaction(number, index)
        if transaction is None:
            return None
        return receipt_view(
            self.chain.receipt(number, index),
            transaction,
            self.chain.header(number),
            index=index,
            gas_before=self.chain.receipt(number, index - 1).gas_used if index else 0,
            logs_before=self.chain.logs.count_before(number, index),
        )

    def _block_receipts(self, reference: BlockRef) -> Json:
        header = self._known(reference)
        if header is None:
            return None
        views: list[Json] = []
        if reference == params.PENDING:
            return views
        mined = self.chain.block(header)
        gas = logs = 0
        for index, (transaction, receipt) in enumerate(
            zip(mined.block.transactions, mined.receipts, strict=True)
        ):
            views.append(
                receipt_view(receipt, transaction, header, index=index, gas_before=gas, logs_before=logs)
            )
            gas, logs = receipt.gas_used, logs + len(receipt.logs)
        return views

    def _send_raw(self, raw: bytes) -> Json:
        return hex_data(self.chain.mine([raw]).block.transactions[0].hash)

    def _send_batch(self, raws: tuple[bytes, ...]) -> Json:
        if not raws:
            raise ParamError("at least one transaction expected")
        try:
            mined = self.chain.mine(raws)
        except TransactionRefusedError as error:
            message = f"{_with_hint(error)}; transaction {error.index} of the batch, none was executed"
            raise RpcError(params.SERVER_ERROR, message, {"index": hex(error.index)}) from error
        return [hex_data(transaction.hash) for transaction in mined.block.transactions]

    # State

    def _balance(self, address: bytes, reference: BlockRef = params.LATEST) -> Json:
        return hex(self.chain.state_at(self.resolve(reference)).get_balance(Address(address)))

    def _code(self, address: bytes, reference: BlockRef = params.LATEST) -> Json:
        return hex_data(self.chain.state_at(self.resolve(reference)).get_code(Address(address)))

    def _nonce(self, address: bytes, reference: BlockRef = params.LATEST) -> Json:
        return hex(self.chain.state_at(self.resolve(reference)).get_nonce(Address(address)))

    def _storage(self, address: bytes, slot: int, reference: BlockRef = params.LATEST) -> Json:
        value = self.chain.state_at(self.resolve(reference)).get_storage(Address(address), slot)
        return f"0x{value:064x}"

    def _proof(self, address: bytes, slots: tuple[int, ...], reference: BlockRef = params.LATEST) -> Json:
        return proof_view(self.chain, self.resolve(reference), address, slots)

    # Calls

    def _call(self, request: CallRequest, reference: BlockRef = params.LATEST) -> Json:
        self._check_chain_id(request)
        header = self.resolve(reference)
        return hex_data(run_call(self.chain, header, request.call, gas_cap=self.limits.call_gas).output)

    def _estimate(self, request: CallRequest, reference: BlockRef = params.PENDING) -> Json:
        # An estimate is for the next block, so that is its default context.
        self._check_chain_id(request)
        header = self.resolve(reference)
        return hex(estimate_gas(self.chain, header, request.call, gas_cap=self.limits.call_gas))

    def _check_chain_id(self, request: CallRequest) -> None:
        if request.chain_id not in (None, self.chain.genesis.chain_id):
            raise ParamError(f"chainId: have {request.chain_id}, want {self.chain.genesis.chain_id}")

    def _gas_price(self) -> Json:
        return hex(SUGGESTED_TIP_WEI + (self.chain.next_header().base_fee_per_gas or 0))

    def _fee_history(self, count: int, newest: BlockRef, wanted: tuple[float, ...] | None = None) -> Json:
        if newest == params.PENDING:
            newest = params.LATEST
        return fee_history(self.chain, count, self.resolve(newest), wanted)

    # Local accounts

    def _accounts(self) -> Json:
        return [to_checksum_address(address) for address in self.chain.genesis.addresses()]

    def _send(self, request: CallRequest) -> Json:
        self._check_chain_id(request)
        key = _local_key(request.call.sender, self.chain.genesis.accounts) if request.has_sender else None
        if key is None:
            raise RpcError(
                params.SERVER_ERROR,
                "unknown account: only the local test accounts are unlocked;"
                " sign and use eth_sendRawTransaction",
            )
        signed = Account.sign_transaction(self._filled(request), key)
        return self._send_raw(bytes(signed.raw_transaction))

    def _filled(self, request: CallRequest) -> dict[str, object]:
        call, header = request.call, self.chain.next_header()
        max_fee, tip = call.max_fee_per_gas, call.max_priority_fee_per_gas
        if not request.has_price:
            tip = SUGGESTED_TIP_WEI
            max_fee = tip + 2 * (header.base_fee_per_gas or 0)
        nonce = request.nonce
        if nonce is None:
            nonce = self.chain.state_at(header).get_nonce(Address(call.sender))
        transaction: dict[str, object] = {
            "type": 2,
            "chainId": self.chain.genesis.chain_id,
            "nonce": nonce,
            "value": call.value,
            "data": call.data,
            "gas": call.gas
            if call.gas is not None
            else estimate_gas(self.chain, header, call, gas_cap=self.limits.call_gas),
            "maxFeePerGas": max_fee,
            "maxPriorityFeePerGas": tip,
            "accessList": [
                {"address": to_checksum_address(address), "storageKeys": [f"0x{key:064x}" for key in keys]}
                for address, keys in call.access_list
            ],
        }
        return transaction | ({"to": call.to} if call.to else {})

    # Logs

    def log_query(self, request: LogRequest) -> LogQuery:
        """Resolve the block names of a log filter.

        Raises:
            BlockUnknownError: It names a block by a hash that is unknown.
        """
        if request.block_hash is not None:
            first = last = int(self.chain.header(request.block_hash).block_number)
        else:
            first, last = self._log_block(request.from_block), self._log_block(request.to_block)
            if first > last:
                raise ParamError("invalid block range params: fromBlock is after toBlock")
        return LogQuery(first, last, request.addresses, request.topics)

    def _log_block(self, reference: BlockRef) -> int:
        if reference.number is not None:
            # A range may reach past the head; what is not there yet has no logs.
            return min(reference.number, 2**62)
        if reference == params.PENDING:
            reference = params.LATEST
        return int(self.resolve(reference).block_number)

    def find_logs(self, query: LogQuery) -> list[StoredLog]:
        """Give the logs that match, up to the limit of one answer."""
        return self.chain.logs.find(query, limit=self.limits.logs)

    def _logs(self, request: LogRequest) -> Json:
        return [log_view(log) for log in self.find_logs(self.log_query(request))]

    def _new_filter(self, request: LogRequest) -> Json:
        query = self.log_query(request)
        head = self.chain.head().block_number
        if request.to_block.tag is not None and request.block_hash is None:
            # "Up to latest" means: whatever comes.
            query = LogQuery(query.from_block, 2**62, query.addresses, query.topics)
        return self._filters.install(query, next_block=head + 1)

    def _new_block_filter(self) -> Json:
        return self._filters.install(None, next_block=self.chain.head().block_number + 1)

    def _filter_changes(self, identifier: str) -> Json:
        found = self._filters.get(identifier)
        head = self.chain.head().block_number
        first, query = found.next_block, found.query
        changes: list[Json]
        if query is None:
            changes = [hex_data(self.chain.header(number).hash) for number in range(first, head + 1)]
        else:
            news = LogQuery(
                max(first, query.from_block), min(head, query.to_block), query.addresses, query.topics
            )
            changes = [log_view(log) for log in self.find_logs(news)]
        # Only now: a query that fails must not swallow what it did not return.
        found.next_block = head + 1
        return changes

    def _filter_logs(self, identifier: str) -> Json:
        query = self._filters.get(identifier).query
        if query is None:
            raise ParamError("not a log filter")
        return [log_view(log) for log in self.find_logs(query)]

    # Time

    def _set_next_timestamp(self, timestamp_s: int) -> Json:
        self.chain.set_next_timestamp(timestamp_s)
        return None

    def _mine(self, options: tuple[int | None, int] = (None, 1)) -> Json:
        timestamp_s, blocks = options
        if not 0 < blocks <= self.limits.mined_blocks:
            raise ParamError(f"blocks must be from 1 to {self.limits.mined_blocks}")
        self.chain.mine(timestamp_s=timestamp_s)
        for _ in range(blocks - 1):
            self.chain.mine()
        return "0x0"


def client_version() -> str:
    """Give name and version, as web3_clientVersion."""
    try:
        return f"Hallmark/{version('hallmark-ledger')}"
    except PackageNotFoundError:
        return "Hallmark/unknown"


def _with_hint(error: ChainError) -> str:
    return f"{error} ({error.hint})" if error.hint else str(error)


def _parse(method: _Method, parameters: Sequence[Json]) -> list[object]:
    at_least, at_most = len(method.required), len(method.required) + len(method.optional)
    given = list(parameters)
    while len(given) > at_least and given[-1] is None:
        given.pop()
    if len(given) < at_least:
        raise ParamError(f"missing value for required argument {len(given)}")
    if len(given) > at_most:
        raise ParamError(f"too many arguments, want at most {at_most}")
    arguments: list[object] = []
    for position, (parser, value) in enumerate(zip(method.required + method.optional, given, strict=False)):
        try:
            arguments.append(parser(value))
        except ParamError as error:
            raise ParamError(f"argument {position}: {error}") from error
    return arguments


def _mine_options(value: Json) -> tuple[int | None, int]:
    if not isinstance(value, dict):
        return params.lenient_quantity(value), 1
    unknown = set(value) - {"timestamp", "blocks"}
    if unknown:
        raise ParamError(f"unsupported field {min(unknown)[:64]!r}; known are blocks, timestamp")
    timestamp, blocks = value.get("timestamp"), value.get("blocks")
    return (
        None if timestamp is None else params.lenient_quantity(timestamp),
        1 if blocks is None else params.lenient_quantity(blocks),
    )


@lru_cache(maxsize=4)
def _key_table(accounts: int) -> dict[bytes, bytes]:
    return {
        address: key.to_bytes()
        for branch in BRANCHES
        for address, key in zip(local_addresses(branch, accounts), local_keys(branch, accounts), strict=True)
    }


def _local_key(address: bytes, accounts: int) -> bytes | None:
    return _key_table(accounts).get(address)
