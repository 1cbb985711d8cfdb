import random
import threading
import time
from contextlib import suppress

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from ledger.chain import EmbeddedChain, Genesis, LogicalClock, MinedBlock, SystemClock
from ledger.chain.accounts import MNEMONIC, local_addresses, local_keys
from ledger.chain.errors import ChainClosedError, StorageError, TimeRefusedError, TransactionRefusedError
from ledger.chain.transactions import floor_gas
from tests.ledger.chain.conftest import SMALL, sign
from tests.ledger.chain.probe import BYTECODE

NOTE = keccak(b"note(uint256,bytes32)")[:4]
BURST = keccak(b"burst(uint256)")[:4]
RECORD = keccak(b"record()")[:4]
REASON = keccak(b"reason()")[:4]


def deploy(chain: EmbeddedChain) -> bytes:
    """Deploy the probe from account 0 and give its address."""
    mined = chain.mine([sign(0, 0, to=None, data=BYTECODE, gas=2_000_000)])
    assert mined.receipts[0].state_root == b"\x01"
    return bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3")


def note(sender: int, nonce: int, probe: bytes, number: int) -> bytes:
    return sign(sender, nonce, to=probe, data=NOTE + number.to_bytes(32, "big") + keccak(bytes([number])))


def busy_chain(clock: LogicalClock | SystemClock) -> EmbeddedChain:
    """A chain with single, batched, empty, reverted and time-travelled blocks."""
    chain = EmbeddedChain.open(None, genesis=SMALL, clock=clock)
    probe = deploy(chain)
    chain.mine([note(sender, 0, probe, sender) for sender in range(1, 6)])
    chain.mine()
    chain.mine([sign(6, 0, to=probe, data=REASON), sign(6, 1, to=probe, data=RECORD)])
    chain.skip_time(10_000)
    chain.mine([sign(7, 0, to=probe, data=RECORD)])
    chain.set_next_timestamp(chain.head().timestamp + 77)
    chain.mine([sign(7, 1, to=probe, data=BURST + (5).to_bytes(32, "big"))])
    chain.mine(timestamp_s=chain.head().timestamp + 1_000)
    chain.mine([sign(7, 2, to=probe, data=RECORD)])
    return chain


def test_accounts_are_those_of_the_mnemonic() -> None:
    Account.enable_unaudited_hdwallet_features()
    for branch, index in ((0, 0), (0, 7), (0, 299), (1, 0), (1, 299)):
        expected = Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/{branch}/{index}")
        assert local_addresses(branch, 300)[index] == bytes.fromhex(expected.address[2:])
        assert local_keys(branch, 300)[index].to_bytes() == bytes(expected.key)


def test_genesis_funds_every_account_and_is_fixed(chain: EmbeddedChain) -> None:
    state = chain.state_at(chain.head())
    for address in SMALL.addresses():
        assert state.get_balance(address) == SMALL.balance_wei  # type: ignore[arg-type]
    with EmbeddedChain.open(None) as full:
        assert len(full.genesis.addresses()) == 600
        assert full.head().timestamp == Genesis().timestamp_s
        # Golden: a change here makes every existing data directory unreadable.
        assert full.head().hash.hex() == "85ff7a97ffabb67afcf2d498271e790e3e4b62729908ee8fa9b3d6938c6558de"


@pytest.mark.parametrize("clock", [LogicalClock(), SystemClock()], ids=["logical", "system"])
def test_whole_chain_imports_into_a_fresh_one(clock: LogicalClock | SystemClock) -> None:
    with busy_chain(clock) as chain, EmbeddedChain.open(None, genesis=SMALL) as fresh:
        for number in range(1, chain.head().block_number + 1):
            fresh.import_block(chain.block(chain.header(number)).block)
        assert fresh.head().hash == chain.head().hash
        assert fresh.logs.count() == chain.logs.count() == 10


def test_logical_clock_makes_the_chain_a_function_of_its_transactions() -> None:
    hashes = []
    for _ in range(2):
        with busy_chain(LogicalClock()) as chain:
            hashes.append([chain.header(n).hash for n in range(chain.head().block_number + 1)])
    assert hashes[0] == hashes[1]


