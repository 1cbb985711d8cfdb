"""What a challenge, a vault and a guardian can do to a ledger, and what they cannot."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils import keccak
from web3.logs import DISCARD

from tests.contracts.model import Constants, Posting, unpack_lanes
from tests.contracts.support import (
    AGGREGATOR,
    OUTSIDER,
    RELAYER,
    Revert,
    Run,
    TestChain,
    address,
    update_root,
)

CHALLENGE, GUARDIAN = 6, 7
MINIMUM = 10**16
WINDOW_S = 500
WORKERS = 5
FALSE_ANCHOR = 4
IDLE, OPEN, SEALED, SETTLED = range(4)
TRACE = keccak(text="trace")


def refuse(error: Revert, name: str, *arguments: object) -> None:
    assert (error.name, error.arguments) == ("ContributionLedger" + name, arguments)


def low(number: int) -> str:
    return address(number).lower()


@pytest.fixture(scope="module")
def _staked() -> Run:
    chain = TestChain(members=12)
    vault = chain.deploy("StakeVault", MINIMUM, WINDOW_S + 1)
    run = Run.deploy(
        chain,
        WORKERS,
        Constants(challenge_window_s=WINDOW_S),
        challenge=address(CHALLENGE),
        vault=vault.address,
        guardian=address(GUARDIAN),
    )
    deposit = vault.functions.deposit(run.ledger.address, run.guard.identity)
    chain.send(deposit, run.guard.identity_key, MINIMUM)
    return run


@pytest.fixture
def run(_staked: Run) -> Iterator[Run]:
    snapshot = _staked.chain.tester.take_snapshot()
    lanes, yardstick = list(_staked.lanes), _staked.yardstick
    yield _staked
    _staked.chain.tester.revert_to_snapshot(snapshot)
    _staked.lanes, _staked.yardstick = lanes, yardstick


def vault_of(run: Run) -> Any:
    return run.chain.at("StakeVault", run.ledger.functions.vault().call()).functions


def reach_settled(run: Run, round_: int, rng: random.Random) -> int:
    """Settle with everybody close to the anchor; give the approved."""
    run.reach_sealed(round_)
    receipt = run.settle(round_, posting_of(run, rng))
    [event] = run.ledger.events.RoundSettled().process_receipt(receipt, errors=DISCARD)
    return int(event["args"]["approved"])


def posting_of(run: Run, rng: random.Random) -> Posting:
    return replace(run.posting(rng, flip=0.2), trace_root=TRACE)


def finish(run: Run, round_: int, rng: random.Random, *, reopen: bool = True) -> None:
    """Play a whole round."""
    reach_settled(run, round_, rng)
    run.chain.travel(WINDOW_S)
    run.finalize(round_, reopen=reopen)


def overturn(run: Run, round_: int, index: int, approved: int = 0, word: int = 0) -> Any:
    return run.ledger.functions.overturn(round_, index, approved, word)


def view(run: Run, name: str, *arguments: Any) -> Any:
    return getattr(run.ledger.functions, name)(*arguments).call()


def d3(run: Run, round_: int) -> tuple[bytes, bytes, bytes]:
    """Give D2, model root and weights digest of a final round, D2 from its event."""
    [log] = run.ledger.events.RoundSettled().get_logs(from_block=0, argument_filters={"round": round_})
    return log["args"]["record"], keccak(text=f"model {round_}"), keccak(text=f"weights {round_}")


# Overturned while settled


def test_overturned_contribution_loses_bit_lane_and_approval(run: Run, rng: random.Random) -> None:
    finish(run, 1, rng)
    before, lanes_before = run.lane_words(), list(run.lanes)
    yardstick_before = run.yardstick
    run.reach_sealed(2)
    posting = posting_of(run, rng)
    receipt = run.settle(2, posting)
    [event] = run.ledger.events.RoundSettled().process_receipt(receipt, errors=DISCARD)
    approved = event["args"]["approved"]
    assert approved == 0b11111
    after = run.lane_words()
    state = run.state()
    proofs = {i: approval(run, i, posting, event, before, after, yardstick_before) for i in range(2)}
    assert all(is_approved(run, i, proof) for i, proof in proofs.items())
    run.chain.travel(100)
    done = run.chain.send(overturn(run, 2, 1, approved, before[0]), CHALLENGE)
    [log] = run.ledger.events.ContributionOverturned().process_receipt(done, errors=DISCARD)
    assert dict(log["args"]) == {"round": 2, "index": 1}
    assert view(run, "overturnedOf", 2) == 0b10
    run.lanes[1] = lanes_before[1]
    assert run.lane_words() == run.model_lane_words()
    assert run.lane_words() != after
    assert [is_approved(run, i, proof) for i, proof in proofs.items()] == [True, False]
    now = run.state()
    assert now["settledAt"] > state["settledAt"]  # the window starts anew
    same = {key: value for key, value in state.items() if key != "settledAt"}
    assert {key: value for key, value in now.items() if key != "settledAt"} == same
    assert now["anyApproved"]


def approval(
    run: Run, index: int, posting: Posting, event: Any, before: list[int], after: list[int], yardstick: int
) -> tuple[object, ...]:
    """Open round 2's record for a member; the batch has everybody in order."""
    [batch] = run.ledger.events.BatchCommitted().get_logs(from_block=0, argument_filters={"round": 2})
    transaction = run.chain.web3.eth.get_transaction(batch["transactionHash"])
    deadline = run.ledger.decode_function_input(transaction["input"])[1]["deadline"]
    parent = keccak(text="model 1")
    digests = [
        view(run, "contributionDigest", 2, i, parent, update_root(2, i), 4096, deadline) for i in range(6)
    ]
    accumulator = keccak(
        encode(
            ["bytes32", "uint256", "address", "uint256", "uint256", "bytes32", "bytes32", "bytes32"],
            [
                keccak(text="hallmark.round.v1"),
                run.chain.chain_id,
                run.ledger.address,
                run.run_id,
                2,
                view(run, "specDigest"),
                view(run, "recordOf", 1),
                parent,
            ],
        )
    )
    for digest in digests[:index]:
        accumulator = keccak(accumulator + digest)
    words = [b"".join(w.to_bytes(32, "big") for w in lanes) for lanes in (before, after)]
    return (
        parent,
        4096,
        deadline,
        accumulator,
        digests[index + 1 :],
        run.full,
        event["args"]["seed"],
        keccak(posting.encode()),
        event["args"]["approved"],
        yardstick,
        event["args"]["yardstick"],
        keccak(words[0]),
        keccak(words[1]),
        False,
        bytes(32),
        bytes(32),
    )


