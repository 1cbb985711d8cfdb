"""Requests: answers under the root in time, and nothing else; every wei accounted for."""

import copy
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ledger.challenges import (
    FaultAnswer,
    FaultKind,
    RequestKey,
    RequestKind,
    SegmentAnswer,
    TraceAnswer,
    UnfoundedClaim,
    UpdateFault,
    WithheldClaim,
    ask,
    ask_sealed,
    close,
    find_fault,
)
from ledger.update import HEADER_BYTES
from tests.contracts.challenged import (
    ANSWER_S,
    BOND_WEI,
    IDLE,
    SEALED,
    STAKE_WEI,
    PostedRound,
    Scene,
    refusal,
)
from tests.contracts.support import AGGREGATOR, OUTSIDER, RELAYER, TestChain, address

LENGTH = 8192 * 5 - 100
WORKERS = 5
OPEN = 1
BAD = 2
"""The worker whose update holds -128; it is posted as malformed."""


@pytest.fixture(scope="module")
def _played() -> PostedRound:
    scene = Scene.deploy(TestChain(members=8), WORKERS, LENGTH)
    posted = PostedRound.play(scene, random.Random(6), absent=(1,))
    data = bytearray(posted.updates[BAD] or b"")
    data[HEADER_BYTES + 9000] = 0x80
    posted.updates[BAD] = bytes(data)
    posted.malformed = 1 << BAD
    return posted


@pytest.fixture
def posted(_played: PostedRound) -> Iterator[PostedRound]:
    """A settled round: worker 1 absent, worker 2 malformed, the others sound."""
    tester = _played.scene.chain.tester
    snapshot = tester.take_snapshot()
    fresh = copy.copy(_played)
    fresh.updates = list(_played.updates)
    fresh.leaves = [list(own) for own in _played.leaves]
    fresh.assays = list(_played.assays)
    fresh.write()
    yield fresh
    tester.revert_to_snapshot(snapshot)


@pytest.fixture
def scene(posted: PostedRound) -> Scene:
    return posted.scene


def key_of(
    posted: PostedRound, index: int, kind: RequestKind, height: int = 0, position: int = 0
) -> RequestKey:
    return RequestKey(posted.scene.ledger.address, posted.number, index, kind, height, position)


def ask_now(posted: PostedRound, key: RequestKey, sender: int = RELAYER) -> None:
    data = ask(key, posted.target(key.index).opening)
    posted.scene.send(data, posted.scene.requests, BOND_WEI, sender)


def error_of(scene: Scene, data: bytes, value: int = 0) -> str:
    error = scene.try_call(data, scene.requests, value)
    return "" if error is None else error.name


def status_of(scene: Scene, key: RequestKey) -> int:
    status: int = scene.requests.functions.requestOf(key.id).call()[2]
    return status


def assert_accounts(scene: Scene, open_requests: int, owed: dict[int, int]) -> None:
    """The balance is what is asked for plus what is owed."""
    for key, bonds in owed.items():
        assert scene.requests.functions.creditOf(address(key)).call() == bonds * BOND_WEI
    balance = scene.chain.web3.eth.get_balance(scene.requests.address)
    assert balance == (open_requests + sum(owed.values())) * BOND_WEI


