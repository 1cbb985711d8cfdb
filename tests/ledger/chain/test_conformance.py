"""One suite over every transport, and over anvil where it is installed."""

from collections.abc import Mapping

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import (
    BlockNotFound,
    ContractCustomError,
    ContractLogicError,
    ContractPanicError,
    TransactionNotFound,
    Web3RPCError,
)
from web3.types import RPCEndpoint, TxReceipt

from ledger.chain.accounts import local_keys
from tests.ledger.chain.probe import ABI, BYTECODE


@pytest.fixture
def account() -> LocalAccount:
    signer: LocalAccount = Account.from_key(local_keys(0, 1)[0].to_bytes())
    return signer


@pytest.fixture
def probe(w3: Web3, account: LocalAccount) -> Contract:
    factory = w3.eth.contract(abi=ABI, bytecode=BYTECODE)
    receipt = w3.eth.wait_for_transaction_receipt(factory.constructor().transact({"from": account.address}))
    assert receipt["status"] == 1
    address = receipt["contractAddress"]
    assert address is not None
    assert w3.eth.get_code(address)
    return w3.eth.contract(address=address, abi=ABI)


def _raw(account: LocalAccount, fields: Mapping[str, object]) -> bytes:
    return bytes(account.sign_transaction(fields).raw_transaction)  # type: ignore[arg-type]


def _send(w3: Web3, account: LocalAccount, call: object) -> TxReceipt:
    fields = call.build_transaction(  # type: ignore[attr-defined]
        {"from": account.address, "nonce": w3.eth.get_transaction_count(account.address, "pending")}
    )
    signed = _raw(account, fields)
    return w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(signed))


def test_basics(w3: Web3, account: LocalAccount) -> None:
    assert w3.is_connected()
    assert w3.eth.chain_id == 31337
    assert w3.net.version == "31337"
    assert w3.client_version
    assert w3.eth.syncing is False
    assert w3.eth.block_number == 0
    assert w3.eth.accounts[0] == account.address
    assert w3.eth.get_balance(account.address) == 10_000 * 10**18
    assert w3.eth.get_transaction_count(account.address) == 0
    assert w3.eth.gas_price > 0
    assert w3.eth.max_priority_fee > 0


def test_signed_transaction_is_mined_and_found(w3: Web3, account: LocalAccount, probe: Contract) -> None:
    receipt = _send(w3, account, probe.functions.note(7, b"\x05" * 32))
    assert receipt["status"] == 1
    assert receipt["from"] == account.address
    assert receipt["to"] == probe.address
    found = w3.eth.get_transaction(receipt["transactionHash"])
    assert found["blockNumber"] == receipt["blockNumber"]
    assert found["nonce"] == 1
    block = w3.eth.get_block(receipt["blockNumber"], full_transactions=True)
    assert block["transactions"][0] == found
    assert w3.eth.get_block(block["hash"])["transactions"] == [receipt["transactionHash"]]
    assert w3.eth.get_block_transaction_count(receipt["blockNumber"]) == 1
    assert w3.eth.get_transaction_by_block(block["hash"], 0) == found
    assert w3.eth.get_block_receipts(block["number"]) == [receipt]
    assert block["gasUsed"] == receipt["gasUsed"] == receipt["cumulativeGasUsed"]
    assert probe.functions.notes(7).call() == b"\x05" * 32
    paid = min(found["maxFeePerGas"], block["baseFeePerGas"] + found["maxPriorityFeePerGas"])
    assert receipt["effectiveGasPrice"] == found["gasPrice"] == paid


