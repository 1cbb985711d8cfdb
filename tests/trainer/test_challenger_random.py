"""Random lies about random updates: the challenger finds each, and the contracts in py-evm take its claim.

No claim is made about anything honest. Every claim goes through the contract, none only through its mirror.
"""

import copy
import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import pytest
from eth_utils import keccak

from guard.settlement import decode_settlement
from ledger import digests
from ledger.blobs import BlobKind, BlobStore
from ledger.challenges import Target, UpdateTree
from ledger.client import LedgerClient, LedgerFacts, Member
from ledger.deployment import NO_ADDRESS
from ledger.history import Commitment, RoundHistory, Verdicts
from ledger.merkle import digest_tree_root
from tests.contracts.challenged import PostedRound, Scene, tell_random_lie
from tests.contracts.support import TestChain
from trainer.challenger import Examiner, SettledRound

LENGTHS = (8192 * 2 + 5, 8192 * 4, 8192 * 5 - 100)
"""3, 4 and 5 segments."""

WORKERS = 5


@dataclass(frozen=True)
class ScenePosted(SettledRound):
    """A posted round of a scene, whose record the scene's ledger has."""

    source: PostedRound

    def target(self, client: LedgerClient, index: int) -> Target:  # noqa: ARG002
        """Open it as the scene does."""
        return self.source.target(index)


@pytest.fixture(scope="module", params=LENGTHS)
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene.deploy(TestChain(members=8), workers=WORKERS, length=request.param)


def client_of(scene: Scene) -> LedgerClient:
    """Give what an examiner asks a ledger for."""
    facts = LedgerFacts(
        domain=scene.facts.domain,
        run=scene.facts.run,
        parameters=(),
        spec_digest=scene.facts.spec_digest,
        members=tuple(Member(identity, identity) for identity in scene.facts.identities),
        aggregator=NO_ADDRESS,
        registry=NO_ADDRESS,
        reputation=NO_ADDRESS,
        data_requests=NO_ADDRESS,
        shape_digest=scene.facts.shape_digest,
        length=scene.facts.length,
        challenge=NO_ADDRESS,
        vault=NO_ADDRESS,
        guardian=NO_ADDRESS,
        initial_model=bytes(32),
    )
    functions = scene.ledger.functions
    client = SimpleNamespace(
        facts=facts,
        record_of=lambda number: functions.recordOf(number).call(),
        overturned_of=lambda number: functions.overturnedOf(number).call(),
    )
    return cast(LedgerClient, client)


def settled(posted: PostedRound) -> ScenePosted:
    """Give what an examiner gets of a round that the scene's ledger has the record of."""
    payload = posted.payload()
    verdicts = Verdicts(payload, posted.presence, 12, posted.seed, bytes(32), bytes(32), 1, NO_ADDRESS)
    commitments = [
        Commitment(index, UpdateTree([data]).root, 0, 0, None, bytes(32), 0, None)
        for index, data in enumerate(posted.updates)
        if data is not None
    ]
    history = RoundHistory(posted.number, 0, keccak(text="parent"), commitments)
    covered = digests.Settlement(posted.presence, posted.seed, payload, posted.presence, 11, 12, (), ())
    read = decode_settlement(payload, posted.presence, WORKERS)
    return ScenePosted(history, verdicts, read, covered, posted)


def publish(posted: PostedRound, store: BlobStore) -> None:
    """Put updates and traces where everybody finds them."""
    for index, data in enumerate(posted.updates):
        if data is None:
            continue
        store.put(UpdateTree([data]).root, data)
        leaves = b"".join(posted.leaves[index])
        store.put(digest_tree_root(leaves), leaves, BlobKind.TRACE)
    store.put(digest_tree_root(posted.roots), posted.roots, BlobKind.TRACE)


def spoil(posted: PostedRound, index: int, rng: random.Random) -> str:
    """Let a member commit to a malformed update, which the guard posts as sound; give how."""
    data = posted.updates[index]
    assert data is not None
    length, segments = posted.scene.facts.length, posted.scene.segments
    kinds = ["header", "value"]
    kinds += ["padding"] if length % 8192 else []
    kinds += ["size"] if segments & (segments - 1) else []
    kind, bad = rng.choice(kinds), bytearray(data)
    if kind == "header":
        bad[rng.choice([0, 4, 6, *range(8, 80)])] ^= 1 << rng.randrange(8)
    elif kind == "value":
        bad[96 + rng.randrange(length)] = 0x80
    elif kind == "padding":
        bad[96 + rng.randrange(length, 8192 * segments)] = rng.randrange(1, 128)
    else:
        bad += rng.randbytes(8192)
    posted.updates[index] = bytes(bad)
    return kind


def play(scene: Scene, trials: int, seed: int) -> dict[str, int]:
    """Tell one lie in each trial; give how often each kind was told."""
    rng = random.Random(f"{scene.segments} {seed}")
    store = BlobStore(f"memory://random-lies-{scene.segments}-{seed}")
    examiner = Examiner(client_of(scene), store, has_requests=False)
    told: dict[str, int] = {}
    truth = None
    for trial in range(trials):
        if truth is None or trial % 10 == 0:
            absent = tuple(i for i in range(WORKERS) if rng.random() < 0.2)
            truth = PostedRound.play(scene, rng, number=rng.randrange(1, 2**32), absent=absent)
            truth.final = rng.choice([None, (rng.randbytes(32), rng.randbytes(32))])
            publish(truth, store)
            truth.write()
            assert list(examiner.examine(settled(truth))) == []
        posted = copy.copy(truth)
        posted.assays, posted.updates = list(truth.assays), list(truth.updates)
        posted.leaves = [list(own) for own in truth.leaves]
        liar = rng.choice([i for i in range(WORKERS + 1) if truth.presence >> i & 1])
        is_spoilt = rng.random() < 0.3
        lie = spoil(posted, liar, rng) if is_spoilt else tell_random_lie(posted, liar, rng)
        publish(posted, store)
        posted.write()
        [found] = examiner.examine(settled(posted))
        assert (found.index, found.why) == (liar, ""), lie
        assert found.claim is not None, lie
        assert scene.try_call(found.claim.calldata(scene.facts)) is None, lie
        told[lie] = told.get(lie, 0) + 1
    return told


def test_random_lies_are_found_and_overturned(scene: Scene) -> None:
    told = play(scene, 20, 1)
    assert sum(told.values()) == 20
    assert len(told) >= 5


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_random_lies_are_found_and_overturned_many(scene: Scene) -> None:
    told = play(scene, 350, 2)
    assert sum(told.values()) == 350
    assert {"first", "middle", "last", "one leaf", "bit", "norm", "exponent", "header", "value"} <= set(told)