class TestSegments:
    def test_asked_and_answered(self, posted: PostedRound, scene: Scene) -> None:
        key = key_of(posted, 3, RequestKind.SEGMENT, position=4)
        key.check(scene.facts)
        ask_now(posted, key)
        asked = scene.requests.functions.requestOf(key.id).call()
        now = scene.chain.web3.eth.get_block("latest")["timestamp"]
        assert asked == (address(RELAYER), now + ANSWER_S, OPEN, posted.update(3).root)
        assert scene.requests.functions.idOf(key.abi()).call() == key.id
        assert_accounts(scene, 1, {RELAYER: 0, OUTSIDER: 0})
        answer = SegmentAnswer.build(key, posted.update(3))
        answer.check(scene.facts, posted.update(3).root)
        scene.send(answer.calldata(), scene.requests)
        assert status_of(scene, key) == 2
        assert_accounts(scene, 0, {RELAYER: 0, OUTSIDER: 1})
        assert error_of(scene, answer.calldata()) == "DataRequestsNotOpen"
        assert error_of(scene, close(key)) == "DataRequestsNotOpen"
        again = ask(key, posted.target(3).opening)
        assert error_of(scene, again, BOND_WEI) == "DataRequestsAlreadyAsked"

    @pytest.mark.parametrize("index", [0, 5])
    @pytest.mark.parametrize("segment", range(5))
    def test_every_segment_of_workers_and_anchor(self, posted: PostedRound, index: int, segment: int) -> None:
        key = key_of(posted, index, RequestKind.SEGMENT, position=segment)
        ask_now(posted, key)
        answer = SegmentAnswer.build(key, posted.update(index))
        assert error_of(posted.scene, answer.calldata()) == ""

    def test_wrong_answers(self, posted: PostedRound, scene: Scene) -> None:
        key = key_of(posted, 3, RequestKind.SEGMENT, position=4)
        ask_now(posted, key)
        right = SegmentAnswer.build(key, posted.update(3))
        root = posted.update(3).root
        trace = TraceAnswer(key, (bytes(32),) * 2, ())
        for name, wrong in (
            ("DataRequestsWrongRoot", replace(right, segment=posted.update(3).segment(3))),
            ("DataRequestsWrongRoot", replace(right, header=posted.update(0).header)),
            ("DataRequestsWrongRoot", SegmentAnswer.build(key, posted.update(0))),
            ("SegmentTreeWrongDepth", replace(right, siblings=right.siblings[1:])),
            ("SegmentTreeWrongSegmentLength", replace(right, segment=b"")),
            ("SegmentTreeWrongHeaderLength", replace(right, header=b"")),
            ("DataRequestsWrongKind", trace),
        ):
            assert error_of(scene, wrong.calldata()) == name
            assert refusal(lambda wrong=wrong: wrong.check(scene.facts, root)) == name  # type: ignore[misc]
        other = replace(right, key=replace(key, position=3))
        assert error_of(scene, other.calldata()) == "DataRequestsNotOpen"
        assert_accounts(scene, 1, {OUTSIDER: 0})

    def test_the_last_second_counts_and_the_next_does_not(self, posted: PostedRound, scene: Scene) -> None:
        key = key_of(posted, 3, RequestKind.SEGMENT)
        ask_now(posted, key)
        answer = SegmentAnswer.build(key, posted.update(3)).calldata()
        answer_by = scene.requests.functions.requestOf(key.id).call()[1]
        scene.chain.travel(answer_by - scene.chain.now)
        assert scene.chain.now == answer_by
        assert error_of(scene, answer) == ""
        assert error_of(scene, close(key)) == "DataRequestsStillOpen"
        scene.chain.mine(1)
        assert scene.chain.now == answer_by + 1
        assert error_of(scene, answer) == "DataRequestsTooLate"
        assert error_of(scene, close(key)) == ""

    def test_unanswered(self, posted: PostedRound, scene: Scene) -> None:
        key = key_of(posted, 3, RequestKind.SEGMENT, position=1)
        claim = WithheldClaim(posted.target(3), RequestKind.SEGMENT)

        def outcome() -> str:
            error = scene.try_call(claim.calldata(scene.facts))
            name = "" if error is None else error.name
            assert refusal(lambda: claim.check(scene.facts, scene.on_chain(posted.number))) == name
            return name

        assert outcome() == "ChallengeNotUnanswered"
        ask_now(posted, key)
        scene.chain.travel(ANSWER_S + 1)
        assert outcome() == "ChallengeNotUnanswered"
        ungranted = scene.ledger.functions.ungranted
        assert ungranted(posted.number, 1 << 3).call() == 1 << 3
        # Anybody closes; the bond goes to who asked.
        scene.send(close(key), scene.requests, sender=AGGREGATOR)
        assert_accounts(scene, 0, {RELAYER: 1, AGGREGATOR: 0})
        assert status_of(scene, key) == 3
        assert ungranted(posted.number, 1 << 3).call() == 0
        assert ungranted(posted.number, 1 << 3 | 1).call() == 1
        assert ungranted(posted.number + 1, 1 << 3).call() == 1 << 3
        # It answers for the ledger that asks, and of malformed updates it can be asked afterwards.
        assert scene.requests.functions.ungranted(posted.number, 1 << 3, 0b1).call() == 1 << 3
        assert error_of(scene, close(key)) == "DataRequestsNotOpen"
        late = SegmentAnswer.build(key, posted.update(3)).calldata()
        assert error_of(scene, late) == "DataRequestsNotOpen"

        assert outcome() == ""
        scene.send(claim.calldata(scene.facts))
        assert scene.ledger.functions.overturnedOf(posted.number).call() == 1 << 3
        guard = scene.facts.identities[-1]
        assert scene.vault.functions.stakeOf(scene.ledger.address, guard).call() == 0
        assert outcome() == "ChallengeAlreadyOverturned"

    def test_who_answers_itself_keeps_nobody_from_asking(self, posted: PostedRound, scene: Scene) -> None:
        mine, others = (key_of(posted, 3, RequestKind.SEGMENT, position=at) for at in (0, 4))
        ask_now(posted, mine, OUTSIDER)
        ask_now(posted, others, RELAYER)
        scene.send(SegmentAnswer.build(mine, posted.update(3)).calldata(), scene.requests)
        assert_accounts(scene, 1, {OUTSIDER: 1, RELAYER: 0})
        scene.chain.travel(ANSWER_S + 1)
        scene.send(close(others), scene.requests)
        assert_accounts(scene, 0, {OUTSIDER: 1, RELAYER: 1})
        claim = WithheldClaim(posted.target(3), RequestKind.SEGMENT)
        assert scene.try_call(claim.calldata(scene.facts)) is None

    def test_the_request_outlives_the_stage(self, posted: PostedRound, scene: Scene) -> None:
        posted.write(SEALED)
        key = key_of(posted, 3, RequestKind.SEGMENT, position=2)
        data = ask_sealed(key, posted.target(3).opening.commitment)
        scene.send(data, scene.requests, BOND_WEI)
        posted.final = (b"\1" * 32, b"\2" * 32)
        posted.write()
        answer = SegmentAnswer.build(key, posted.update(3))
        assert error_of(scene, answer.calldata()) == ""
        scene.chain.travel(ANSWER_S + 1)
        scene.send(close(key), scene.requests)
        claim = WithheldClaim(posted.target(3), RequestKind.SEGMENT)
        assert scene.try_call(claim.calldata(scene.facts)) is None

    def test_nobody_is_blamed_for_data_of_a_final_round(self, posted: PostedRound, scene: Scene) -> None:
        # Else whoever waits until nobody is there any more to answer could take honest work back.
        posted.final = (b"\1" * 32, b"\2" * 32)
        posted.write()
        opening = posted.target(3).opening
        for kind, height in ((RequestKind.SEGMENT, 0), (RequestKind.TRACE, 3), (RequestKind.FAULT, 0)):
            key = key_of(posted, 3, kind, height=height, position=3 if height else 0)
            assert error_of(scene, ask(key, opening), BOND_WEI) == "DataRequestsFinal"
        unfinished = replace(opening, model_root=None)
        key = key_of(posted, 3, RequestKind.SEGMENT)
        assert error_of(scene, ask(key, unfinished), BOND_WEI) == "RoundOpeningMismatch"

    def test_sealed_rounds_only(self, posted: PostedRound, scene: Scene) -> None:
        key = key_of(posted, 3, RequestKind.SEGMENT, position=2)
        data = ask_sealed(key, posted.target(3).opening.commitment)
        assert error_of(scene, data, BOND_WEI) == "RoundOpeningMismatch"
        accumulator = posted.write(SEALED)
        assert error_of(scene, data, BOND_WEI) == ""
        settled = ask(key, posted.target(3).opening)
        assert error_of(scene, settled, BOND_WEI) == "RoundOpeningNotSettled"
        for stage in (IDLE, OPEN):
            scene.record(posted.number, accumulator, stage)
            assert error_of(scene, data, BOND_WEI) == "RoundOpeningNotSealed"
        scene.record(posted.number, bytes(32), SEALED)
        assert error_of(scene, data, BOND_WEI) == "RoundOpeningUnknownRound"