def test_import_of_a_changed_block_is_refused(chain: EmbeddedChain) -> None:
    deploy(chain)
    block = chain.block(chain.header(1)).block
    forged = block.copy(header=block.header.copy(gas_used=block.header.gas_used + 1))
    with EmbeddedChain.open(None, genesis=SMALL) as fresh:
        with pytest.raises(TransactionRefusedError, match="does not import"):
            fresh.import_block(forged)
        assert fresh.head().block_number == 0
        fresh.import_block(block)
        assert fresh.head().hash == chain.head().hash


def test_import_of_another_chains_transactions_is_refused() -> None:
    # The chain id is in no header, so the two chains have the same genesis block.
    with (
        EmbeddedChain.open(None, genesis=Genesis(accounts=10, chain_id=5)) as other,
        EmbeddedChain.open(None, genesis=SMALL) as chain,
    ):
        assert other.head() == chain.head()
        foreign = other.mine([sign(0, 0, chain_id=5)]).block
        with pytest.raises(TransactionRefusedError, match="for another chain"):
            chain.import_block(foreign)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "cannot be decoded"),
        (b"\x02", "cannot be decoded"),
        (b"\x02\xc0", "cannot be decoded"),
        (b"\xc0", "cannot be decoded"),
        (b"\x05" + b"\xc0", "cannot be decoded"),
        (b"\x7f", "cannot be decoded"),
        (b"\x80", "cannot be decoded"),
        (b"\xf8\xff", "cannot be decoded"),
        (b"\xbf" + b"\xff" * 8, "cannot be decoded"),
        (b"\xc1" * 5_000, "cannot be decoded"),
        (b"\x03\xc0", "blob"),
        (b"\x00" * 2_000_000, "oversized data"),
        (sign(0, 0, chain_id=1), "invalid chain id for signer: have 1 want 31337"),
        (sign(0, 1), "nonce too high: next nonce 0, tx nonce 1"),
        (sign(0, 2**64 - 2), "nonce too high"),
        (sign(0, 0, gas=20_999), "intrinsic gas too low: have 20999, want 21000"),
        (
            sign(0, 0, data=b"\x01" * 100, gas=23_000),
            f"intrinsic gas too low: have 23000, want {floor_gas(b'1' * 100)}",
        ),
        (sign(0, 0, gas=2_000_000_001), "exceeds block gas limit"),
        (sign(0, 0, value=10_000 * 10**18), "insufficient funds for gas * price + value"),
        (sign(0, 0, max_fee=10**9 - 1), "higher than max fee"),
        (sign(0, 0, to=None, data=b"\x00" * 49_153, gas=10**7), "max initcode size exceeded"),
        (sign(0, 0)[:-1] + b"\x00", "cannot be decoded|insufficient funds|not canonical"),
    ],
)
def test_bad_transaction_is_refused_and_leaves_nothing(chain: EmbeddedChain, raw: bytes, reason: str) -> None:
    head = chain.head()
    with pytest.raises(TransactionRefusedError, match=reason.replace("*", "[*]").replace("+", "[+]")):
        chain.mine([raw])
    assert chain.head() == head
    assert chain.mine([sign(0, 0)]).number == 1