def is_approved(run: Run, index: int, proof: tuple[object, ...]) -> bool:
    return bool(view(run, "isApproved", 2, index, update_root(2, index), proof))


def test_a_merge_made_before_cannot_be_recorded_after(run: Run, rng: random.Random) -> None:
    approved = reach_settled(run, 1, rng)
    run.chain.travel(WINDOW_S - 5)
    run.chain.send(overturn(run, 1, 0, approved), CHALLENGE)
    at = run.state()["settledAt"] + WINDOW_S
    finalize = run.ledger.functions.finalize(1, keccak(text="stale"), bytes(32), 0)
    run.chain.travel(10)
    refuse(run.chain.error(finalize, AGGREGATOR), "WindowRunning", at)
    run.chain.travel(WINDOW_S)
    run.finalize(1)


def test_with_nothing_left_the_model_stays(run: Run, rng: random.Random) -> None:
    approved = reach_settled(run, 1, rng)
    for index in range(WORKERS):
        assert run.state()["anyApproved"]
        run.chain.send(overturn(run, 1, index, approved), CHALLENGE)
    assert not run.state()["anyApproved"]
    assert view(run, "overturnedOf", 1) == 0b11111
    assert run.lane_words() == [0, 0]
    run.chain.travel(WINDOW_S)
    parent, moved = keccak(text="model 0"), keccak(text="moved")
    finalize = run.ledger.functions.finalize(1, moved, bytes(32), 0)
    refuse(run.chain.error(finalize, AGGREGATOR), "ModelMoved", parent, moved)
    run.finalize(1, model=parent)
    assert view(run, "taintedFrom") == 0