def test_logs_are_found_by_address_topic_range_and_hash(
    w3: Web3, account: LocalAccount, probe: Contract
) -> None:
    receipts = [_send(w3, account, probe.functions.note(n, bytes([n]) * 32)) for n in range(3)]
    noted = probe.events.Noted()
    logs = noted.get_logs(from_block=0)
    assert [log["args"]["round"] for log in logs] == [0, 1, 2]
    assert [log["transactionHash"] for log in logs] == [r["transactionHash"] for r in receipts]
    assert [noted.process_receipt(r)[0] for r in receipts] == logs
    (one,) = noted.get_logs(from_block=0, argument_filters={"round": 1})
    assert one["args"]["digest"] == b"\x01" * 32
    assert len(noted.get_logs(from_block=0, argument_filters={"worker": account.address})) == 3
    assert noted.get_logs(from_block=0, argument_filters={"worker": probe.address}) == []
    assert len(noted.get_logs(block_hash=receipts[2]["blockHash"])) == 1
    assert w3.eth.get_logs({"fromBlock": 0, "toBlock": 1}) == []
    topic = Web3.keccak(text="Noted(uint256,address,bytes32)")
    either = [Web3.to_hex(n.to_bytes(32, "big")) for n in (0, 2)]
    assert len(w3.eth.get_logs({"fromBlock": 0, "topics": [topic, either]})) == 2
    assert len(w3.eth.get_logs({"fromBlock": 0, "topics": [None, None, None]})) == 3


def test_filters_report_each_change_once(w3: Web3, account: LocalAccount, probe: Contract) -> None:
    blocks = w3.eth.filter("latest")
    logs = probe.events.Noted().create_filter(from_block="latest")
    logs.get_new_entries()
    receipt = _send(w3, account, probe.functions.note(1, b"\x01" * 32))
    entries: list[object] = [*blocks.get_new_entries()]
    assert entries == [receipt["blockHash"]]
    assert [entry["transactionHash"] for entry in logs.get_new_entries()] == [receipt["transactionHash"]]
    assert blocks.get_new_entries() == []
    assert logs.get_new_entries() == []
    assert blocks.filter_id is not None
    assert w3.eth.uninstall_filter(blocks.filter_id)
    with pytest.raises(Web3RPCError):
        blocks.get_new_entries()


def test_custom_error_keeps_its_data(w3: Web3, probe: Contract) -> None:
    with pytest.raises(ContractCustomError) as caught:
        probe.functions.refuse().call()
    assert str(caught.value.data).startswith(
        Web3.to_hex(Web3.keccak(text="ProbeRefused(uint64,address)")[:4])
    )
    with pytest.raises(ContractCustomError):
        probe.functions.refuse().estimate_gas()


def test_revert_reason_and_panic_are_told(w3: Web3, probe: Contract) -> None:
    with pytest.raises(ContractLogicError, match="window closed"):
        probe.functions.reason().call()
    with pytest.raises(ContractPanicError, match=r"0x12|division|zero"):
        probe.functions.panic(0).call()
    assert probe.functions.panic(1).call() == 1


def test_reverted_transaction_is_mined_with_status_0(
    w3: Web3, account: LocalAccount, probe: Contract
) -> None:
    fields = probe.functions.reason().build_transaction(
        {"from": account.address, "nonce": w3.eth.get_transaction_count(account.address), "gas": 100_000}
    )
    signed = _raw(account, fields)
    receipt = w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(signed))
    assert receipt["status"] == 0
    assert receipt["logs"] == []


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_gas_estimate_is_enough(w3: Web3, account: LocalAccount, probe: Contract, depth: int) -> None:
    estimate = probe.functions.nested(depth).estimate_gas({"from": account.address})
    receipt = _send(w3, account, probe.functions.nested(depth))
    assert receipt["status"] == 1
    assert receipt["gasUsed"] <= estimate


def test_gas_estimate_pays_the_calldata_floor(w3: Web3, account: LocalAccount) -> None:
    fields = {"from": account.address, "to": "0x" + "22" * 20, "data": b"\x01" * 100 + b"\x00" * 10}
    estimate = w3.eth.estimate_gas(fields)  # type: ignore[arg-type]
    assert estimate == 21_000 + 10 * (4 * 100 + 10)
    receipt = w3.eth.wait_for_transaction_receipt(w3.eth.send_transaction(fields))  # type: ignore[arg-type]
    assert receipt["gasUsed"] == estimate


def test_old_states_can_be_read(w3: Web3, account: LocalAccount) -> None:
    target = Web3.to_checksum_address("0x" + "33" * 20)
    for _ in range(2):
        w3.eth.wait_for_transaction_receipt(
            w3.eth.send_transaction({"from": account.address, "to": target, "value": Web3.to_wei(1, "ether")})
        )
    assert [w3.eth.get_balance(target, number) for number in (0, 1, 2)] == [0, 10**18, 2 * 10**18]
    assert w3.eth.get_transaction_count(account.address, 1) == 1
    assert w3.eth.get_transaction_count(account.address, "earliest") == 0
    assert w3.eth.get_transaction_count(account.address, "pending") == 2


