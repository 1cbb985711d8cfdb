"""Transactions that hang: the fee is raised, whichever version is mined counts, nothing is sent twice."""

from collections.abc import Iterator
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from ledger.asking import NodeAnswerError, NodeUnavailableError
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.errors import InputError
from ledger.fees import GWEI, Fee, SendPolicy
from ledger.mempool import hanging
from ledger.node import Node
from ledger.parties import local_parties
from ledger.reverts import RevertedError
from ledger.sending import Sender, WithdrawnError
from tests.ledger.chain.conftest import running_anvil
from tests.ledger.pool import Clock, Mempool

PAYER: LocalAccount = local_parties(1).operator
PAYEE = "0x" + "77" * 20


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mempool]:
    """A chain with a mempool; a block comes every 12 s of a clock that costs no time."""
    with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
        made = Mempool(EmbeddedProvider(RpcDispatcher(chain)))
        monkeypatch.setattr("ledger.sending.time", Clock(made.mine))
        yield made


def node_of(pool: Mempool, **policy: Any) -> Node:
    return Node(pool, policy=SendPolicy(**policy))


def after_broadcast(pool: Mempool, do: Any) -> None:
    """Do something once, when the next transaction is in the mempool."""
    take = pool._take

    def take_and_do(raw: bytes) -> Any:
        pool._take = take  # type: ignore[method-assign]
        response = take(raw)
        do()
        return response

    pool._take = take_and_do  # type: ignore[method-assign]


def hang(pool: Mempool) -> None:
    """Let a process be killed that has just sent 7 wei, and the base fee rise."""

    def die() -> None:
        pool.base_fee_wei = 100 * GWEI
        raise Killed

    after_broadcast(pool, die)
    with pytest.raises(Killed):
        node_of(pool).transfer(PAYER, PAYEE, 7)


# Fees


