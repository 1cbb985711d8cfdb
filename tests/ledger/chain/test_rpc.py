import pytest
import rlp
from eth_abi.abi import encode as abi_encode
from eth_account import Account
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3 import Web3

from ledger.chain import EmbeddedChain, EmbeddedProvider, RpcDispatcher, RpcError, RpcLimits
from ledger.chain.accounts import local_keys
from ledger.chain.calls import Call, estimate_gas, revert_message, run_call
from ledger.chain.errors import CallRefusedError, CallRevertedError
from ledger.chain.filters import FilterTable, FilterUnknownError, TooManyFiltersError
from ledger.chain.params import (
    EXECUTION_REVERTED,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    SERVER_ERROR,
    Json,
)
from tests.ledger.chain.conftest import SMALL, sign
from tests.ledger.chain.test_chain import deploy, note

ME = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
ADDRESS = "0x" + "11" * 20
HASH = "0x" + "ab" * 32


def refused(rpc: RpcDispatcher, method: str, *parameters: Json) -> RpcError:
    with pytest.raises(RpcError) as caught:
        rpc.handle(method, list(parameters))
    return caught.value


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("eth_blockNumber", ["latest"]),
        ("eth_chainId", [1]),
        ("eth_getBalance", []),
        ("eth_getBalance", [ADDRESS, "latest", "0x1"]),
        ("eth_getBalance", ["0x11", "latest"]),
        ("eth_getBalance", [ADDRESS, "newest"]),
        ("eth_getBalance", [ADDRESS, 1]),
        ("eth_getBalance", [ADDRESS, "0x01"]),
        ("eth_getBalance", [ADDRESS, "0x"]),
        ("eth_getBalance", [ADDRESS, "0x1_0"]),
        ("eth_getBalance", [ADDRESS, "0x" + "f" * 65]),
        ("eth_getBalance", [ADDRESS, {"blockNumber": "0x0", "blockHash": HASH}]),
        ("eth_getBalance", [ADDRESS, {"blockNumber": {"blockNumber": "0x0"}}]),
        ("eth_getBalance", [ADDRESS, {"blockHash": HASH, "requireCanonical": "yes"}]),
        ("eth_getBalance", [ADDRESS, {}]),
        ("eth_getBalance", [{"address": ADDRESS}]),
        ("eth_getBalance", [["0x11"]]),
        ("eth_call", [{"to": ADDRESS}, "latest", {}]),
        ("eth_call", [{"to": ADDRESS}, "latest", {ADDRESS: {"balance": "0x1"}}]),
        ("eth_call", [{"to": ADDRESS}, "latest", None, {}]),
        ("eth_call", [{"to": ADDRESS, "blobs": []}]),
        ("eth_call", [{"to": ADDRESS, "authorizationList": []}]),
        ("eth_call", [{"to": ADDRESS, "Data": "0x"}]),
        ("eth_call", [{"to": ADDRESS, "data": "0x01", "input": "0x02"}]),
        ("eth_call", [{"to": ADDRESS, "data": "0x1"}]),
        ("eth_call", [{"to": ADDRESS, "value": 1}]),
        ("eth_call", [{"to": ADDRESS, "gasPrice": "0x1", "maxFeePerGas": "0x1"}]),
        ("eth_call", [{"to": ADDRESS, "maxPriorityFeePerGas": "0x1"}]),
        ("eth_call", [{"to": ADDRESS, "maxFeePerGas": "0x1", "maxPriorityFeePerGas": "0x2"}]),
        ("eth_call", [{"to": ADDRESS, "chainId": "0x1"}]),
        ("eth_call", [{"to": ADDRESS, "type": "0x3"}]),
        ("eth_call", [{"to": ADDRESS, "accessList": [{"address": ADDRESS, "slots": []}]}]),
        ("eth_call", ["0x"]),
        ("eth_estimateGas", [{"to": ADDRESS}, "latest", {}]),
        ("eth_getLogs", [{"fromBlock": "0x0", "limit": 5}]),
        ("eth_getLogs", [{"blockHash": HASH, "fromBlock": "0x0"}]),
        ("eth_getLogs", [{"fromBlock": "0x5", "toBlock": "0x2"}]),
        ("eth_getLogs", [{"topics": [HASH] * 5}]),
        ("eth_getLogs", [{"topics": ["0x11"]}]),
        ("eth_getLogs", [{"topics": HASH}]),
        ("eth_getLogs", [{"address": ["0x11"]}]),
        ("eth_getLogs", []),
        ("eth_getBlockByNumber", ["latest", "true"]),
        ("eth_getBlockByNumber", ["latest", True, 1]),
        ("eth_getBlockByHash", ["latest", True]),
        ("eth_sendRawTransaction", ["0x0"]),
        ("eth_sendRawTransaction", [7]),
        ("eth_feeHistory", ["0x1", "latest", [90, 10]]),
        ("eth_feeHistory", ["0x1", "latest", [101]]),
        ("eth_feeHistory", ["0x1", "latest", "10"]),
        ("hallmark_sendRawTransactions", [[]]),
        ("hallmark_sendRawTransactions", ["0x"]),
        ("evm_mine", [{"count": 1}]),
        ("evm_mine", [{"blocks": 0}]),
        ("evm_mine", [{"blocks": 10**9}]),
        ("evm_increaseTime", [-1]),
        ("evm_increaseTime", [True]),
        ("evm_increaseTime", [1.5]),
        ("eth_getProof", [ADDRESS, "0x0", "latest"]),
    ],
)
def test_parameter_that_is_not_understood_is_refused(
    rpc: RpcDispatcher, method: str, parameters: list[Json]
) -> None:
    error = refused(rpc, method, *parameters)
    assert error.rpc_code == INVALID_PARAMS, error
    assert error.message.startswith("invalid params")