@pytest.mark.parametrize("prefix", [b"", b"\x02", b"\x04"])
def test_deeply_nested_rlp_is_refused_at_once(chain: EmbeddedChain, prefix: bytes) -> None:
    heads, size = [], 0
    for _ in range(90_000):
        if size < 56:
            head = bytes([0xC0 + size])
        else:
            length = size.to_bytes((size.bit_length() + 7) // 8, "big")
            head = bytes([0xF7 + len(length)]) + length
        heads.append(head)
        size += len(head)
    start = time.perf_counter()
    with pytest.raises(TransactionRefusedError, match="nested too deeply"):
        chain.mine([prefix + b"".join(reversed(heads))])
    assert time.perf_counter() - start < 2


def test_recursion_to_the_depth_limit_of_the_evm_works_in_a_thread(chain: EmbeddedChain) -> None:
    # A contract that calls itself with all its gas, until depth 1024 or nothing is left.
    code = bytes.fromhex("5f5f5f5f5f305af100")
    init = bytes.fromhex("6009600b5f3960095ff300") + code
    chain.mine([sign(0, 0, to=None, data=init, gas=200_000)])
    contract = bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3")
    assert chain.state_at(chain.head()).get_code(contract) == code  # type: ignore[arg-type]
    mined: list[MinedBlock] = []
    raw = sign(1, 0, to=contract, gas=1_900_000_000, max_fee=2 * 10**9)
    thread = threading.Thread(target=lambda: mined.append(chain.mine([raw])))
    thread.start()
    thread.join()
    assert mined[0].receipts[0].gas_used > 1_000 * 100


def test_unprotected_transaction_is_refused(chain: EmbeddedChain) -> None:
    fields = {"nonce": 0, "to": b"\x11" * 20, "value": 0, "gas": 21_000, "gasPrice": 10**10, "data": b""}
    signed = Account.sign_transaction(fields, local_keys(0, 1)[0].to_bytes())
    with pytest.raises(TransactionRefusedError, match="replay-protected"):
        chain.mine([bytes(signed.raw_transaction)])


def test_old_nonce_is_refused(chain: EmbeddedChain) -> None:
    raw = sign(0, 0)
    chain.mine([raw])
    with pytest.raises(TransactionRefusedError, match="nonce too low: next nonce 1, tx nonce 0") as caught:
        chain.mine([raw])
    assert caught.value.transaction_hash == keccak(raw)


def test_batch_is_all_or_nothing(chain: EmbeddedChain) -> None:
    good = [sign(sender, 0, value=5) for sender in range(3)]
    head = chain.head()
    with pytest.raises(TransactionRefusedError, match="nonce too high") as caught:
        chain.mine([*good, sign(0, 2)])
    assert caught.value.index == 3
    assert chain.head() == head
    with pytest.raises(TransactionRefusedError, match="gas limit reached"):
        chain.mine([sign(1, 0), sign(0, 0, gas=1_999_990_000, max_fee=2 * 10**9)])
    mined = chain.mine([*good, sign(0, 1)])
    assert mined.number == 1
    assert len(mined.receipts) == 4
    assert chain.state_at(chain.head()).get_balance(b"\x11" * 20) == 15  # type: ignore[arg-type]


def test_spending_what_an_earlier_transaction_of_the_batch_brought(chain: EmbeddedChain) -> None:
    poor = local_keys(0, 20)[15]
    address = poor.public_key.to_canonical_address()
    fields = {"type": 2, "chainId": 31337, "nonce": 0, "to": b"\x22" * 20, "value": 1, "gas": 21_000}
    fees = {"maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 0}
    spend = bytes(Account.sign_transaction(fields | fees, poor.to_bytes()).raw_transaction)
    with pytest.raises(TransactionRefusedError, match="insufficient funds"):
        chain.mine([spend])
    assert len(chain.mine([sign(0, 0, to=address, value=10**18), spend]).receipts) == 2


def test_gas_limit_is_constant_and_base_fee_follows_london(chain: EmbeddedChain) -> None:
    for _ in range(3):
        chain.mine()
    headers = [chain.header(number) for number in range(4)]
    assert {header.gas_limit for header in headers} == {SMALL.gas_limit}
    assert [header.base_fee_per_gas for header in headers] == [10**9, 875 * 10**6, 765_625_000, 669_921_875]


def test_time_travel_moves_the_logical_clock_once(chain: EmbeddedChain) -> None:
    start = chain.head().timestamp
    assert chain.mine().block.header.timestamp == start + 1
    assert chain.skip_time(50) == 50
    assert chain.skip_time(50) == 100
    assert chain.mine().block.header.timestamp == start + 102
    assert chain.mine().block.header.timestamp == start + 103
    chain.set_next_timestamp(start + 500)
    assert chain.mine().block.header.timestamp == start + 500
    assert chain.mine().block.header.timestamp == start + 501


def test_time_travel_moves_the_system_clock_for_good() -> None:
    with EmbeddedChain.open(None, genesis=SMALL) as chain:
        first = chain.mine().block.header.timestamp
        chain.skip_time(10_000)
        second = chain.mine().block.header.timestamp
        third = chain.mine().block.header.timestamp
        assert 10_000 <= second - first <= 10_030
        assert 1 <= third - second <= 30
        chain.set_next_timestamp(third + 50_000)
        assert chain.mine().block.header.timestamp == third + 50_000
        assert 1 <= chain.mine().block.header.timestamp - third - 50_000 <= 30


def test_time_never_goes_back(chain: EmbeddedChain) -> None:
    head_s = chain.head().timestamp
    for wrong in (head_s, head_s - 1, 0, 2**63):
        with pytest.raises(TimeRefusedError):
            chain.set_next_timestamp(wrong)
        with pytest.raises(TimeRefusedError):
            chain.mine(timestamp_s=wrong)
    for wrong in (-1, 2**63):
        with pytest.raises(TimeRefusedError):
            chain.skip_time(wrong)
    assert chain.mine().block.header.timestamp == head_s + 1


def test_head_time_that_overtakes_a_fixed_timestamp_is_refused_not_lost(chain: EmbeddedChain) -> None:
    wanted = chain.head().timestamp + 10
    chain.set_next_timestamp(wanted)
    assert chain.mine(timestamp_s=wanted + 10).number == 1
    assert chain.mine().number == 2


def test_state_changes_only_inside_a_block(chain: EmbeddedChain) -> None:
    with pytest.raises(StorageError):
        chain.store[b"key"] = b"value"
    state = chain.state_at(chain.head())
    state.set_balance(SMALL.addresses()[0], 0)  # type: ignore[arg-type]
    assert chain.state_at(chain.head()).get_balance(SMALL.addresses()[0]) > 0  # type: ignore[arg-type]


def test_failing_disk_loses_nothing_that_was_acknowledged(chain: EmbeddedChain) -> None:
    chain.mine([sign(0, 0)])
    chain.store.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StorageError):
        chain.mine([sign(0, 1)])
    chain.store.connection.execute("PRAGMA query_only = OFF")
    assert chain.head().block_number == 1
    assert chain.mine([sign(0, 1)]).number == 2


def test_listener_that_fails_does_not_fail_the_sender(chain: EmbeddedChain) -> None:
    seen: list[int] = []

    def broken(mined: MinedBlock) -> None:
        seen.append(mined.number)
        raise RuntimeError("listener")

    stop = chain.on_block(broken)
    chain.mine()
    stop()
    stop()
    chain.mine()
    assert seen == [1]


def test_threads_may_share_a_chain(chain: EmbeddedChain) -> None:
    failures: list[Exception] = []

    def work(sender: int) -> None:
        try:
            for nonce in range(5):
                chain.mine([sign(sender, nonce, value=1)])
                chain.state_at(chain.head()).get_balance(b"\x11" * 20)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - handed to the test below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert chain.head().block_number == 20
    assert chain.state_at(chain.head()).get_balance(b"\x11" * 20) == 20  # type: ignore[arg-type]


def test_closed_chain_says_so() -> None:
    chain = EmbeddedChain.open(None, genesis=SMALL)
    chain.close()
    chain.close()
    with pytest.raises(ChainClosedError):
        chain.head()
    with pytest.raises(ChainClosedError):
        chain.mine()


def test_mutated_transactions_are_refused_or_valid_never_fatal(chain: EmbeddedChain) -> None:
    generator = random.Random(20260101)
    original = sign(0, 0, value=3, data=b"abc")
    mined = 0
    for _ in range(300):
        raw = bytearray(original)
        for _ in range(generator.randint(1, 3)):
            raw[generator.randrange(len(raw))] = generator.randrange(256)
        with suppress(TransactionRefusedError):
            chain.mine([bytes(raw)])
            mined += 1
    assert chain.head().block_number == mined