class TestWhatMayBeAsked:
    def test_bond(self, posted: PostedRound, scene: Scene) -> None:
        key = key_of(posted, 0, RequestKind.SEGMENT)
        data = ask(key, posted.target(0).opening)
        for value in (0, BOND_WEI - 1, BOND_WEI + 1):
            assert error_of(scene, data, value) == "DataRequestsWrongBond"
        assert error_of(scene, data, BOND_WEI) == ""

    @pytest.mark.parametrize(
        ("kind", "height", "position"),
        [
            (RequestKind.SEGMENT, 0, 5),
            (RequestKind.SEGMENT, 1, 0),
            (RequestKind.SEGMENT, 0, 2**255),
            (RequestKind.TRACE, 0, 3 << 3),
            (RequestKind.TRACE, 7, 0),
            (RequestKind.TRACE, 6, 1),
            (RequestKind.TRACE, 3, 2),
            (RequestKind.TRACE, 2, 8),
            (RequestKind.TRACE, 2**255, 0),
        ],
    )
    def test_places_that_do_not_exist(
        self, posted: PostedRound, scene: Scene, kind: RequestKind, height: int, position: int
    ) -> None:
        # Members' trees have the depth 3, and so has the tree over six members.
        key = key_of(posted, 3, kind, height, position)
        data = ask(key, posted.target(3).opening)
        assert error_of(scene, data, BOND_WEI) == "DataRequestsNoSuchPosition"
        assert refusal(lambda: key.check(scene.facts)) == "DataRequestsNoSuchPosition"

    def test_kinds_and_statuses(self, posted: PostedRound, scene: Scene) -> None:
        sound, bad = posted.target(3).opening, posted.target(BAD).opening
        for name, key, opening in (
            ("DataRequestsWrongStatus", key_of(posted, 3, RequestKind.FAULT), sound),
            ("DataRequestsWrongStatus", key_of(posted, BAD, RequestKind.SEGMENT), bad),
            ("DataRequestsWrongStatus", key_of(posted, BAD, RequestKind.TRACE, 1, BAD << 2), bad),
            ("RoundOpeningMismatch", key_of(posted, 0, RequestKind.SEGMENT), sound),
            ("", key_of(posted, BAD, RequestKind.FAULT), bad),
        ):
            assert error_of(scene, ask(key, opening), BOND_WEI) == name

    def test_deployment(self, scene: Scene) -> None:
        for arguments, name in (((0, 1), "requestBondWei"), ((1, 0), "answerWindowS")):
            error = scene.chain.deploy_error("DataRequests", *arguments)
            assert (error.name, error.arguments) == ("DataRequestsZeroArgument", (name,))