def test_false_anchor_voids_the_round(run: Run, rng: random.Random) -> None:
    finish(run, 1, rng)
    before, yardstick, parent = run.lane_words(), run.yardstick, view(run, "parentModel")
    approved = reach_settled(run, 2, rng)
    run.chain.send(overturn(run, 2, 3, approved, before[0]), CHALLENGE)
    record = view(run, "recordOf", 2)
    done = run.chain.send(run.ledger.functions.overturnRound(2, before, yardstick), CHALLENGE)
    void = keccak(
        encode(["bytes32", "bytes32", "uint256"], [keccak(text="hallmark.void.v1"), record, FALSE_ANCHOR])
    )
    [log] = run.ledger.events.RoundVoided().process_receipt(done, errors=DISCARD)
    assert dict(log["args"]) == {"round": 2, "reason": FALSE_ANCHOR, "record": void}
    assert len(run.ledger.events.RoundOverturned().process_receipt(done, errors=DISCARD)) == 1
    state = run.state()
    assert (state["stage"], state["yardstick"], state["record"]) == (IDLE, yardstick, void)
    assert (state["parentModel"], state["anyApproved"], state["taintedFrom"]) == (parent, False, 0)
    assert run.lane_words() == before
    assert view(run, "overturnedOf", 2) == run.full
    for call in (overturn(run, 2, 0), run.ledger.functions.overturnRound(2, before, yardstick)):
        refuse(run.chain.error(call, CHALLENGE), "NotOverturnable", 2, 2, IDLE)
    run.chain.send(run.ledger.functions.openRound(run.chain.now + 1000), AGGREGATOR)
    refuse(run.chain.error(overturn(run, 2, 0), CHALLENGE), "AlreadyOverturned", 2, run.full)
    run.lanes, run.yardstick = unpack_lanes(before, len(run.members)), yardstick
    finish(run, 3, rng)
    assert run.lane_words() == run.model_lane_words()


def test_hooks_are_for_the_challenge_alone(run: Run, rng: random.Random) -> None:
    reach_settled(run, 1, rng)
    for sender in (OUTSIDER, AGGREGATOR, GUARDIAN, run.guard.signer_key):
        for call in (overturn(run, 1, 0), run.ledger.functions.overturnRound(1, [0, 0], 0)):
            refuse(run.chain.error(call, sender), "NotChallenge", low(sender), low(CHALLENGE))


def test_refusals_of_overturn(run: Run, rng: random.Random) -> None:
    chain, ledger = run.chain, run.ledger.functions

    def is_not_overturnable(round_: int, last: int, stage: int) -> None:
        for call in (overturn(run, round_, 0), ledger.overturnRound(round_, [0, 0], 0)):
            refuse(chain.error(call, CHALLENGE), "NotOverturnable", round_, last, stage)

    for round_ in (0, 1, 2, 2**32 - 1):
        is_not_overturnable(round_, 1, OPEN)
    run.reach_sealed(1)
    is_not_overturnable(1, 1, SEALED)
    chain.travel(3700)
    chain.send(ledger.voidRound(1), OUTSIDER)
    is_not_overturnable(1, 1, IDLE)
    chain.send(ledger.openRound(chain.now + 1000), AGGREGATOR)
    reach_settled(run, 2, rng)
    is_not_overturnable(3, 2, SETTLED)
    for index in (5, 6, 255, 256, 2**255):
        bit = 1 << index if index < 256 else 0
        refuse(chain.error(overturn(run, 2, index), CHALLENGE), "UnknownMember", bit, run.full >> 1)
    for words in ([], [0], [0, 0, 0]):
        call = ledger.overturnRound(2, words, 0)
        refuse(chain.error(call, CHALLENGE), "WrongLanes", len(words), 2)
    call = ledger.overturnRound(2, [0, 0], 2**32)
    refuse(chain.error(call, CHALLENGE), "WrongYardstick", 2**32)
    chain.send(overturn(run, 2, 4), CHALLENGE)
    refuse(chain.error(overturn(run, 2, 4), CHALLENGE), "AlreadyOverturned", 2, 1 << 4)


# Overturned when final