@pytest.mark.parametrize(
    "method", ["eth_subscribe", "debug_traceTransaction", "evm_revert", "x" * 10_000, ""]
)
def test_unknown_method_is_not_found(rpc: RpcDispatcher, method: str) -> None:
    error = refused(rpc, method)
    assert error.rpc_code == METHOD_NOT_FOUND
    assert len(error.message) < 200


def test_blocks_can_be_named_in_every_way(chain: EmbeddedChain, rpc: RpcDispatcher) -> None:
    chain.mine([sign(0, 0, value=1)])
    block_hash = f"0x{chain.head().hash.hex()}"
    ways: list[Json] = ["latest", "safe", "finalized", "pending", "0x1", block_hash, None]
    ways += [{"blockNumber": "0x1"}, {"blockNumber": "latest"}, {"blockHash": block_hash}]
    ways += [{"blockHash": block_hash, "requireCanonical": True}]
    for way in ways:
        assert rpc.handle("eth_getBalance", [ADDRESS, way]) == "0x1", way
    assert rpc.handle("eth_getBalance", [ADDRESS]) == "0x1"
    assert rpc.handle("eth_getBalance", [ADDRESS, "earliest"]) == "0x0"
    assert refused(rpc, "eth_getBalance", ADDRESS, "0x2").message.startswith("header not found")
    assert refused(rpc, "eth_getBalance", ADDRESS, HASH).rpc_code == SERVER_ERROR
    assert rpc.handle("eth_getBlockByNumber", ["0x2", False]) is None
    assert rpc.handle("eth_getBlockByHash", [HASH, False]) is None
    assert rpc.handle("eth_getBlockReceipts", ["0x2"]) is None
    assert rpc.handle("eth_getTransactionByBlockNumberAndIndex", ["0x1", "0x1"]) is None
    # The hash of a trie node is in the same store as headers, but it is no block.
    assert rpc.handle("eth_getBlockByHash", [f"0x{chain.head().state_root.hex()}", False]) is None