class TestTrace:
    @pytest.mark.parametrize("index", [0, 3, 5])
    def test_every_node_of_a_member(self, posted: PostedRound, scene: Scene, index: int) -> None:
        places = [(h, (index << (3 - h)) + at) for h in (1, 2, 3) for at in range(1 << (3 - h))]
        places += [(h, index >> (h - 3)) for h in (4, 5, 6)]
        trace = posted.trace(index)
        for height, position in places:
            key = key_of(posted, index, RequestKind.TRACE, height, position)
            ask_now(posted, key)
            answer = TraceAnswer.build(key, trace)
            answer.check(scene.facts, trace.root)
            assert error_of(scene, answer.calldata()) == ""
            # Above the members' roots the answer ends there: those without a word have nothing below.
            assert len(answer.nodes) == 1 << (height if height <= 3 else height - 3)

    def test_the_top_shows_the_members_roots(self, posted: PostedRound) -> None:
        answer = TraceAnswer.build(key_of(posted, 0, RequestKind.TRACE, 6, 0), posted.trace(0))
        assert b"".join(answer.nodes) == posted.roots + bytes(64)
        assert answer.nodes[1] == answer.nodes[BAD] == bytes(32)

    def test_wrong_answers(self, posted: PostedRound, scene: Scene) -> None:
        key = key_of(posted, 3, RequestKind.TRACE, 2, 6)
        ask_now(posted, key)
        root = posted.trace(3).root
        right = TraceAnswer.build(key, posted.trace(3))
        for name, wrong in (
            ("DataRequestsWrongNodes", replace(right, nodes=right.nodes[:-1])),
            ("DataRequestsWrongNodes", replace(right, nodes=right.nodes[:2])),
            ("DataRequestsWrongNodes", replace(right, nodes=())),
            ("DataRequestsWrongRoot", replace(right, nodes=right.nodes[::-1])),
            ("SegmentTreeWrongDepth", replace(right, siblings=right.siblings[:-1])),
            ("SegmentTreeWrongDepth", replace(right, siblings=(*right.siblings, bytes(32)))),
            ("DataRequestsWrongRoot", replace(right, siblings=right.siblings[::-1])),
        ):
            assert error_of(scene, wrong.calldata()) == name
            assert refusal(lambda wrong=wrong: wrong.check(scene.facts, root)) == name  # type: ignore[misc]

    def test_unanswered(self, posted: PostedRound, scene: Scene) -> None:
        # A guard that posts a root of nothing: nobody can ask for a step, but everybody for the nodes.
        posted.leaves[5] = [bytes([i]) * 32 for i in range(5)]
        posted.write()
        key = key_of(posted, 5, RequestKind.TRACE, 3, 5)
        ask_now(posted, key)
        scene.chain.travel(ANSWER_S + 1)
        scene.send(close(key), scene.requests)
        # A segment request would make the member unavailable; this one does not.
        assert scene.ledger.functions.ungranted(posted.number, 1 << 5).call() == 1 << 5
        for kind, name in ((RequestKind.SEGMENT, "ChallengeNotUnanswered"), (RequestKind.TRACE, "")):
            claim = WithheldClaim(posted.target(5), kind)
            error = scene.try_call(claim.calldata(scene.facts))
            assert ("" if error is None else error.name) == name
        scene.send(WithheldClaim(posted.target(5), RequestKind.TRACE).calldata(scene.facts))
        assert scene.ledger.functions.overturnedOf(posted.number).call() == 1 << 5