def test_taint_and_rollback(run: Run, rng: random.Random) -> None:
    for round_ in (1, 2, 3):
        finish(run, round_, rng)
    lanes = run.lane_words()
    done = run.chain.send(overturn(run, 3, 0, 31, 12345), CHALLENGE)
    assert len(run.ledger.events.ModelTainted().process_receipt(done, errors=DISCARD)) == 1
    run.chain.send(run.ledger.functions.overturnRound(2, [0, 0], 0), CHALLENGE)
    assert (view(run, "taintedFrom"), run.state()["taintedFrom"]) == (2, 2)
    done = run.chain.send(overturn(run, 3, 1, 31, 12345), CHALLENGE)
    assert len(run.ledger.events.ModelTainted().process_receipt(done, errors=DISCARD)) == 0
    assert (view(run, "taintedFrom"), view(run, "overturnedOf", 3)) == (2, 3)
    assert run.lane_words() == lanes  # later rounds rest on them
    assert view(run, "overturnedOf", 2) == run.full

    # The round under way goes on to its end, and opens no other.
    rollback = run.ledger.functions.rollback
    refuse(run.chain.error(rollback(1, *d3(run, 1)), AGGREGATOR), "NotIdle", 4, OPEN)
    reach_settled(run, 4, rng)
    run.chain.travel(WINDOW_S)
    reopening = run.ledger.functions.finalize(4, bytes(32), bytes(32), run.chain.now + 100)
    refuse(run.chain.error(reopening, AGGREGATOR), "Tainted", 2)
    run.finalize(4, reopen=False)
    opening = run.ledger.functions.openRound(run.chain.now + 100)
    refuse(run.chain.error(opening, AGGREGATOR), "Tainted", 2)

    good = d3(run, 1)
    refuse(run.chain.error(rollback(1, *good), OUTSIDER), "NotAggregator", low(OUTSIDER), low(AGGREGATOR))
    for to in (2, 3, 4, 5):  # a target that was overturned can only be among these
        record = d3(run, to) if to < 5 else good
        refuse(run.chain.error(rollback(to, *record), AGGREGATOR), "WrongRollback", to, 2)
    for wrong in ((good[0], good[1], bytes(32)), (good[0], bytes(32), good[2]), (bytes(32), *good[1:])):
        refuse(run.chain.error(rollback(1, *wrong), AGGREGATOR), "WrongRollback", 1, 2)
    refuse(run.chain.error(rollback(0, *good), AGGREGATOR), "WrongRollback", 0, 2)
    done = run.chain.send(rollback(1, *good), AGGREGATOR)
    [log] = run.ledger.events.ModelRolledBack().process_receipt(done, errors=DISCARD)
    assert dict(log["args"]) == {"fromRound": 4, "toRound": 1, "modelRoot": keccak(text="model 1")}
    assert view(run, "parentModel") == keccak(text="model 1")
    assert view(run, "taintedFrom") == 0
    refuse(run.chain.error(rollback(1, *good), AGGREGATOR), "WrongRollback", 1, 0)
    run.chain.send(run.ledger.functions.openRound(run.chain.now + 100), AGGREGATOR)
    assert run.state()["round"] == 5


def test_what_a_rollback_has_undone_neither_taints_nor_comes_back(run: Run, rng: random.Random) -> None:
    """Round 3 rests on round 2, which was overturned: it is no target, though before the next taint."""
    for round_ in (1, 2, 3):
        finish(run, round_, rng, reopen=round_ < 3)
    run.chain.send(overturn(run, 2, 0), CHALLENGE)
    rollback = run.ledger.functions.rollback
    run.chain.send(rollback(1, *d3(run, 1)), AGGREGATOR)
    run.chain.send(overturn(run, 3, 0), CHALLENGE)
    assert view(run, "overturnedOf", 3) == 1
    assert view(run, "taintedFrom") == 0
    run.chain.send(run.ledger.functions.openRound(run.chain.now + 1000), AGGREGATOR)
    finish(run, 4, rng, reopen=False)
    run.chain.send(overturn(run, 4, 2), CHALLENGE)
    for dead in (2, 3):
        refuse(run.chain.error(rollback(dead, *d3(run, dead)), AGGREGATOR), "WrongRollback", dead, 4)
    initial = keccak(text="model 0")
    run.chain.send(rollback(0, bytes(32), initial, bytes(32)), AGGREGATOR)
    assert view(run, "parentModel") == initial == view(run, "initialModel")
    run.chain.send(overturn(run, 1, 2), CHALLENGE)
    assert view(run, "taintedFrom") == 0  # round 1 is undone now, too


def test_overturned_just_after_finalize_into_idle_taints(run: Run, rng: random.Random) -> None:
    finish(run, 1, rng, reopen=False)
    run.chain.send(run.ledger.functions.overturnRound(1, [], 0), CHALLENGE)
    assert view(run, "taintedFrom") == 1
    assert run.state()["stage"] == IDLE


# Pause