def test_a_raised_fee_is_an_eighth_more_in_both_fields_and_pays_for_the_next_blocks() -> None:
    fee = Fee.first(10 * GWEI, 500 * GWEI)
    assert fee == Fee(21 * GWEI, GWEI)
    raised = fee.raised(10 * GWEI, 500 * GWEI)
    assert raised == Fee(21 * GWEI * 9 // 8, GWEI * 9 // 8)
    assert Fee(9, 1).raised(0, 10**12) == Fee(11, 2)  # rounded up
    assert fee.raised(100 * GWEI, 500 * GWEI) == Fee(200 * GWEI + GWEI * 9 // 8, GWEI * 9 // 8)


def test_the_cap_is_never_passed() -> None:
    assert Fee.first(10**12, 50 * GWEI) == Fee(50 * GWEI, GWEI)
    assert Fee.first(0, 5) == Fee(5, 5)
    assert Fee(40 * GWEI, GWEI).raised(100 * GWEI, 46 * GWEI) == Fee(46 * GWEI, GWEI * 9 // 8)
    assert Fee(40 * GWEI, GWEI).raised(0, 45 * GWEI) == Fee(45 * GWEI, GWEI * 9 // 8)
    assert Fee(40 * GWEI, GWEI).raised(0, 45 * GWEI - 1) is None


@pytest.mark.parametrize("values", [{"max_fee_wei": 0}, {"confirmations": -1}, {"confirmations": 65}])
def test_a_policy_that_cannot_be_meant(values: dict[str, int]) -> None:
    with pytest.raises(InputError):
        SendPolicy(**values)


# Waiting and replacing


def test_what_is_mined_in_time_is_sent_once(pool: Mempool) -> None:
    sent = node_of(pool).transfer(PAYER, PAYEE, 7)
    assert [one["hash"] for one in pool.taken] == [sent.hash]


def test_a_fee_that_has_become_too_low_is_raised_until_it_is_mined(pool: Mempool) -> None:
    def rise() -> None:
        pool.base_fee_wei *= 40

    after_broadcast(pool, rise)
    node = node_of(pool)
    sent = node.transfer(PAYER, PAYEE, 7)
    first, second = pool.taken
    assert (first["nonce"], second["nonce"]) == (0, 0)
    assert second["hash"] == sent.hash
    for name in ("maxFeePerGas", "maxPriorityFeePerGas"):
        assert 8 * second[name] >= 9 * first[name]
    assert second["maxFeePerGas"] >= pool.base_fee_wei
    assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (7, 1)


def test_whichever_version_is_mined_counts(pool: Mempool) -> None:
    pool.is_oldest_mined = True
    take = pool._take

    def take_and_move(raw: bytes) -> Any:
        # The base fee rises, and falls again when there are three versions of which a miner knows the first.
        response = take(raw)
        pool.base_fee_wei = GWEI if len(pool.taken) == 3 else 40 * GWEI * len(pool.taken)
        return response

    pool._take = take_and_move  # type: ignore[method-assign]
    node = node_of(pool)
    sent = node.transfer(PAYER, PAYEE, 7)
    assert len(pool.taken) == 3
    assert sent.hash == pool.taken[0]["hash"]
    assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (7, 1)


def test_a_chain_that_stands_still_is_no_reason_to_pay_more(
    pool: Mempool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(lambda: None)
    monkeypatch.setattr("ledger.sending.time", clock)
    with pytest.raises(NodeUnavailableError, match=r"not mined within 3.*chain stands still") as caught:
        node_of(pool).transfer(PAYER, PAYEE, 7)
    assert "fee" not in caught.value.hint
    assert len(pool.taken) == 1
    assert 9 * 36 <= clock.now_s < 10 * 36


def test_the_cap_ends_it_with_a_clear_error_and_nothing_is_sent_twice(pool: Mempool) -> None:
    def rise() -> None:
        pool.base_fee_wei = 1000 * GWEI

    after_broadcast(pool, rise)
    node = node_of(pool, max_fee_wei=50 * GWEI)
    with pytest.raises(NodeUnavailableError, match="the base fee is 1000, the cap 50") as caught:
        node.transfer(PAYER, PAYEE, 7)
    assert "--max-fee-gwei" in caught.value.hint
    assert max(one["maxFeePerGas"] for one in pool.taken) <= 50 * GWEI
    assert {one["nonce"] for one in pool.taken} == {0}
    pool.base_fee_wei = 20 * GWEI
    assert node_of(pool).take_up(PAYER) == 1
    assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (7, 1)
    assert node_of(pool).take_up(PAYER) == 0


def test_another_transaction_in_its_place_has_it_sent_again_once(pool: Mempool) -> None:
    other = node_of(pool)

    def overtake() -> None:
        pool.versions.clear()  # only the other one gets to who makes the block
        nothing = {**Sender(other, PAYER)._nothing(0), "maxFeePerGas": 90 * GWEI}
        pool._take(bytes(PAYER.sign_transaction(nothing).raw_transaction))
        pool.mine()

    after_broadcast(pool, overtake)
    sent = node_of(pool).transfer(PAYER, PAYEE, 7)
    assert [one["nonce"] for one in pool.taken] == [0, 0, 1]
    assert sent.hash == pool.taken[2]["hash"]
    assert (other.balance_wei(PAYEE), other.nonce(PAYER.address)) == (7, 2)


class Lagging:
    """Of the nodes that answer in turn, the one that is asked for receipts and blocks is behind."""

    def __init__(self, pool: Mempool, clock: Clock, lag_s: float, *, has_blocks: bool = True) -> None:
        self._make_request, self._clock = pool.make_request, clock
        self._lag_s, self._has_blocks = lag_s, has_blocks
        self._mined_at: float | None = None

    def __call__(self, method: Any, params: Any) -> Any:
        response = self._make_request(method, params)
        if method == "eth_getTransactionReceipt" and response.get("result"):
            if self._mined_at is None:
                self._mined_at = self._clock.now_s
            if self._clock.now_s < self._mined_at + self._lag_s:
                return {**response, "result": None}
        if method == "eth_getBlockByNumber" and not self._has_blocks and params[1] is True:
            return {**response, "result": None}
        return response


@pytest.mark.parametrize("has_blocks", [True, False])
@pytest.mark.parametrize("lag_s", [3, 40])
def test_a_receipt_that_lags_behind_the_nonce_is_waited_for(
    pool: Mempool, monkeypatch: pytest.MonkeyPatch, lag_s: int, *, has_blocks: bool
) -> None:
    clock = Clock(pool.mine)
    monkeypatch.setattr("ledger.sending.time", clock)
    pool.make_request = Lagging(pool, clock, lag_s, has_blocks=has_blocks)  # type: ignore[method-assign]
    node = node_of(pool, patience_s=1)
    sent = node.transfer(PAYER, PAYEE, 7)
    assert [one["hash"] for one in pool.taken] == [sent.hash]
    assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (7, 1)


@pytest.mark.parametrize("has_blocks", [True, False])
def test_what_is_mined_and_never_shown_is_an_error_and_not_sent_again(
    pool: Mempool, monkeypatch: pytest.MonkeyPatch, *, has_blocks: bool
) -> None:
    clock = Clock(pool.mine)
    monkeypatch.setattr("ledger.sending.time", clock)
    pool.make_request = Lagging(pool, clock, 10**6, has_blocks=has_blocks)  # type: ignore[method-assign]
    node = node_of(pool)
    with pytest.raises(NodeUnavailableError, match=f"nonce 0 of {PAYER.address} is used") as caught:
        node.transfer(PAYER, PAYEE, 7)
    assert "the node is behind" in caught.value.hint
    assert len(pool.taken) == 1
    assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (7, 1)
    assert 60 <= clock.now_s < 36 + 60 + 24


def test_a_sending_whose_answer_is_lost_is_not_sent_again(
    pool: Mempool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is mined, the node that is asked next does not know it, and says that its nonce is too low."""
    monkeypatch.setattr("ledger.asking.time.sleep", lambda _: None)
    answer = pool.make_request
    lost: list[bytes] = []

    def lose_once(method: Any, params: Any) -> Any:
        response = answer(method, params)
        if method == "eth_sendRawTransaction" and not lost:
            lost.append(pool.taken[-1]["hash"])
            pool.mine()
            raise ConnectionError
        is_hidden = method == "eth_getTransactionByHash" and len(lost) < 3
        if is_hidden:
            lost.append(b"")
            return {**response, "result": None}
        return response

    pool.make_request = lose_once  # type: ignore[method-assign]
    node = node_of(pool)
    sent = node.transfer(PAYER, PAYEE, 7)
    assert sent.hash == lost[0]
    assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (7, 1)


def test_what_waits_for_a_transaction_that_is_gone_is_told_soon(pool: Mempool) -> None:
    def lose() -> None:
        # A reorganisation takes the one before it away, and the node forgets it.
        pool._mined = lambda _: 0  # type: ignore[method-assign,assignment]

    node = node_of(pool)
    node.transfer(PAYER, PAYEE, 7)
    after_broadcast(pool, lose)
    with pytest.raises(NodeUnavailableError, match="an earlier transaction"):
        node.transfer(PAYER, PAYEE, 7)


# After a restart


def test_what_a_killed_process_has_sent_is_replaced_with_the_same_content(pool: Mempool) -> None:
    hang(pool)
    node = node_of(pool)
    assert node.take_up(PAYER) == 1
    first, second = pool.taken
    assert {name: first[name] for name in ("nonce", "to", "value", "input", "gas")} == {
        name: second[name] for name in ("nonce", "to", "value", "input", "gas")
    }
    assert second["maxFeePerGas"] > pool.base_fee_wei > first["maxFeePerGas"]
    assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (7, 1)


def test_what_the_node_does_not_show_gives_way_to_nothing(pool: Mempool) -> None:
    hang(pool)
    pool.is_shown = False
    node = node_of(pool)
    assert node.take_up(PAYER) == 1
    last = pool.taken[-1]
    assert (last["to"], last["value"], last["input"]) == (PAYER.address.lower(), 0, "0x")
    assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (0, 1)
    node.transfer(PAYER, PAYEE, 7)
    assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (7, 2)


def test_what_was_only_slow_is_left_alone(pool: Mempool) -> None:
    hang(pool)
    pool.base_fee_wei = GWEI
    node = node_of(pool)
    assert node.take_up(PAYER) == 1
    assert len(pool.taken) == 1
    assert node.balance_wei(PAYEE) == 7


@pytest.mark.parametrize("field", ["to", "value", "input", "gas"])
def test_a_node_gets_nothing_signed_that_was_not_ours(pool: Mempool, field: str) -> None:
    hang(pool)
    content = pool._content
    lies = {"to": "0x" + "99" * 20, "value": hex(10**18), "input": "0x1234", "gas": hex(10**6)}

    def forged(address: str) -> dict[str, Any]:
        return {nonce: {**shown, field: lies[field]} for nonce, shown in content(address).items()}

    pool._content = forged  # type: ignore[method-assign]
    node = node_of(pool)
    node.take_up(PAYER)
    last = pool.taken[-1]
    assert (last["to"], last["value"], last["input"]) == (PAYER.address.lower(), 0, "0x")
    assert node.balance_wei("0x" + "99" * 20) == 0


SHOWN = {
    "nonce": "0x0", "to": PAYEE, "input": "0x", "value": "0x7", "gas": "0x5208", "maxFeePerGas": "0x1",
    "maxPriorityFeePerGas": "0x1", "hash": "0x" + "00" * 32,
}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"pending": 7},
        {"pending": {"0": None}},
        {"pending": {"0": {}}},
        {"pending": {"0": {**SHOWN, "value": "-0x1"}}},
        {"pending": {"0": {**SHOWN, "gas": "0x" + "f" * 80}}},
    ],
)
def test_nonsense_in_a_mempool_is_passed_over(pool: Mempool, content: Any) -> None:
    hang(pool)
    make_request = pool.make_request

    def nonsense(method: Any, params: Any) -> Any:
        if method == "txpool_contentFrom":
            return {"jsonrpc": "2.0", "id": 1, "result": content}
        return make_request(method, params)

    pool.make_request = nonsense  # type: ignore[method-assign]
    assert node_of(pool).take_up(PAYER) == 1
    assert node_of(pool).nonce(PAYER.address) == 1


def test_what_may_be_false_by_now_gives_way_to_nothing_at_once(pool: Mempool) -> None:
    hang(pool)
    pool.base_fee_wei = GWEI  # it would be mined with the next block
    node = node_of(pool)
    assert node.take_up(PAYER, repeats=False) == 1
    assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (0, 1)


def test_what_is_not_wanted_any_more_is_withdrawn_and_not_sent_again(pool: Mempool) -> None:
    def rise() -> None:
        pool.base_fee_wei = 40 * GWEI

    after_broadcast(pool, rise)
    node, asked = node_of(pool), []

    def is_wanted() -> bool:
        asked.append(1)
        return False

    with pytest.raises(WithdrawnError):
        node.send_data(PAYER, PAYEE, b"\x01", "say something", is_wanted=is_wanted)
    assert pool.taken[0]["input"] == "0x01"
    assert {one["input"] for one in pool.taken[1:]} == {"0x"}
    assert (len(asked), node.nonce(PAYER.address)) == (1, 1)


def test_what_was_mined_although_it_was_not_wanted_any_more_is_told(pool: Mempool) -> None:
    def rise() -> None:
        pool.base_fee_wei = 40 * GWEI

    def is_wanted() -> bool:
        pool.is_oldest_mined = True
        pool.base_fee_wei = GWEI
        return False

    after_broadcast(pool, rise)
    node = node_of(pool)
    sent = node.send_data(PAYER, PAYEE, b"\x01", "say something", is_wanted=is_wanted)
    assert sent.hash == pool.taken[0]["hash"]
    assert len(pool.taken) == 2


# Refusals and failures


def test_who_cannot_pay_is_told_whom_to_send_ether(pool: Mempool) -> None:
    poor: LocalAccount = Account.from_key(b"\x77" * 32)
    with pytest.raises(NodeAnswerError, match="insufficient funds") as caught:
        node_of(pool).transfer(poor, PAYEE, 7)
    assert poor.address in caught.value.hint


REVERTS = bytes.fromhex("60006000fd")
BURNS_ALL = bytes.fromhex("fe")


def create(code: bytes, node: Node) -> str:
    """Create a contract with this code."""
    init = bytes.fromhex(f"60{len(code):02x}80600b6000396000f3") + code
    return Sender(node, PAYER).create(init)[0]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (REVERTS, "was refused by the contract: it gave no reason"),
        (BURNS_ALL, "it used up all of its 100000 gas"),
    ],
)
def test_what_fails_when_it_is_mined_is_told_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, code: bytes, said: str
) -> None:
    with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
        node = Node(EmbeddedProvider(RpcDispatcher(chain)))
        contract = create(code, node)
        monkeypatch.setattr(Sender, "_prepared", unchecked)
        with pytest.raises(RevertedError, match=said) as caught:
            node.send_data(PAYER, contract, b"", "poke")
        assert caught.value.name == ""


def unchecked(
    sender: Sender, fields: dict[str, Any], _action: str, _gas: int | None, _newest: object
) -> dict[str, Any]:
    """Prepare a transaction without a call that tries it."""
    fee = {"maxFeePerGas": 3 * GWEI, "maxPriorityFeePerGas": GWEI}
    return {**fields, **fee, "from": sender.account.address, "chainId": sender.node.chain_id, "gas": 100_000}


@pytest.mark.parametrize("is_pruned", [False, True])
def test_what_would_not_have_failed_one_block_earlier_says_so(
    monkeypatch: pytest.MonkeyPatch, *, is_pruned: bool
) -> None:
    # It reverts in the block in which it is mined and in no other, as if something in there had been quicker.
    block = 2
    code = bytes.fromhex(f"4360{block:02x}14600857005b60006000fd")
    with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
        provider = EmbeddedProvider(RpcDispatcher(chain))
        make_request = provider.make_request

        def pruned(method: Any, params: Any) -> Any:
            if is_pruned and method == "eth_call":
                return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "missing trie node"}}
            return make_request(method, params)

        monkeypatch.setattr(provider, "make_request", pruned)
        node = Node(provider)
        monkeypatch.setattr(Sender, "_prepared", unchecked)
        contract = create(code, node)
        assert node.block_number() == block - 1
        said = (
            "asked why, the node said: missing trie node"
            if is_pruned
            else "one block earlier it would not have"
        )
        with pytest.raises(
            RevertedError, match=f"poke was mined in block {block}, and failed; {said}"
        ) as caught:
            node.send_data(PAYER, contract, b"", "poke")
        assert "again" in caught.value.hint


# Confirmations


def test_what_is_sent_counts_when_so_many_blocks_are_on_top(pool: Mempool) -> None:
    node = node_of(pool, confirmations=3)
    sent = node.transfer(PAYER, PAYEE, 7)
    assert node.block_number() == sent.block + 3
    assert node_of(pool).confirmations == 0
    elsewhere = node_of(pool)
    elsewhere.chain_id = 1
    assert elsewhere.confirmations == 2


# On anvil


@pytest.mark.node
def test_anvil_drops_it_for_a_higher_base_fee_and_takes_the_replacement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_anvil("--no-mining") as url:
        node = Node.connect(url, policy=SendPolicy(patience_s=0.3))
        wait = Sender._receipt_within
        waits: list[int] = []

        def wait_and_mine(sender: Sender, *arguments: Any) -> Any:
            waits.append(len(arguments[0]))
            if len(waits) == 1:
                node._local("anvil_setNextBlockBaseFeePerGas", hex(100 * GWEI))
            node._local("evm_mine")
            return wait(sender, *arguments)

        monkeypatch.setattr(Sender, "_receipt_within", wait_and_mine)
        sent = node.transfer(PAYER, PAYEE, 7)
        assert waits == [1, 2]
        assert node.block(sent.block - 1)["baseFeePerGas"] == 100 * GWEI
        assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (7, 1)


@pytest.mark.node
def test_anvil_a_hanging_transaction_is_taken_up_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_anvil("--no-mining") as url:
        first = Node.connect(url, policy=SendPolicy(patience_s=0.3))

        def die(*_: object) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Sender, "_mined", die)
            with pytest.raises(Killed):
                first.transfer(PAYER, PAYEE, 7)
        node = Node.connect(url, policy=SendPolicy(patience_s=0.3))
        found = hanging(node.request, PAYER, 0, node.chain_id)
        assert found is not None
        assert (found["value"], found["to"].lower()) == (7, PAYEE)
        # A block came without it: others paid more.
        is_used, heads = Sender._is_used_within, [0]

        def pass_over(sender: Sender, *arguments: Any) -> bool:
            heads[0] += 1
            if heads[0] == 2:
                node._local("evm_mine")
            return is_used(sender, *arguments)

        monkeypatch.setattr(Sender, "_is_used_within", pass_over)
        monkeypatch.setattr(Sender, "_is_passed_over", lambda *_: True)
        assert node.take_up(PAYER) == 1
        assert heads == [2]
        block = node.request("eth_getBlockByNumber", "latest", True)
        [mined] = block["transactions"]
        assert 8 * int(mined["maxFeePerGas"], 16) >= 9 * found["maxFeePerGas"]
        assert (node.balance_wei(PAYEE), node.nonce(PAYER.address)) == (7, 1)
