"""Blocks, transactions, receipts and logs as JSON-RPC shows them."""

from typing import cast

import rlp
from eth._utils.address import generate_contract_address
from eth.abc import BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth_typing import Address
from eth_utils import to_checksum_address

from ledger.chain.chain import MinedBlock
from ledger.chain.logs import StoredLog
from ledger.chain.params import Json
from ledger.chain.transactions import LEGACY_TYPE, SET_CODE_TYPE, transaction_type

_LEGACY_PROTECTED_V = 35


def hex_data(value: bytes) -> str:
    """Give bytes as JSON-RPC writes them."""
    return f"0x{value.hex()}"


def address_view(value: bytes) -> str:
    """Give an address with its EIP-55 checksum."""
    return to_checksum_address(value)


def header_view(header: BlockHeaderAPI) -> dict[str, Json]:
    """Give a header as newHeads shows it."""
    return {
        "number": hex(header.block_number),
        "hash": hex_data(header.hash),
        "parentHash": hex_data(header.parent_hash),
        "nonce": hex_data(header.nonce),
        "sha3Uncles": hex_data(header.uncles_hash),
        "logsBloom": hex_data(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": hex_data(header.transaction_root),
        "stateRoot": hex_data(header.state_root),
        "receiptsRoot": hex_data(header.receipt_root),
        "miner": address_view(header.coinbase),
        "difficulty": hex(header.difficulty),
        "extraData": hex_data(header.extra_data),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.timestamp),
        "mixHash": hex_data(header.mix_hash),
        "baseFeePerGas": hex(header.base_fee_per_gas or 0),
        "withdrawalsRoot": hex_data(cast(bytes, header.withdrawals_root)),
        "blobGasUsed": hex(header.blob_gas_used),
        "excessBlobGas": hex(header.excess_blob_gas),
        "parentBeaconBlockRoot": hex_data(cast(bytes, header.parent_beacon_block_root)),
        "requestsHash": hex_data(cast(PragueBlockHeader, header).requests_hash),
    }


def block_view(mined: MinedBlock, *, full: bool) -> dict[str, Json]:
    """Give a block.

    Args:
        mined: The block.
        full: Whole transactions instead of their hashes.
    """
    block, header = mined.block, mined.block.header
    transactions: list[Json] = [
        transaction_view(transaction, header, index) if full else hex_data(transaction.hash)
        for index, transaction in enumerate(block.transactions)
    ]
    return header_view(header) | {
        "size": hex(len(rlp.encode(block))),
        "totalDifficulty": "0x0",
        "transactions": transactions,
        "uncles": [],
        "withdrawals": [],
    }


def pending_block_view(header: BlockHeaderAPI) -> dict[str, Json]:
    """Give the block that would be mined now; it has no transactions and no hash yet."""
    return header_view(header) | {
        "hash": None,
        "nonce": None,
        "size": hex(len(rlp.encode(header))),
        "totalDifficulty": "0x0",
        "transactions": [],
        "uncles": [],
        "withdrawals": [],
    }


def effective_gas_price(transaction: SignedTransactionAPI, base_fee: int) -> int:
    """Give the wei per gas that a transaction pays."""
    return int(min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas + base_fee))


def transaction_view(
    transaction: SignedTransactionAPI, header: BlockHeaderAPI, index: int
) -> dict[str, Json]:
    """Give a mined transaction."""
    kind = transaction_type(transaction)
    view: dict[str, Json] = {
        "blockHash": hex_data(header.hash),
        "blockNumber": hex(header.block_number),
        "transactionIndex": hex(index),
        "hash": hex_data(transaction.hash),
        "from": address_view(transaction.sender),
        "to": address_view(transaction.to) if transaction.to else None,
        "gas": hex(transaction.gas),
        "gasPrice": hex(effective_gas_price(transaction, header.base_fee_per_gas or 0)),
        "input": hex_data(transaction.data),
        "nonce": hex(transaction.nonce),
        "value": hex(transaction.value),
        "type": hex(kind),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
        "chainId": hex(cast(int, transaction.chain_id)),
    }
    if kind == LEGACY_TYPE:
        return view | {
            "v": hex(2 * cast(int, transaction.chain_id) + _LEGACY_PROTECTED_V + transaction.y_parity)
        }
    view |= {
        "v": hex(transaction.y_parity),
        "yParity": hex(transaction.y_parity),
        "accessList": [
            {"address": address_view(address), "storageKeys": [f"0x{key:064x}" for key in keys]}
            for address, keys in transaction.access_list
        ],
    }
    if kind > 1:
        view |= {
            "maxFeePerGas": hex(transaction.max_fee_per_gas),
            "maxPriorityFeePerGas": hex(transaction.max_priority_fee_per_gas),
        }
    if kind == SET_CODE_TYPE:
        view["authorizationList"] = [
            {
                "chainId": hex(item.chain_id),
                "address": address_view(item.address),
                "nonce": hex(item.nonce),
                "yParity": hex(item.y_parity),
                "r": hex(item.r),
                "s": hex(item.s),
            }
            for item in transaction.authorization_list
        ]
    return view


def receipt_view(
    receipt: ReceiptAPI,
    transaction: SignedTransactionAPI,
    header: BlockHeaderAPI,
    *,
    index: int,
    gas_before: int,
    logs_before: int,
) -> dict[str, Json]:
    """Give a receipt.

    Args:
        receipt: The receipt.
        transaction: Its transaction.
        header: Header of its block.
        index: Position of the transaction in the block.
        gas_before: Gas that earlier transactions of the block used.
        logs_before: Logs that they wrote.
    """
    created = None
    if not transaction.to:
        created = address_view(generate_contract_address(Address(transaction.sender), transaction.nonce))
    logs = [
        StoredLog(
            block_number=header.block_number,
            block_hash=header.hash,
            log_index=logs_before + position,
            transaction_index=index,
            transaction_hash=transaction.hash,
            address=log.address,
            topics=tuple(topic.to_bytes(32, "big") for topic in log.topics),
            data=log.data,
        )
        for position, log in enumerate(receipt.logs)
    ]
    return {
        "transactionHash": hex_data(transaction.hash),
        "transactionIndex": hex(index),
        "blockHash": hex_data(header.hash),
        "blockNumber": hex(header.block_number),
        "from": address_view(transaction.sender),
        "to": address_view(transaction.to) if transaction.to else None,
        "cumulativeGasUsed": hex(receipt.gas_used),
        "gasUsed": hex(receipt.gas_used - gas_before),
        "effectiveGasPrice": hex(effective_gas_price(transaction, header.base_fee_per_gas or 0)),
        "contractAddress": created,
        "logs": [log_view(log) for log in logs],
        "logsBloom": hex_data(receipt.bloom.to_bytes(256, "big")),
        "status": hex(int.from_bytes(receipt.state_root, "big")),
        "type": hex(transaction_type(transaction)),
    }


def log_view(log: StoredLog) -> dict[str, Json]:
    """Give a log."""
    topics: list[Json] = [hex_data(topic) for topic in log.topics]
    return {
        "address": address_view(log.address),
        "topics": topics,
        "data": hex_data(log.data),
        "blockNumber": hex(log.block_number),
        "blockHash": hex_data(log.block_hash),
        "transactionHash": hex_data(log.transaction_hash),
        "transactionIndex": hex(log.transaction_index),
        "logIndex": hex(log.log_index),
        "removed": False,
    }