def test_pause_stops_opening_alone(run: Run, rng: random.Random) -> None:
    pause = run.ledger.functions.pause
    refuse(run.chain.error(pause(True), AGGREGATOR), "NotGuardian", low(AGGREGATOR), low(GUARDIAN))
    done = run.chain.send(pause(True), GUARDIAN)
    [log] = run.ledger.events.PauseChanged().process_receipt(done, errors=DISCARD)
    assert log["args"]["isPaused"] is True
    assert run.state()["isPaused"] is True
    reach_settled(run, 1, rng)
    run.chain.travel(WINDOW_S)
    reopening = run.ledger.functions.finalize(1, bytes(32), bytes(32), run.chain.now + 100)
    refuse(run.chain.error(reopening, AGGREGATOR), "Paused", low(GUARDIAN))
    run.finalize(1, reopen=False)
    opening = run.ledger.functions.openRound(run.chain.now + 1000)
    refuse(run.chain.error(opening, AGGREGATOR), "Paused", low(GUARDIAN))
    run.chain.send(pause(False), GUARDIAN)
    run.chain.send(opening, AGGREGATOR)
    assert run.state()["isPaused"] is False


def test_a_run_without_guardian_challenge_and_vault_obeys_nobody(rng: random.Random) -> None:
    run = Run.deploy(TestChain(members=4), 2)
    for getter in ("challenge", "vault", "guardian"):
        assert view(run, getter) == "0x" + "00" * 20
    run.reach_settled(1, rng)
    for call in (run.ledger.functions.pause(True), overturn(run, 1, 0)):
        assert run.chain.error(call, OUTSIDER).name.startswith("ContributionLedgerNot")
    refuse(
        run.chain.error(run.ledger.functions.stakeChanged(run.guard.identity, 1), OUTSIDER),
        "NotVault",
        low(OUTSIDER),
        "0x" + "00" * 20,
    )


# Stakes


def test_a_guard_without_stake_cannot_settle(run: Run, rng: random.Random) -> None:
    vault, guard, domain = vault_of(run), run.guard, run.ledger.address

    def settle() -> Any:
        return run.ledger.functions.settle(1, posting_of(run, rng).encode())

    assert not run.state()["isUnbonded"]
    run.reach_sealed(1)
    run.chain.send(vault.startUnbonding(domain), guard.identity_key)
    assert run.state()["isUnbonded"]
    refuse(run.chain.error(settle(), guard.signer_key), "GuardUnbonded", view(run, "vault").lower())
    run.chain.send(vault.cancelUnbonding(domain), guard.identity_key)
    assert not run.state()["isUnbonded"]
    run.chain.send(vault.slash(domain, guard.identity, address(OUTSIDER)), CHALLENGE)
    refuse(run.chain.error(settle(), guard.signer_key), "GuardUnbonded", view(run, "vault").lower())
    # Less than the smallest stake is not enough; another member's stake is not the guard's.
    run.chain.send(vault.deposit(domain, guard.identity), RELAYER, MINIMUM - 1)
    run.chain.send(vault.deposit(domain, run.members[0].identity), RELAYER, MINIMUM)
    assert run.state()["isUnbonded"]
    run.chain.send(vault.deposit(domain, guard.identity), RELAYER, 1)
    assert not run.state()["isUnbonded"]
    run.settle(1, posting_of(run, rng))
    refuse(
        run.chain.error(run.ledger.functions.stakeChanged(guard.identity, 0), OUTSIDER),
        "NotVault",
        low(OUTSIDER),
        view(run, "vault").lower(),
    )


def test_flags_of_the_run_outlive_its_rounds(run: Run, rng: random.Random) -> None:
    vault, guard, domain = vault_of(run), run.guard, run.ledger.address
    reach_settled(run, 1, rng)
    run.chain.send(vault.startUnbonding(domain), guard.identity_key)
    run.chain.travel(WINDOW_S)
    run.finalize(1)
    state = run.state()
    assert (state["round"], state["stage"], state["isUnbonded"]) == (2, OPEN, True)
    run.chain.travel(1100)
    run.chain.send(run.ledger.functions.seal(2), OUTSIDER)
    assert run.state()["isUnbonded"]


def test_settle_needs_a_trace_root(run: Run, rng: random.Random) -> None:
    run.reach_sealed(1)
    posting = replace(posting_of(run, rng), trace_root=bytes(32))
    error = run.chain.error(run.ledger.functions.settle(1, posting.encode()), run.guard.signer_key)
    refuse(error, "NoTraceRoot")
    short = run.chain.error(run.ledger.functions.settle(1, bytes(40)), run.guard.signer_key)
    assert short.name == "GateWrongPayloadLength"