class TestFaults:
    def test_answered(self, posted: PostedRound, scene: Scene) -> None:
        key = key_of(posted, BAD, RequestKind.FAULT)
        ask_now(posted, key)
        fault = find_fault(posted.updates[BAD] or b"", scene.facts, posted.number, BAD)
        assert fault is not None
        assert fault.kind == FaultKind.VALUE
        root = posted.update(BAD).root
        right = FaultAnswer(key, fault)
        header = UpdateFault(FaultKind.HEADER, fault.header, payload_root=posted.update(BAD).payload_root)
        other = posted.update(BAD)
        for name, wrong in (
            ("UpdateFaultsSound", FaultAnswer(key, header)),
            ("UpdateFaultsWrongRoot", FaultAnswer(key, replace(fault, segment_index=0))),
            (
                "UpdateFaultsSound",
                FaultAnswer(
                    key,
                    replace(fault, segment_index=0, segment=other.segment(0), siblings=other.tree.path(0)),
                ),
            ),
        ):
            assert error_of(scene, wrong.calldata()) == name
            assert refusal(lambda wrong=wrong: wrong.check(scene.facts, root)) == name  # type: ignore[misc]
        right.check(scene.facts, root)
        scene.send(right.calldata(), scene.requests)
        assert_accounts(scene, 0, {OUTSIDER: 1, RELAYER: 0})
        claim = UnfoundedClaim(posted.target(BAD))
        error = scene.try_call(claim.calldata(scene.facts))
        assert error is not None
        assert error.name == "ChallengeNotUnanswered"

    def test_a_sound_update_posted_as_malformed(self, posted: PostedRound, scene: Scene) -> None:
        posted.malformed = 1 << 4
        posted.write()
        key = key_of(posted, 4, RequestKind.FAULT)
        ask_now(posted, key)
        assert find_fault(posted.updates[4] or b"", scene.facts, posted.number, 4) is None
        scene.chain.travel(ANSWER_S + 1)
        scene.send(close(key), scene.requests)
        claim = UnfoundedClaim(posted.target(4))
        claim.check(scene.facts, scene.on_chain(posted.number))
        scene.send(claim.calldata(scene.facts))
        assert scene.ledger.functions.overturnedOf(posted.number).call() == 1 << 4
        guard = scene.facts.identities[-1]
        assert scene.vault.functions.stakeOf(scene.ledger.address, guard).call() == 0

    def test_a_sound_member_is_not_unfounded(self, posted: PostedRound, scene: Scene) -> None:
        error = scene.try_call(UnfoundedClaim(posted.target(3)).calldata(scene.facts))
        assert error is not None
        assert error.name == "ChallengeWrongStatus"