def test_refusals_are_worded_as_geth_words_them(rpc: RpcDispatcher) -> None:
    rpc.handle("eth_sendRawTransaction", [f"0x{sign(0, 0).hex()}"])
    for raw, words in (
        (sign(0, 0), "nonce too low: next nonce 1, tx nonce 0"),
        (sign(0, 5), "nonce too high: next nonce 1, tx nonce 5"),
        (sign(1, 0, value=10**30), "insufficient funds for gas * price + value"),
        (sign(0, 1, chain_id=2), "invalid chain id for signer"),
    ):
        error = refused(rpc, "eth_sendRawTransaction", f"0x{raw.hex()}")
        assert (error.rpc_code, error.message.startswith(words)) == (SERVER_ERROR, True), error


def test_batch_is_mined_in_one_block(chain: EmbeddedChain, rpc: RpcDispatcher) -> None:
    raws: list[Json] = [f"0x{sign(0, nonce).hex()}" for nonce in range(5)]
    hashes = rpc.handle("hallmark_sendRawTransactions", [raws])
    assert isinstance(hashes, list)
    block = rpc.handle("eth_getBlockByNumber", ["0x1", False])
    assert isinstance(block, dict)
    assert block["transactions"] == hashes
    again = refused(rpc, "hallmark_sendRawTransactions", raws)
    assert again.message.startswith("nonce too low")
    assert again.data == {"index": "0x0"}
    assert chain.head().block_number == 1


def test_only_local_accounts_are_unlocked(rpc: RpcDispatcher) -> None:
    assert "unknown account" in refused(rpc, "eth_sendTransaction", {"from": ADDRESS, "to": ME}).message
    assert "unknown account" in refused(rpc, "eth_sendTransaction", {"to": ME}).message
    assert rpc.handle("eth_accounts", []) == list(Web3(EmbeddedProvider(rpc)).eth.accounts)
    assert isinstance(
        rpc.handle("eth_sendTransaction", [{"from": ME, "to": ADDRESS, "gasPrice": "0x3b9aca00"}]), str
    )


def test_call_at_a_price_needs_funds_and_base_fee(rpc: RpcDispatcher) -> None:
    assert rpc.handle("eth_call", [{"from": ADDRESS, "to": ADDRESS}]) == "0x"
    priced: dict[str, Json] = {"from": ADDRESS, "to": ADDRESS, "gas": "0x5208"}
    assert "insufficient funds" in refused(rpc, "eth_call", priced | {"gasPrice": "0x77359400"}).message
    assert (
        "insufficient funds" in refused(rpc, "eth_call", {"from": ADDRESS, "to": ME, "value": "0x1"}).message
    )
    low: Json = {"from": ME, "to": ADDRESS, "gas": "0x5208", "gasPrice": "0x1"}
    assert "base fee" in refused(rpc, "eth_call", low).message
    assert "intrinsic gas too low" in refused(rpc, "eth_call", {"to": ADDRESS, "gas": "0x1"}).message


def test_revert_carries_code_and_data(chain: EmbeddedChain, rpc: RpcDispatcher) -> None:
    probe = f"0x{deploy(chain).hex()}"
    custom = refused(rpc, "eth_call", {"to": probe, "from": ME, "data": f"0x{keccak(b'refuse()')[:4].hex()}"})
    assert custom.rpc_code == EXECUTION_REVERTED
    expected = keccak(b"ProbeRefused(uint64,address)")[:4] + abi_encode(
        ["uint64", "address"], [chain.head().timestamp, ME]
    )
    assert custom.data == f"0x{expected.hex()}"
    reason = refused(rpc, "eth_estimateGas", {"to": probe, "data": f"0x{keccak(b'reason()')[:4].hex()}"})
    assert (reason.rpc_code, reason.message) == (EXECUTION_REVERTED, "execution reverted: window closed")
    call: Json = {"to": probe, "data": f"0x{keccak(b'burst(uint256)')[:4].hex()}{'ff' * 32}"}
    out_of_gas = refused(RpcDispatcher(chain, limits=RpcLimits(call_gas=200_000)), "eth_call", call)
    assert (out_of_gas.rpc_code, out_of_gas.data) == (SERVER_ERROR, None)
    assert out_of_gas.message.startswith("out of gas")


