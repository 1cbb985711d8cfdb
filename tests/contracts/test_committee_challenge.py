"""Challenges in a run of several guards: who posted loses its stake, whoever was lied about."""

import random
from collections.abc import Iterator
from copy import copy
from dataclasses import replace

import pytest
from web3.logs import DISCARD

from ledger.challenges import (
    BoundaryClaim,
    ExponentClaim,
    RequestKey,
    RequestKind,
    SegmentClaim,
    UnfoundedClaim,
    WithheldClaim,
    ask,
    close,
)
from tests.contracts.challenged import (
    ANSWER_S,
    BOND_WEI,
    STAKE_WEI,
    Claim,
    PostedRound,
    Scene,
    lie_in_step,
    off_by_one_sum,
)
from tests.contracts.support import OUTSIDER, TestChain, address

WORKERS, GUARDS = 3, 3
MEMBERS = WORKERS + GUARDS
LENGTH = 8192 * 3 - 50


@pytest.fixture(scope="module")
def _played() -> PostedRound:
    scene = Scene.deploy(TestChain(members=MEMBERS), WORKERS, LENGTH, GUARDS)
    return PostedRound.play(scene, random.Random(9), absent=(1,))


@pytest.fixture(params=range(GUARDS))
def posted(_played: PostedRound, request: pytest.FixtureRequest) -> Iterator[PostedRound]:
    """A round that each of the guards posts truly; worker 1 is absent. Not in the ledger yet."""
    tester = _played.scene.chain.tester
    snapshot = tester.take_snapshot()
    fresh = copy(_played)
    fresh.assays = list(_played.assays)
    fresh.leaves = [list(own) for own in _played.leaves]
    fresh.updates = list(_played.updates)
    fresh.poster = request.param
    yield fresh
    tester.revert_to_snapshot(snapshot)


def stakes(scene: Scene) -> list[int]:
    stake_of = scene.vault.functions.stakeOf
    return [stake_of(scene.ledger.address, identity).call() for identity in scene.facts.identities]


def without(poster: int) -> list[int]:
    """Stakes after the poster's was taken, and nobody else's."""
    return [0 if i == WORKERS + poster else STAKE_WEI for i in range(MEMBERS)]


def refusal(posted: PostedRound, claim: Claim | WithheldClaim | UnfoundedClaim) -> str:
    error = posted.scene.try_call(claim.calldata(posted.scene.facts))
    return "" if error is None else error.name


def make(posted: PostedRound, claim: Claim | WithheldClaim | UnfoundedClaim) -> dict[str, object]:
    receipt = posted.scene.send(claim.calldata(posted.scene.facts))
    challenge = posted.scene.challenge
    [event] = challenge.events.ContributionChallenged().process_receipt(receipt, errors=DISCARD)
    return dict(event["args"])


def test_a_worker_s_false_step_costs_the_poster(posted: PostedRound) -> None:
    scene = posted.scene
    lie_in_step(posted, 2, 1, off_by_one_sum(77, 1))
    posted.write()
    claim = posted.find_lie(2)
    assert isinstance(claim, SegmentClaim)
    event = make(posted, claim)
    assert (event["index"], event["slashedWei"]) == (2, STAKE_WEI)
    assert stakes(scene) == without(posted.poster)
    assert scene.ledger.functions.overturnedOf(posted.number).call() == 1 << 2
    # The member's lane alone goes back.
    lane = posted.lanes[0] >> 128 & (2**64 - 1)
    assert scene.ledger.functions.laneWord(0).call() == lane << 128
    assert scene.vault.functions.creditOf(address(OUTSIDER)).call() == STAKE_WEI // 2


@pytest.mark.parametrize("guard", range(GUARDS))
def test_a_false_word_for_a_guard_s_anchor_voids_the_round(posted: PostedRound, guard: int) -> None:
    scene, index = posted.scene, WORKERS + guard
    posted.assays[index] = replace(posted.assays[index], code=posted.assays[index].code ^ 1)
    posted.write()
    claim = posted.find_lie(index)
    assert isinstance(claim, BoundaryClaim)
    event = make(posted, claim)
    assert (event["index"], event["slashedWei"]) == (index, STAKE_WEI)
    assert stakes(scene) == without(posted.poster)
    # The test's ledger marks the last member for an overturned round.
    assert scene.ledger.functions.overturnedOf(posted.number).call() == 1 << MEMBERS - 1
    words = [scene.ledger.functions.laneWord(i).call() for i in range(len(posted.lanes))]
    assert words == list(posted.lanes)
    assert scene.ledger.functions.yardstick().call() == 11


