"""Differential: false postings always fall, true ones never, and Python says the same as the EVM."""

import copy
import random

import pytest

from ledger.challenges import MalformedClaim, OnChain, UpdateFault
from ledger.challenges.faults import FaultKind
from tests.contracts.challenged import Claim, PostedRound, Scene, refusal, tell_random_lie
from tests.contracts.support import TestChain

LENGTHS = (8192 * 2 + 5, 8192 * 4, 8192 * 5 - 100)
"""3, 4 and 5 segments."""


@pytest.fixture(scope="module", params=LENGTHS)
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene.deploy(TestChain(members=8), workers=5, length=request.param)


def verdict(posted: PostedRound, claim: Claim, chain: OnChain) -> str:
    """Give the error in which both the contract and the Python rules end, empty if neither does."""
    error = posted.scene.try_call(claim.calldata(posted.scene.facts))
    name = "" if error is None else error.name
    assert refusal(lambda: posted.check(claim, chain)) == name
    return name


def honest_claims(posted: PostedRound, index: int, rng: random.Random) -> list[Claim]:
    """Give claims against what is true."""
    update = posted.update(index)
    position = rng.randrange(posted.scene.segments)
    last = posted.scene.segments - 1
    return [
        posted.segment_claim(index, position),
        posted.boundary_claim(index),
        posted.exponent_claim(index),
        MalformedClaim(
            posted.target(index),
            rng.choice(
                [
                    UpdateFault(FaultKind.HEADER, update.header, payload_root=update.payload_root),
                    UpdateFault(
                        FaultKind.VALUE,
                        update.header,
                        segment_index=position,
                        segment=update.segment(position),
                        siblings=update.tree.path(position),
                    ),
                    UpdateFault(
                        FaultKind.PADDING,
                        update.header,
                        segment=update.segment(last),
                        siblings=update.tree.path(last),
                    ),
                    UpdateFault(
                        FaultKind.SIZE,
                        update.header,
                        segment=update.tree.node(0, last),
                        siblings=update.tree.path(last),
                    ),
                ]
            ),
        ),
    ]


HOLDS = {"ChallengeStepHolds", "ChallengeReadingHolds", "ChallengeExponentHolds", "UpdateFaultsSound"}


def play_trials(scene: Scene, trials: int, seed: int) -> dict[str, int]:
    """Run trials: one lie each, shown; claims against another member of the same posting, refused."""
    rng = random.Random(f"{scene.segments} {seed}")
    told: dict[str, int] = {}
    truth = None
    for trial in range(trials):
        if truth is None or trial % 10 == 0:
            absent = tuple(i for i in range(5) if rng.random() < 0.2)
            truth = PostedRound.play(scene, rng, number=rng.randrange(1, 2**32), absent=absent)
            truth.final = rng.choice([None, (rng.randbytes(32), rng.randbytes(32))])
        posted = copy.copy(truth)
        posted.assays = list(truth.assays)
        posted.leaves = [list(own) for own in truth.leaves]
        present = [i for i in range(6) if truth.presence >> i & 1]
        liar = rng.choice(present)
        lie = tell_random_lie(posted, liar, rng)
        chain = OnChain(posted.write())
        claim = posted.find_lie(liar)
        assert claim is not None, lie
        assert verdict(posted, claim, chain) == "", lie
        told[lie] = told.get(lie, 0) + 1
        others = [i for i in present if i != liar]
        if others:
            honest = rng.choice(others)
            assert posted.find_lie(honest) is None
            refused = verdict(posted, rng.choice(honest_claims(posted, honest, rng)), chain)
            assert refused in HOLDS
    return told


def test_every_lie_is_shown_and_no_truth_is(scene: Scene) -> None:
    told = play_trials(scene, 70, 1)
    assert sum(told.values()) == 70
    assert len(told) == 7


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_every_lie_is_shown_and_no_truth_is_many(scene: Scene) -> None:
    assert sum(play_trials(scene, 350, 2).values()) == 350