def test_revert_data_is_put_into_words_or_left_alone() -> None:
    assert revert_message(b"") == "execution reverted"
    assert (
        revert_message(bytes.fromhex("08c379a0") + abi_encode(["string"], ["no"])) == "execution reverted: no"
    )
    assert revert_message(bytes.fromhex("08c379a0") + b"\xff" * 70) == "execution reverted"
    panic = bytes.fromhex("4e487b71") + (0x11).to_bytes(32, "big")
    assert revert_message(panic) == "execution reverted: panic: arithmetic underflow or overflow (0x11)"
    assert revert_message(b"\x01\x02\x03\x04") == "execution reverted"


@pytest.mark.parametrize("depth", [0, 1, 3, 20])
def test_gas_estimate_is_exact(chain: EmbeddedChain, depth: int) -> None:
    probe = deploy(chain)
    data = keccak(b"nested(uint256)")[:4] + depth.to_bytes(32, "big")
    call = Call(sender=SMALL.addresses()[1], to=probe, data=data)
    gas = estimate_gas(chain, chain.next_header(), call)
    below = Call(sender=call.sender, to=probe, data=data, gas=gas - 1)
    with pytest.raises(CallRevertedError):
        run_call(chain, chain.next_header(), below)
    assert chain.mine([sign(1, 0, to=probe, data=data, gas=gas)]).receipts[0].state_root == b"\x01"


def test_gas_estimate_covers_what_is_refunded(chain: EmbeddedChain) -> None:
    probe = deploy(chain)
    chain.mine([note(1, 0, probe, 7)])
    data = keccak(b"clear(uint256)")[:4] + (7).to_bytes(32, "big")
    call = Call(sender=SMALL.addresses()[1], to=probe, data=data)
    gas = estimate_gas(chain, chain.next_header(), call)
    mined = chain.mine([sign(1, 1, to=probe, data=data, gas=gas)])
    assert mined.receipts[0].state_root == b"\x01"
    assert mined.receipts[0].gas_used < gas


def test_gas_estimate_is_limited_by_cap_and_funds(chain: EmbeddedChain) -> None:
    call = Call(sender=SMALL.addresses()[1], to=b"\x11" * 20)
    assert estimate_gas(chain, chain.next_header(), call) == 21_000
    with pytest.raises(CallRefusedError, match="exceeds allowance"):
        estimate_gas(chain, chain.next_header(), call, gas_cap=20_999)
    poor = Call(sender=b"\x22" * 20, to=b"\x11" * 20, max_fee_per_gas=10**10)
    with pytest.raises(CallRefusedError, match="exceeds allowance"):
        estimate_gas(chain, chain.next_header(), poor)


def test_call_leaves_no_trace(chain: EmbeddedChain) -> None:
    probe = deploy(chain)
    root = chain.head().state_root
    data = keccak(b"note(uint256,bytes32)")[:4] + b"\x01" * 64
    run_call(chain, chain.head(), Call(to=probe, data=data))
    assert chain.head().state_root == root
    assert chain.state_at(chain.head()).get_storage(probe, 1) == 0  # type: ignore[arg-type]
    fresh = EmbeddedChain.open(None, genesis=SMALL)
    fresh.import_block(chain.block(chain.header(1)).block)
    assert fresh.head().hash == chain.head().hash
    fresh.close()


def test_proof_verifies_against_the_state_root(chain: EmbeddedChain, rpc: RpcDispatcher) -> None:
    probe = deploy(chain)
    chain.mine([note(1, 0, probe, 7)])
    slot = keccak((7).to_bytes(32, "big") + (0).to_bytes(32, "big"))
    keys: list[Json] = [f"0x{slot.hex()}", "0x1", "0x5"]
    proof = rpc.handle("eth_getProof", [f"0x{probe.hex()}", keys, "latest"])
    assert isinstance(proof, dict)
    account_proof, storage = proof["accountProof"], proof["storageProof"]
    assert isinstance(account_proof, list)
    assert isinstance(storage, list)
    nodes = [bytes.fromhex(str(node)[2:]) for node in account_proof]
    assert keccak(nodes[0]) == chain.head().state_root
    leaf = rlp.decode(rlp.decode(nodes[-1])[1])
    assert leaf[2].hex() == str(proof["storageHash"])[2:]
    values = [item["value"] for item in storage if isinstance(item, dict)]
    assert values == [f"0x{keccak(bytes([7])).hex().lstrip('0')}", "0x1", "0x0"]
    absent = rpc.handle("eth_getProof", [ADDRESS, [], "latest"])
    assert isinstance(absent, dict)
    assert (absent["balance"], absent["nonce"]) == ("0x0", "0x0")