@pytest.mark.parametrize("guard", range(GUARDS))
def test_a_false_exponent_or_step_of_a_guard(posted: PostedRound, guard: int) -> None:
    index = WORKERS + guard
    lie_in_step(posted, index, 0, off_by_one_sum(3, -1))
    posted.write()
    claim = posted.find_lie(index)
    assert isinstance(claim, SegmentClaim)
    assert refusal(posted, claim) == ""
    posted.assays[index] = replace(posted.assays[index], exponent=posted.assays[index].exponent + 1)
    posted.write()
    wrong = posted.exponent_claim(index)
    assert isinstance(wrong, ExponentClaim)
    make(posted, wrong)
    assert stakes(posted.scene) == without(posted.poster)


def test_what_is_true_stays(posted: PostedRound) -> None:
    posted.write()
    for index in (0, 2, *range(WORKERS, MEMBERS)):
        assert refusal(posted, posted.boundary_claim(index)) == "ChallengeReadingHolds"
        assert refusal(posted, posted.exponent_claim(index)) == "ChallengeExponentHolds"
        for segment in range(posted.scene.segments):
            assert refusal(posted, posted.segment_claim(index, segment)) == "ChallengeStepHolds"
    assert stakes(posted.scene) == [STAKE_WEI] * MEMBERS


def test_a_lie_about_one_guard_says_nothing_of_another(posted: PostedRound) -> None:
    index = WORKERS + 1
    posted.assays[index] = replace(posted.assays[index], norm2=posted.assays[index].norm2 + 1)
    posted.write()
    for other in (WORKERS, WORKERS + 2):
        assert refusal(posted, posted.boundary_claim(other)) == "ChallengeReadingHolds"
    assert refusal(posted, posted.boundary_claim(index)) == ""


@pytest.mark.parametrize("guard", range(GUARDS))
@pytest.mark.parametrize("status", ["unavailable", "malformed"])
def test_a_guard_without_a_word_has_none_to_challenge(posted: PostedRound, guard: int, status: str) -> None:
    index = WORKERS + guard
    setattr(posted, status, 1 << index)
    posted.write()
    assert refusal(posted, posted.exponent_claim(index)) == "ChallengeWrongStatus"
    assert refusal(posted, WithheldClaim(posted.target(index), RequestKind.TRACE)) == "ChallengeWrongStatus"
    for other in range(WORKERS, MEMBERS):
        if other != index:
            assert refusal(posted, posted.boundary_claim(other)) == "ChallengeReadingHolds"


@pytest.mark.parametrize("guard", range(GUARDS))
def test_a_withheld_anchor_voids_the_round_and_costs_the_poster(posted: PostedRound, guard: int) -> None:
    scene, index = posted.scene, WORKERS + guard
    posted.write()
    claim = WithheldClaim(posted.target(index), RequestKind.SEGMENT)
    assert refusal(posted, claim) == "ChallengeNotUnanswered"
    close_unanswered(posted, index)
    event = make(posted, claim)
    assert (event["index"], event["slashedWei"]) == (index, STAKE_WEI)
    assert stakes(scene) == without(posted.poster)
    assert scene.ledger.functions.overturnedOf(posted.number).call() == 1 << MEMBERS - 1
    # Only that one was asked for.
    other = WORKERS + (guard + 1) % GUARDS
    assert refusal(posted, WithheldClaim(posted.target(other), RequestKind.SEGMENT)) in (
        "ChallengeNotUnanswered",
        "ChallengeAlreadyOverturned",
    )


def test_a_sound_anchor_posted_as_malformed(posted: PostedRound) -> None:
    scene, index = posted.scene, WORKERS + 1
    posted.malformed = 1 << index
    posted.write()
    claim = UnfoundedClaim(posted.target(index))
    assert refusal(posted, claim) == "ChallengeNotUnanswered"
    close_unanswered(posted, index, RequestKind.FAULT)
    event = make(posted, claim)
    assert (event["index"], event["slashedWei"]) == (index, STAKE_WEI)
    assert stakes(scene) == without(posted.poster)


def close_unanswered(posted: PostedRound, index: int, kind: RequestKind = RequestKind.SEGMENT) -> None:
    """Ask for a member's first segment, or its fault; let the time pass, and close the request."""
    scene = posted.scene
    key = RequestKey(scene.ledger.address, posted.number, index, kind, 0, 0)
    scene.send(ask(key, posted.target(index).opening), scene.requests, BOND_WEI)
    scene.chain.travel(ANSWER_S + 1)
    scene.send(close(key), scene.requests)