class TestMoney:
    def test_claim(self, posted: PostedRound, scene: Scene) -> None:
        for at in range(3):
            key = key_of(posted, 0, RequestKind.SEGMENT, position=at)
            ask_now(posted, key)
            scene.send(SegmentAnswer.build(key, posted.update(0)).calldata(), scene.requests)
        assert_accounts(scene, 0, {OUTSIDER: 3})
        recipient = "0x" + "77" * 20
        pay = scene.requests.functions.claim(scene.chain.web3.to_checksum_address(recipient))
        scene.chain.send(pay, OUTSIDER)
        assert (
            scene.chain.web3.eth.get_balance(scene.chain.web3.to_checksum_address(recipient)) == 3 * BOND_WEI
        )
        assert_accounts(scene, 0, {OUTSIDER: 0})
        error = scene.chain.error(pay, OUTSIDER)
        assert (error.name, error.arguments) == ("DataRequestsNoCredit", (address(OUTSIDER).lower(),))

    def test_a_recipient_that_refuses(self, posted: PostedRound, scene: Scene) -> None:
        wallet = scene.chain.deploy("TestWallet", address(OUTSIDER))
        scene.chain.send(wallet.functions.setRefusesMoney(True), OUTSIDER)
        key = key_of(posted, 0, RequestKind.SEGMENT)
        ask_now(posted, key)
        scene.send(SegmentAnswer.build(key, posted.update(0)).calldata(), scene.requests)
        error = scene.chain.error(scene.requests.functions.claim(wallet.address), OUTSIDER)
        assert error.name == "DataRequestsPaymentRefused"
        assert_accounts(scene, 0, {OUTSIDER: 1})

    def test_nobody_sends_money_by_mistake(self, scene: Scene) -> None:
        for contract in (scene.requests, scene.challenge):
            with pytest.raises((SyntaxError, KeyError, ValueError, AssertionError)):
                assert scene.try_call(b"", contract, 1) is None

    def test_random_requests_keep_the_accounts(self, posted: PostedRound, scene: Scene) -> None:
        rng = random.Random(8)
        senders = (RELAYER, AGGREGATOR, OUTSIDER)
        owed = dict.fromkeys(senders, 0)
        waiting: dict[RequestKey, tuple[int, int]] = {}
        places = [
            key_of(posted, index, RequestKind.SEGMENT, position=at) for index in (0, 3, 4) for at in range(5)
        ]
        for _ in range(60):
            now = scene.chain.now
            step = rng.choice(["ask", "ask", "answer", "close", "wait", "claim"])
            if step == "ask":
                key, sender = rng.choice(places), rng.choice(senders)
                if status_of(scene, key) == 0:
                    ask_now(posted, key, sender)
                    by = scene.requests.functions.requestOf(key.id).call()[1]
                    waiting[key] = (sender, by)
            elif step == "answer" and waiting:
                key, sender = rng.choice(list(waiting)), rng.choice(senders)
                data = SegmentAnswer.build(key, posted.update(key.index)).calldata()
                if now <= waiting[key][1]:
                    scene.send(data, scene.requests, sender=sender)
                    owed[sender] += 1
                    del waiting[key]
                else:
                    assert error_of(scene, data) == "DataRequestsTooLate"
            elif step == "close" and waiting:
                key = rng.choice(list(waiting))
                if now > waiting[key][1]:
                    scene.send(close(key), scene.requests, sender=rng.choice(senders))
                    owed[waiting.pop(key)[0]] += 1
                else:
                    assert error_of(scene, close(key)) == "DataRequestsStillOpen"
            elif step == "wait":
                scene.chain.travel(rng.randrange(1, ANSWER_S))
            else:
                sender = rng.choice(senders)
                if owed[sender]:
                    scene.chain.send(scene.requests.functions.claim(address(sender)), sender)
                    owed[sender] = 0
            assert_accounts(scene, len(waiting), owed)


def test_slashes_are_the_only_stakes_that_moved(posted: PostedRound, scene: Scene) -> None:
    key = key_of(posted, 3, RequestKind.SEGMENT)
    ask_now(posted, key)
    scene.chain.travel(ANSWER_S + 1)
    scene.send(close(key), scene.requests)
    for identity in scene.facts.identities:
        assert scene.vault.functions.stakeOf(scene.ledger.address, identity).call() == STAKE_WEI