def test_set_code_transaction_delegates(chain: EmbeddedChain, rpc: RpcDispatcher) -> None:
    probe = deploy(chain)
    owner = Account.from_key(local_keys(0, 3)[2].to_bytes())
    authorization = owner.sign_authorization({"chainId": 31337, "address": probe, "nonce": 1})
    signed = owner.sign_transaction(
        {
            "type": 4,
            "chainId": 31337,
            "nonce": 0,
            "to": owner.address,
            "value": 0,
            "gas": 200_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 1,
            "data": keccak(b"note(uint256,bytes32)")[:4] + b"\x01" * 64,
            "authorizationList": [authorization],
        }
    )
    sent = rpc.handle("eth_sendRawTransaction", [f"0x{bytes(signed.raw_transaction).hex()}"])
    receipt = rpc.handle("eth_getTransactionReceipt", [sent])
    found = rpc.handle("eth_getTransactionByHash", [sent])
    assert isinstance(receipt, dict)
    assert isinstance(found, dict)
    assert (receipt["status"], found["type"]) == ("0x1", "0x4")
    assert rpc.handle("eth_getCode", [owner.address, "latest"]) == f"0xef0100{probe.hex()}"
    assert len(found["authorizationList"]) == 1  # type: ignore[arg-type]


def test_filters_are_bounded_and_expire() -> None:
    now = [0.0]
    table = FilterTable(limit=2, lifetime_s=10, monotonic=lambda: now[0])
    first, second = table.install(None, next_block=0), table.install(None, next_block=0)
    assert first != second
    with pytest.raises(TooManyFiltersError):
        table.install(None, next_block=0)
    now[0] = 9
    table.get(second)
    now[0] = 15
    with pytest.raises(FilterUnknownError):
        table.get(first)
    table.install(None, next_block=0)
    table.get(second)
    assert table.remove(second)
    assert not table.remove(second)


def test_log_filter_reports_from_now_on_but_lists_everything(
    chain: EmbeddedChain, rpc: RpcDispatcher
) -> None:
    probe = deploy(chain)
    chain.mine([note(1, 0, probe, 1)])
    identifier = rpc.handle("eth_newFilter", [{"fromBlock": "0x0", "address": f"0x{probe.hex()}"}])
    assert rpc.handle("eth_getFilterChanges", [identifier]) == []
    chain.mine([note(1, 1, probe, 2), note(1, 2, probe, 3)])
    changes = rpc.handle("eth_getFilterChanges", [identifier])
    assert isinstance(changes, list)
    assert len(changes) == 2
    everything = rpc.handle("eth_getFilterLogs", [identifier])
    assert isinstance(everything, list)
    assert everything[1:] == changes
    assert rpc.handle("eth_uninstallFilter", [identifier]) is True
    assert rpc.handle("eth_uninstallFilter", [identifier]) is False


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["latest", "0x0", "0x1", ADDRESS, HASH, "0x", "pending", ME]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["to", "from", "data", "fromBlock", "topics", "address", "blockHash", "gas", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_parameters_make_a_method_fail_inside(rpc: RpcDispatcher, data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(sorted(rpc.methods)))
    parameters = data.draw(st.lists(_JSON, max_size=4))
    code = 0
    try:
        rpc.handle(method, parameters)
    except RpcError as error:
        code = error.rpc_code
    assert code != INTERNAL_ERROR, (method, parameters)
