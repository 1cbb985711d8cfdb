"""What a ledger's logs and calldata say, in every way in which one can commit."""

from collections.abc import Iterator
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils import keccak
from hexbytes import HexBytes

from ledger.calldata import SignedCommitment
from ledger.contribution import recover, sign
from ledger.history import (
    HistoryError,
    decode_call,
    decode_log,
    read_round,
    read_rounds,
    read_run_opened,
)
from tests.ledger.played import FACTS, Played, played

GUARD = 2


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Worker 0 commits itself, worker 1 by commitFor, the guard in a batch: sealed."""
    with played(tmp_path_factory.mktemp("history")) as run:
        client, state = run.client, run.client.state()
        messages = [
            client.contribution(
                index, 1, state.parent_model, bytes([index + 1]) * 32, index, state.commit_deadline
            )
            for index in range(3)
        ]
        client.commit(run.parties.workers[0].signer, 0, messages[0])
        second = messages[1]
        compact = sign(second.digest(client.facts.domain), bytes(run.parties.workers[1].signer.key))
        value = int.from_bytes(compact[32:], "big")
        signature = compact[:32] + (value & (1 << 255) - 1).to_bytes(32, "big") + bytes([27 + (value >> 255)])
        functions = client._functions
        call = functions.commitFor(1, 1, second.update_root, second.tokens, second.deadline, signature)
        run.node.send(run.parties.operator, call)
        key = bytes(run.parties.guard.signer.key)
        item = SignedCommitment(
            messages[2].update_root, 2, sign(messages[2].digest(client.facts.domain), key)
        )
        client.commit_batch(run.parties.operator, 1, state.commit_deadline, {GUARD: item})
        yield run


def test_rounds_are_read_with_all_ways_to_commit(committed: Played) -> None:
    (history,) = read_rounds(committed.node, committed.client.address)
    assert (history.round, history.parent_model) == (1, FACTS.initial_model)
    assert [c.index for c in history.commitments] == [0, 1, 2]
    own, relayed, batched = history.commitments
    assert (own.signature, own.sender) == (None, committed.parties.workers[0].signer.address)
    for commitment, party in ((relayed, committed.parties.workers[1]), (batched, committed.parties.guard)):
        assert commitment.sender is None
        assert commitment.signature is not None
        digest = committed.client.digest_of(history, commitment)
        assert recover(digest, commitment.signature) == party.signer.address
    assert history.seal is not None
    assert history.seal.presence == 0b111
    assert history.seal.seal_block == history.seal.block == batched.block
    assert history.seal.transaction == batched.transaction
    assert history.transactions() == {own.transaction, relayed.transaction, batched.transaction}
    assert (history.verdicts, history.final, history.voided) == (None, None, None)


def test_accumulator_of_the_seal_follows_from_the_commitments(committed: Played) -> None:
    (history,) = read_rounds(committed.node, committed.client.address)
    signed, accumulators = committed.client.chain_of(history)
    assert (len(signed), len(accumulators)) == (3, 4)
    assert history.seal is not None
    assert accumulators[-1] == history.seal.accumulator == committed.client.record_of(1)


def test_one_round_is_read_like_all_of_them(committed: Played) -> None:
    assert (
        read_round(committed.node, committed.client.address, 1)
        == read_rounds(committed.node, committed.client.address)[0]
    )
    with pytest.raises(HistoryError, match="no such round") as caught:
        read_round(committed.node, committed.client.address, 2)
    assert (caught.value.round, caught.value.field) == (2, "RoundOpened")


def test_run_opened_says_what_the_run_is(committed: Played) -> None:
    opened = read_run_opened(committed.node, committed.client.address)
    assert (opened["run"], opened["initialModel"], opened["length"]) == (7, FACTS.initial_model, 10)
    with pytest.raises(HistoryError, match="0 of these events"):
        read_run_opened(committed.node, "0x" + "12" * 20)


def test_call_of_another_function_or_round_is_refused(committed: Played) -> None:
    (history,) = read_rounds(committed.node, committed.client.address)
    transaction = history.commitments[2].transaction
    address = committed.client.address
    assert decode_call(committed.node, address, transaction, "commitBatch", 1)["members"] == 1 << GUARD
    for ledger, function, round_ in (
        (address, "settle", 1),
        (address, "commitBatch", 2),
        ("0x12", "commitBatch", 1),
    ):
        with pytest.raises(HistoryError):
            decode_call(committed.node, ledger, transaction, function, round_)


def _log(text: str, data: bytes, *topics: int) -> Any:
    indexed = [HexBytes(topic.to_bytes(32, "big")) for topic in topics]
    return {
        "topics": [HexBytes(keccak(text=text)), *indexed],
        "data": HexBytes(data),
        "transactionHash": HexBytes(bytes(32)),
        "blockNumber": 1,
        "address": "0x",
    }


SEALED = "RoundSealed(uint32,uint256,bytes32,uint64)"


def test_log_decodes_with_its_indexed_arguments() -> None:
    event = decode_log(_log(SEALED, encode(["uint256", "bytes32", "uint64"], [7, b"\x01" * 32, 9]), 3))
    assert event is not None
    assert dict(event.arguments) == {"round": 3, "presence": 7, "accumulator": b"\x01" * 32, "sealBlock": 9}


@pytest.mark.parametrize(
    "log",
    [
        _log(SEALED, b"", 3),
        _log(SEALED, bytes(95), 3),
        _log(SEALED, encode(["uint256", "bytes32", "uint64"], [7, b"\x01" * 32, 9])),
        _log(SEALED, encode(["uint256", "bytes32", "uint64"], [7, b"\x01" * 32, 9]), 3, 4),
        _log(SEALED, encode(["uint256", "bytes32", "uint64"], [7, b"\x01" * 32, 9]), 2**200),
    ],
)
def test_log_that_does_not_decode_is_refused(log: Any) -> None:
    with pytest.raises(HistoryError, match="log does not decode"):
        decode_log(log)


OPENED = _log("RoundOpened(uint32,uint64,bytes32)", encode(["uint64", "bytes32"], [9, bytes(32)]), 1)
FINALIZED = _log("RoundFinalized(uint32,bytes32,bytes32,bytes32)", bytes(96), 1)
VOIDED = _log("RoundVoided(uint32,uint8,bytes32)", encode(["uint8", "bytes32"], [4, bytes(32)]), 1)
ANCHOR = _log("RoundOverturned(uint32)", b"", 1)


def _overturned(index: int) -> Any:
    return _log("ContributionOverturned(uint32,uint256)", b"", 1, index)


def _back(from_round: int) -> Any:
    return _log("ModelRolledBack(uint32,uint32,bytes32)", b"\x07" * 32, from_round, 0)


class _Logs:
    """A node that has nothing but logs; the call behind a settlement is taken as read."""

    def __init__(self, logs: list[Any]) -> None:
        self._logs = logs

    def logs(self, _: str, __: int = 0) -> list[Any]:
        return self._logs


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> Any:
    call = {"payload": b"", "sender": "0x"}
    monkeypatch.setattr("ledger.history.decode_call", lambda *_: call)
    types = ["uint256", "uint32", "bytes32", "bytes32"]
    return _log(
        "RoundSettled(uint32,uint256,uint32,bytes32,bytes32)", encode(types, [7, 1, bytes(32), bytes(32)]), 1
    )


def test_overturned_in_time_and_late_are_told_apart(settled: Any) -> None:
    logs = [OPENED, settled, _overturned(2), FINALIZED, _overturned(0), ANCHOR, _back(1)]
    (history,) = read_rounds(_Logs(logs), "0x")  # type: ignore[arg-type]
    assert (history.overturned, history.overturned_in_time) == (0b101, 0b100)
    assert history.is_overturned
    assert [item.is_late for item in history.overturnings] == [False, True, True]
    (rollback,) = history.rollbacks
    assert (rollback.from_round, rollback.to_round, rollback.model_root) == (1, 0, b"\x07" * 32)
    assert bytes(32) in history.transactions()


def test_round_is_void_after_its_verdicts_only_if_its_anchor_was_overturned(settled: Any) -> None:
    (history,) = read_rounds(_Logs([OPENED, settled, ANCHOR, VOIDED]), "0x")  # type: ignore[arg-type]
    assert history.voided is not None
    assert (history.voided.reason, history.overturned) == (4, 0)
    with pytest.raises(HistoryError, match="RoundVoided"):
        read_rounds(_Logs([OPENED, settled, VOIDED]), "0x")  # type: ignore[arg-type]


def test_overturnings_out_of_place_are_refused(settled: Any) -> None:
    for logs in (
        [OPENED, _overturned(0)],
        [OPENED, settled, _overturned(0), _overturned(0)],
        [OPENED, settled, ANCHOR, _overturned(0)],
        [OPENED, settled, ANCHOR, ANCHOR],
        [OPENED, VOIDED, _overturned(0)],
        [OPENED, settled, _back(1)],
        [_overturned(0)],
        [OPENED, _back(2)],
    ):
        with pytest.raises(HistoryError):
            read_rounds(_Logs(logs), "0x")  # type: ignore[arg-type]


def test_foreign_logs_are_none_of_ours() -> None:
    assert decode_log(_log("Transfer(address,address,uint256)", bytes(32))) is None
    anonymous = _log(SEALED, b"")
    anonymous["topics"] = []
    assert decode_log(anonymous) is None