def test_storage_can_be_read(w3: Web3, account: LocalAccount, probe: Contract) -> None:
    _send(w3, account, probe.functions.note(1, b"\x01" * 32))
    assert int.from_bytes(w3.eth.get_storage_at(probe.address, 1), "big") == 1


def test_fee_history_has_one_fee_more(w3: Web3, account: LocalAccount) -> None:
    w3.eth.wait_for_transaction_receipt(
        w3.eth.send_transaction({"from": account.address, "to": account.address})
    )
    history = w3.eth.fee_history(2, "latest", [10.0, 90.0])
    assert history["oldestBlock"] == 0
    assert len(history["baseFeePerGas"]) == 3
    assert len(history["gasUsedRatio"]) == len(history["reward"]) == 2


def test_unknown_things_are_not_found(w3: Web3) -> None:
    with pytest.raises(BlockNotFound):
        w3.eth.get_block(99)
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction("0x" + "00" * 32)  # type: ignore[arg-type]
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction_receipt("0x" + "00" * 32)  # type: ignore[arg-type]


def test_nonce_too_low_is_refused(w3: Web3, account: LocalAccount) -> None:
    fields = {
        "to": account.address,
        "gas": 21_000,
        "nonce": 0,
        "chainId": 31337,
        "gasPrice": 10**10,
        "value": 0,
    }
    signed = _raw(account, fields)
    w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(signed))
    again = _raw(account, fields | {"value": 1})
    with pytest.raises(Web3RPCError, match="nonce too low"):
        w3.eth.send_raw_transaction(again)


def test_legacy_and_access_list_transactions(w3: Web3, account: LocalAccount) -> None:
    base: dict[str, object] = {
        "to": account.address,
        "gas": 60_000,
        "chainId": 31337,
        "gasPrice": 10**10,
        "value": 1,
    }
    access = [{"address": account.address, "storageKeys": ["0x" + "00" * 31 + "07"]}]
    for nonce, fields in enumerate((base, base | {"accessList": access, "type": 1})):
        signed = _raw(account, fields | {"nonce": nonce})
        receipt = w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(signed))
        assert receipt["status"] == 1
        found = w3.eth.get_transaction(receipt["transactionHash"])
        assert found["type"] == nonce
        assert found["from"] == account.address
        assert w3.eth.get_raw_transaction(receipt["transactionHash"]) == signed


def test_time_travel(w3: Web3) -> None:
    def ask(method: str, *parameters: object) -> None:
        response = w3.provider.make_request(RPCEndpoint(method), list(parameters))
        assert "error" not in response, response

    before = w3.eth.get_block("latest")["timestamp"]
    ask("evm_mine")
    now = w3.eth.get_block("latest")["timestamp"]
    assert now >= before
    ask("evm_increaseTime", 1_000)
    ask("evm_mine")
    later = w3.eth.get_block("latest")["timestamp"]
    assert 1_000 <= later - now < 1_060
    ask("evm_setNextBlockTimestamp", later + 5_000)
    ask("evm_mine")
    assert w3.eth.get_block("latest")["timestamp"] == later + 5_000


def test_block_context_in_code_is_the_headers(w3: Web3, account: LocalAccount, probe: Contract) -> None:
    receipt = _send(w3, account, probe.functions.record())
    block = w3.eth.get_block(receipt["blockNumber"])
    expected = Web3.keccak(
        b"".join(
            (
                block["timestamp"].to_bytes(32, "big"),
                bytes(block["mixHash"]),
                bytes(block["parentHash"]),
                block["baseFeePerGas"].to_bytes(32, "big"),
            )
        )
    )
    assert probe.functions.notes(block["number"]).call() == expected


def test_pending_block_follows_the_head(w3: Web3) -> None:
    assert w3.eth.get_block("pending")["number"] == w3.eth.block_number + 1
