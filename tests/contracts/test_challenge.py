"""Challenges: what is false falls, what is true stays, and no proof but the right one counts."""

import copy
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from eth_utils import keccak
from web3.logs import DISCARD

from guard.spec import sketch as spec_sketch
from ledger.challenges import (
    BoundaryClaim,
    ClaimKind,
    ExponentClaim,
    FaultKind,
    MalformedClaim,
    SegmentClaim,
    SignedRoot,
    TwoRootsClaim,
    UpdateFault,
    UpdateTree,
    expand_signature,
    find_fault,
)
from ledger.challenges.calls import encode_call
from ledger.contribution import sign
from ledger.update import HEADER_BYTES
from tests.contracts.challenged import (
    SEALED,
    STAKE_WEI,
    ZERO_STATE,
    Claim,
    PostedRound,
    Scene,
    add_state,
    leaf,
    lie_in_step,
    off_by_one_norm,
    off_by_one_sum,
    random_update,
    refusal,
)
from tests.contracts.model import Assay, project
from tests.contracts.support import (
    ORDER,
    OUTSIDER,
    Revert,
    TestChain,
    actor,
    address,
    canonical,
    private_key,
    sign_full,
)

LENGTH = 8192 * 5 - 100
WORKERS = 5
GUARD = WORKERS


@pytest.fixture(scope="module")
def _played() -> PostedRound:
    scene = Scene.deploy(TestChain(members=8), WORKERS, LENGTH)
    return PostedRound.play(scene, random.Random(5), absent=(1,))


@pytest.fixture
def posted(_played: PostedRound) -> Iterator[PostedRound]:
    """A round of which everything is posted truly; worker 1 is absent. Not in the ledger yet."""
    tester = _played.scene.chain.tester
    snapshot = tester.take_snapshot()
    fresh = copy.copy(_played)
    fresh.assays = list(_played.assays)
    fresh.leaves = [list(own) for own in _played.leaves]
    fresh.updates = list(_played.updates)
    fresh.states = [list(own) for own in _played.states]
    yield fresh
    tester.revert_to_snapshot(snapshot)


@pytest.fixture
def scene(posted: PostedRound) -> Scene:
    return posted.scene


def outcome(posted: PostedRound, claim: Claim) -> str:
    """Give the error in which the contract and the Python rules end, empty if neither does."""
    error = posted.scene.try_call(claim.calldata(posted.scene.facts))
    name = "" if error is None else error.name
    assert refusal(lambda: posted.check(claim, posted.scene.on_chain(claim.target.round))) == name
    return name


def event_of(scene: Scene, receipt: object) -> dict[str, object]:
    [event] = scene.challenge.events.ContributionChallenged().process_receipt(receipt, errors=DISCARD)
    return dict(event["args"])


class TestEffects:
    def test_a_worker_s_false_step_takes_its_contribution_and_the_guard_s_stake(
        self, posted: PostedRound, scene: Scene
    ) -> None:
        lie_in_step(posted, 2, 3, off_by_one_sum(77, 1))
        posted.write()
        claim = posted.find_lie(2)
        assert isinstance(claim, SegmentClaim)
        assert claim.segment_index == 3
        receipt = scene.send(claim.calldata(scene.facts))
        assert event_of(scene, receipt) == {
            "ledger": scene.ledger.address,
            "round": posted.number,
            "index": 2,
            "kind": ClaimKind.SEGMENT,
            "challenger": address(OUTSIDER),
            "slashedWei": STAKE_WEI,
        }
        assert scene.ledger.functions.overturnedOf(posted.number).call() == 1 << 2
        assert scene.ledger.functions.lastApproved().call() == posted.presence
        lane = posted.lanes[0] >> 128 & (2**64 - 1)
        assert scene.ledger.functions.laneWord(0).call() == lane << 128
        stakes = [
            scene.vault.functions.stakeOf(scene.ledger.address, i).call() for i in scene.facts.identities
        ]
        assert stakes == [STAKE_WEI] * WORKERS + [0]
        assert scene.vault.functions.creditOf(address(OUTSIDER)).call() == STAKE_WEI // 2

    def test_the_anchor_takes_the_round(self, posted: PostedRound, scene: Scene) -> None:
        posted.assays[GUARD] = replace(posted.assays[GUARD], code=posted.assays[GUARD].code ^ 1)
        posted.write()
        claim = posted.find_lie(GUARD)
        assert isinstance(claim, BoundaryClaim)
        event = event_of(scene, scene.send(claim.calldata(scene.facts)))
        assert (event["index"], event["kind"]) == (GUARD, ClaimKind.BOUNDARY)
        assert scene.ledger.functions.overturnedOf(posted.number).call() == 1 << GUARD
        words = [scene.ledger.functions.laneWord(i).call() for i in range(2)]
        assert words == list(posted.lanes)
        assert scene.ledger.functions.yardstick().call() == 11

    def test_a_second_lie_in_a_round_falls_though_no_stake_is_left(
        self, posted: PostedRound, scene: Scene
    ) -> None:
        for index in (0, 3):
            lie_in_step(posted, index, 0, off_by_one_norm(-1))
        posted.write()
        for index, slashed in ((0, STAKE_WEI), (3, 0)):
            claim = posted.find_lie(index)
            assert claim is not None
            event = event_of(scene, scene.send(claim.calldata(scene.facts)))
            assert (event["index"], event["slashedWei"]) == (index, slashed)
        assert scene.ledger.functions.overturnedOf(posted.number).call() == 0b1001

    def test_a_lie_falls_once(self, posted: PostedRound, scene: Scene) -> None:
        lie_in_step(posted, 2, 1, off_by_one_sum(0, 1))
        posted.assays[2] = replace(posted.assays[2], exponent=posted.assays[2].exponent + 1)
        posted.write()
        claim = posted.find_lie(2)
        assert claim is not None
        scene.send(claim.calldata(scene.facts))
        assert outcome(posted, claim) == "ChallengeAlreadyOverturned"
        assert outcome(posted, posted.exponent_claim(2)) == "ChallengeAlreadyOverturned"

    def test_a_final_round_falls_too(self, posted: PostedRound) -> None:
        posted.final = (b"\1" * 32, b"\2" * 32)
        posted.assays[4] = replace(posted.assays[4], norm2=posted.assays[4].norm2 - 1)
        posted.write()
        claim = posted.find_lie(4)
        assert claim is not None
        assert outcome(posted, claim) == ""
        # The opening of the settled round is not that of the final one.
        target = claim.target
        old = replace(claim, target=replace(target, opening=replace(target.opening, model_root=None)))
        assert outcome(posted, old) == "RoundOpeningMismatch"

    def test_a_ledger_without_vault_has_no_stakes(self, posted: PostedRound, scene: Scene) -> None:
        facts = list(scene.ledger.functions.facts().call())
        facts[7] = "0x" + "00" * 20
        scene.chain.send(scene.ledger.functions.setFacts(tuple(facts)), OUTSIDER)
        lie_in_step(posted, 0, 4, off_by_one_sum(255, -1))
        posted.write()
        claim = posted.find_lie(0)
        assert claim is not None
        assert event_of(scene, scene.send(claim.calldata(scene.facts)))["slashedWei"] == 0


class TestPositions:
    @pytest.mark.parametrize("segment", range(5))
    @pytest.mark.parametrize("index", [0, 2, GUARD])
    def test_every_segment(self, posted: PostedRound, index: int, segment: int) -> None:
        lie_in_step(posted, index, segment, off_by_one_sum(segment * 50, -1))
        posted.write()
        claim = posted.find_lie(index)
        assert isinstance(claim, SegmentClaim)
        assert claim.segment_index == segment
        assert outcome(posted, claim) == ""
        # The steps after the false one follow from it: they hold.
        for later in range(segment + 1, 5):
            honest = posted.segment_claim(index, later)
            assert outcome(posted, honest) == "ChallengeWrongTraceRoot"
            false_before = add_state(
                posted.states[index][later], [-1 if j == segment * 50 else 0 for j in range(256)], 0
            )
            assert outcome(posted, replace(honest, state_before=false_before)) == "ChallengeStepHolds"

    def test_a_leaf_that_is_no_state_at_all(self, posted: PostedRound) -> None:
        posted.leaves[3][2] = bytes(32)
        posted.write()
        claim = posted.find_lie(3)
        assert isinstance(claim, SegmentClaim)
        assert outcome(posted, claim) == ""

    def test_exponent_of_a_worker_and_of_the_anchor(self, posted: PostedRound) -> None:
        for index in (4, GUARD):
            posted.assays[index] = replace(posted.assays[index], exponent=posted.assays[index].exponent - 1)
        posted.write()
        for index in (4, GUARD):
            claim = posted.find_lie(index)
            assert isinstance(claim, ExponentClaim)
            assert outcome(posted, claim) == ""

    def test_the_states_are_those_of_the_specification(self, posted: PostedRound) -> None:
        data = posted.updates[0]
        assert data is not None
        segment = data[HEADER_BYTES + 8192 : HEADER_BYTES + 2 * 8192]
        sums = spec_sketch.project(posted.seed, segment, first_row=8)
        after = add_state(posted.states[0][1], sums, spec_sketch.norm2(segment))
        assert after == posted.states[0][2]

    def test_one_segment_and_one_worker(self) -> None:
        scene = Scene.deploy(TestChain(members=4), 1, 100)
        posted = PostedRound.play(scene, random.Random(2))
        posted.write()
        for index in range(2):
            assert outcome(posted, posted.segment_claim(index, 0)) == "ChallengeStepHolds"
            assert outcome(posted, posted.boundary_claim(index)) == "ChallengeReadingHolds"
        lie_in_step(posted, 0, 0, off_by_one_norm(1))
        posted.write()
        claim = posted.find_lie(0)
        assert claim is not None
        assert outcome(posted, claim) == ""

    def test_sums_that_reach_the_bounds(self) -> None:
        # Every row follows its own signs, so one sum is 8 * 1024 * 127 a segment; the anchor is the negative.
        scene = Scene.deploy(TestChain(members=4), 1, 8192 * 2)
        posted = PostedRound.play(scene, random.Random(4))
        for index, sign_ in ((0, 1), (1, -1)):
            data = posted.updates[index]
            assert data is not None
            payload = b""
            for b in range(16):
                rho = spec_sketch.row_signs(posted.seed, b)[0]
                signs = spec_sketch.column_signs(posted.seed, b % 16)
                payload += bytes((127 * s * rho * sign_) % 256 for s in signs)
            posted.updates[index] = data[:HEADER_BYTES] + payload
            states = [ZERO_STATE]
            for s in range(2):
                states.append(
                    add_state(states[-1], *project(posted.seed, s, payload[8192 * s : 8192 * s + 8192]))
                )
            assert int.from_bytes(states[-1][:6], "big", signed=True) == sign_ * 16 * 1024 * 127
            posted.states[index] = states
            posted.leaves[index] = [leaf(state) for state in states[1:]]
        posted.write()
        for index in range(2):
            for s in range(2):
                assert outcome(posted, posted.segment_claim(index, s)) == "ChallengeStepHolds"


class TestProofs:
    """A posting with one lie about worker 2; proofs that are not quite right."""

    @pytest.fixture
    def claim(self, posted: PostedRound) -> SegmentClaim:
        lie_in_step(posted, 2, 3, off_by_one_sum(9, 1))
        posted.write()
        claim = posted.find_lie(2)
        assert isinstance(claim, SegmentClaim)
        return claim

    def test_segment_proofs(self, posted: PostedRound, claim: SegmentClaim) -> None:
        for name, change in (
            ("SegmentTreeWrongDepth", {"siblings": claim.siblings[:-1]}),
            ("SegmentTreeWrongDepth", {"siblings": (*claim.siblings, bytes(32))}),
            ("SegmentTreeWrongDepth", {"siblings": claim.siblings * 400}),
            ("SegmentTreeWrongSegmentLength", {"segment": claim.segment[:-1]}),
            ("SegmentTreeWrongSegmentLength", {"segment": claim.segment * 2}),
            ("SegmentTreeWrongHeaderLength", {"header": claim.header + b"\0"}),
            ("SegmentTreeNoSuchSegment", {"segment_index": 5}),
            ("SegmentTreeNoSuchSegment", {"segment_index": 2**255}),
            ("ChallengeWrongUpdateRoot", {"segment_index": 1}),
            ("ChallengeWrongUpdateRoot", {"segment": bytes(8192)}),
            ("ChallengeWrongUpdateRoot", {"header": bytes(96)}),
            ("TraceTreeWrongStateLength", {"state_before": claim.state_before[:-1]}),
            ("TraceTreeWrongStateLength", {"state_before": b""}),
            ("ChallengeWrongTraceRoot", {"state_before": ZERO_STATE}),
            ("ChallengeWrongTraceRoot", {"posted_leaf": bytes(32)}),
            ("ChallengeStepHolds", {"posted_leaf": leaf(posted.states[2][4])}),
            ("TraceTreeWrongDepth", {"trace_siblings": claim.trace_siblings[:-1]}),
            ("TraceTreeWrongDepth", {"trace_siblings": (*claim.trace_siblings, bytes(32))}),
            ("TraceTreeWrongDepth", {"trace_siblings": ()}),
            ("ChallengeWrongTraceRoot", {"trace_siblings": claim.trace_siblings[::-1]}),
        ):
            assert outcome(posted, replace(claim, **change)) == name, change
        assert outcome(posted, claim) == ""

    def test_openings(self, posted: PostedRound, claim: SegmentClaim) -> None:
        opening = claim.target.opening
        commitment = opening.commitment
        for change in (
            {"presence": opening.presence | 2},
            {"seed": bytes(32)},
            {"payload": opening.payload[:-1] + b"\x55"},
            {"payload": opening.payload[:40]},
            {"payload": opening.payload + bytes(50_000)},
            {"approved": 0},
            {"yardstick_before": 0},
            {"lanes_before": (1, 2)},
            {"lanes_before": ()},
            {"lanes_after_hash": bytes(32)},
            {"model_root": b"\1" * 32},
            {"commitment": replace(commitment, update_root=bytes(32))},
            {"commitment": replace(commitment, parent_model=bytes(32))},
            {"commitment": replace(commitment, tokens=1)},
            {"commitment": replace(commitment, deadline=1)},
            {"commitment": replace(commitment, accumulator_before=bytes(32))},
            {"commitment": replace(commitment, later_digests=(*commitment.later_digests, bytes(32)))},
        ):
            target = replace(claim.target, opening=replace(opening, **change))
            assert outcome(posted, replace(claim, target=target)) == "RoundOpeningMismatch", change

    def test_another_member_round_or_index(self, posted: PostedRound, claim: SegmentClaim) -> None:
        target = claim.target
        assert outcome(posted, replace(claim, target=replace(target, index=3))) == "RoundOpeningMismatch"
        assert outcome(posted, replace(claim, target=replace(target, index=6))) == "CohortNoSuchIndex"
        assert outcome(posted, replace(claim, target=replace(target, index=2**200))) == "CohortNoSuchIndex"
        assert outcome(posted, replace(claim, target=replace(target, round=9))) == "RoundOpeningUnknownRound"
        # A true opening of another member beside this one's bytes.
        other = posted.target(3)
        assert outcome(posted, replace(claim, target=other)) == "ChallengeWrongUpdateRoot"

    def test_a_round_that_is_not_settled(self, posted: PostedRound, claim: SegmentClaim) -> None:
        posted.write(SEALED)
        assert outcome(posted, claim) == "RoundOpeningNotSettled"

    def test_truncated_calldata(self, posted: PostedRound, claim: SegmentClaim) -> None:
        data = claim.calldata(posted.scene.facts)
        for size in (4, 100, 132, len(data) // 2, len(data) - 1):
            # Not all of them have a custom error: the decoder of Solidity reverts without data.
            with pytest.raises((SyntaxError, KeyError, ValueError, AssertionError)):
                assert posted.scene.try_call(data[:size]) is None
        assert posted.scene.try_call(data + bytes(1000)) is None

    def test_a_round_of_another_ledger(self, posted: PostedRound, claim: SegmentClaim, scene: Scene) -> None:
        other = Scene.beside(scene.chain, scene.members, scene.cohort, LENGTH, other=scene)
        other.record(posted.number, claim.target.opening.record(scene.facts, posted.number, 2))
        assert outcome(posted, claim) == ""
        error = other.try_call(claim.calldata(other.facts))
        assert isinstance(error, Revert)
        assert error.name == "RoundOpeningMismatch"

    def test_a_ledger_that_names_another_challenge(self, posted: PostedRound, claim: SegmentClaim) -> None:
        scene = posted.scene
        another = scene.chain.deploy("Challenge")
        error = scene.try_call(claim.calldata(scene.facts), another)
        assert isinstance(error, Revert)
        assert error.name == "ChallengeNotNamed"
        assert error.arguments == (scene.ledger.address.lower(), scene.challenge.address.lower())

    def test_boundary_and_exponent_proofs(self, posted: PostedRound) -> None:
        posted.write()
        boundary = posted.boundary_claim(0)
        for name, change in (
            ("TraceTreeWrongStateLength", {"last_state": b""}),
            ("TraceTreeWrongDepth", {"trace_siblings": boundary.trace_siblings[1:]}),
            ("ChallengeWrongTraceRoot", {"last_state": posted.states[0][4]}),
            ("ChallengeReadingHolds", {}),
        ):
            assert outcome(posted, replace(boundary, **change)) == name
        exponent = posted.exponent_claim(0)
        assert outcome(posted, replace(exponent, payload_root=bytes(32))) == "ChallengeWrongUpdateRoot"
        assert outcome(posted, replace(exponent, header=b"")) == "SegmentTreeWrongHeaderLength"
        assert outcome(posted, exponent) == "ChallengeExponentHolds"

    def test_members_without_a_word(self, posted: PostedRound) -> None:
        for status in ("unavailable", "malformed"):
            setattr(posted, status, 1 << 3)
            posted.write()
            update = posted.update(3)
            claim = ExponentClaim(posted.target(3), update.header, update.payload_root)
            assert outcome(posted, claim) == "ChallengeWrongStatus"
            setattr(posted, status, 0)


class TestMalformed:
    def faulty(self, posted: PostedRound, index: int, data: bytes) -> MalformedClaim:
        """Commit bytes, post them as sound, and find the fault."""
        posted.updates[index] = data
        posted.write()
        fault = find_fault(data, posted.scene.facts, posted.number, index)
        assert fault is not None
        return MalformedClaim(posted.target(index), fault)

    @pytest.mark.parametrize(
        ("at", "value"),
        [(0, 0), (4, 2), (5, 64), (5, 191), (6, 1), (7, 1), (8, 6), (16, 4), (20, 1), (39, 1), (40, 0),
         (71, 0), (72, 0), (77, 1), (79, 128), (80, 1), (95, 255)],
    )  # fmt: skip
    def test_every_field_of_the_header(self, posted: PostedRound, at: int, value: int) -> None:
        data = posted.updates[2]
        assert data is not None
        changed = data[:at] + bytes([value]) + data[at + 1 :]
        assert changed != data
        claim = self.faulty(posted, 2, changed)
        assert claim.fault.kind == FaultKind.HEADER
        assert outcome(posted, claim) == ""

    @pytest.mark.parametrize("exponent", [-64, -1, 0, 63])
    def test_every_exponent_in_range_is_sound(self, posted: PostedRound, exponent: int) -> None:
        data = posted.updates[2]
        assert data is not None
        posted.updates[2] = data[:5] + exponent.to_bytes(1, "big", signed=True) + data[6:]
        posted.write()
        update = posted.update(2)
        fault = UpdateFault(FaultKind.HEADER, update.header, payload_root=update.payload_root)
        assert outcome(posted, MalformedClaim(posted.target(2), fault)) == "UpdateFaultsSound"

    @pytest.mark.parametrize("offset", [0, 31, 8191, 8192, 30_000, LENGTH - 1])
    @pytest.mark.parametrize("index", [0, GUARD])
    def test_a_forbidden_value(self, posted: PostedRound, index: int, offset: int) -> None:
        data = bytearray(posted.updates[index] or b"")
        data[HEADER_BYTES + offset] = 0x80
        claim = self.faulty(posted, index, bytes(data))
        assert claim.fault.kind == FaultKind.VALUE
        assert outcome(posted, claim) == ""
        other = (claim.fault.segment_index + 1) % 5
        update = posted.update(index)
        sound = replace(
            claim.fault,
            segment_index=other,
            segment=update.segment(other),
            siblings=update.tree.path(other),
        )
        assert outcome(posted, replace(claim, fault=sound)) == "UpdateFaultsSound"
        # No step of such a segment can be computed; this fault is what shows it.
        at = claim.fault.segment_index
        step = SegmentClaim.build(
            posted.target(index), update, posted.trace(index), at, posted.states[index][at]
        )
        assert outcome(posted, step) == "SketchMinusHundredTwentyEight"

    @pytest.mark.parametrize("offset", [LENGTH, LENGTH + 1, LENGTH + 69, 5 * 8192 - 1])
    def test_padding(self, posted: PostedRound, offset: int) -> None:
        data = bytearray(posted.updates[2] or b"")
        data[HEADER_BYTES + offset] = 3
        claim = self.faulty(posted, 2, bytes(data))
        assert claim.fault.kind == FaultKind.PADDING
        assert outcome(posted, claim) == ""

    @pytest.mark.parametrize("more", [1, 2, 3])
    def test_more_segments_in_a_tree_of_the_same_depth(self, posted: PostedRound, more: int) -> None:
        claim = self.faulty(posted, 2, (posted.updates[2] or b"") + bytes(8192 * more))
        assert claim.fault.kind == FaultKind.SIZE
        assert outcome(posted, claim) == ""

    @pytest.mark.parametrize("segments", [4, 5])
    def test_fewer_segments_in_a_tree_of_the_same_depth(self, posted: PostedRound, segments: int) -> None:
        # Of a run with seven segments.
        scene = posted.scene
        facts = list(scene.ledger.functions.facts().call())
        facts[1] = 8192 * 7
        scene.chain.send(scene.ledger.functions.setFacts(tuple(facts)), OUTSIDER)
        longer = replace(scene, facts=replace(scene.facts, length=8192 * 7))
        posted.scene = longer
        data = random_update(random.Random(1), longer.facts, posted.number, 2)
        claim = self.faulty(posted, 2, data[: HEADER_BYTES + 8192 * segments])
        assert claim.fault.kind == (FaultKind.SIZE if segments == 5 else FaultKind.DEPTH)
        assert outcome(posted, claim) == ""

    @pytest.mark.parametrize("segments", [1, 2, 3, 4, 9, 16, 17])
    def test_a_tree_of_another_depth(self, posted: PostedRound, segments: int) -> None:
        data = (posted.updates[2] or b"") + bytes(8192 * 12)
        claim = self.faulty(posted, 2, data[: HEADER_BYTES + 8192 * segments])
        assert claim.fault.kind == FaultKind.DEPTH
        assert outcome(posted, claim) == ""

    def test_the_right_depth_is_no_fault(self, posted: PostedRound) -> None:
        posted.write()
        update = posted.update(2)
        first = UpdateFault(
            FaultKind.DEPTH, update.header, segment=update.segment(0), siblings=update.tree.path(0)
        )
        for name, changed in (
            ("UpdateFaultsSound", first),
            # No node is a segment's leaf, and nothing lies below a leaf.
            ("UpdateFaultsWrongRoot", replace(first, siblings=first.siblings[1:])),
            ("UpdateFaultsWrongRoot", replace(first, siblings=(bytes(32), *first.siblings))),
            ("UpdateFaultsWrongRoot", replace(first, segment=update.segment(1))),
            ("SegmentTreeWrongSegmentLength", replace(first, segment=bytes(64))),
            ("UpdateFaultsUnusedField", replace(first, segment_index=1)),
            ("UpdateFaultsUnusedField", replace(first, payload_root=b"\1" * 32)),
        ):
            assert outcome(posted, MalformedClaim(posted.target(2), changed)) == name

    def test_proofs_of_faults(self, posted: PostedRound) -> None:
        data = bytearray(posted.updates[2] or b"")
        data[HEADER_BYTES + 8192] = 0x80
        claim = self.faulty(posted, 2, bytes(data))
        fault = claim.fault
        header_fault = UpdateFault(FaultKind.HEADER, fault.header, payload_root=posted.update(2).payload_root)
        for name, changed in (
            ("UpdateFaultsUnusedField", replace(fault, payload_root=b"\1" * 32)),
            ("UpdateFaultsUnusedField", replace(fault, kind=FaultKind.PADDING)),
            ("UpdateFaultsUnusedField", replace(header_fault, siblings=fault.siblings)),
            ("UpdateFaultsUnusedField", replace(header_fault, segment=b"\0")),
            ("UpdateFaultsUnusedField", replace(header_fault, segment_index=1)),
            ("SegmentTreeNoSuchSegment", replace(fault, segment_index=5)),
            ("SegmentTreeWrongDepth", replace(fault, siblings=())),
            ("SegmentTreeWrongSegmentLength", replace(fault, segment=b"")),
            ("SegmentTreeWrongSegmentLength", replace(fault, kind=FaultKind.SIZE, segment_index=0)),
            ("UpdateFaultsWrongRoot", replace(fault, segment_index=2)),
            ("UpdateFaultsWrongRoot", replace(header_fault, payload_root=bytes(32))),
            ("SegmentTreeWrongHeaderLength", replace(header_fault, header=b"")),
            ("UpdateFaultsSound", header_fault),
        ):
            assert outcome(posted, replace(claim, fault=changed)) == name, changed.kind
        unknown = encode_call(
            "Challenge",
            "challengeMalformed",
            (*claim.target.arguments(posted.scene.facts), (9, *fault.abi()[1:])),
        )
        error = posted.scene.try_call(unknown)
        assert error == Revert("UpdateFaultsUnknownKind", (9,))

    def test_a_fault_of_a_member_posted_as_malformed_is_no_claim(self, posted: PostedRound) -> None:
        data = bytearray(posted.updates[2] or b"")
        data[HEADER_BYTES] = 0x80
        posted.malformed = 1 << 2
        claim = self.faulty(posted, 2, bytes(data))
        assert outcome(posted, claim) == "ChallengeWrongStatus"


class TestTwoRoots:
    def signed(self, posted: PostedRound, index: int, root: bytes, key: int | None = None) -> SignedRoot:
        contribution = replace(
            posted.contribution(0), worker=posted.scene.facts.identities[index], update_root=root
        )
        digest = contribution.digest(posted.scene.facts.domain)
        number = posted.scene.members[index].signer_key if key is None else key
        signature = expand_signature(sign(digest, private_key(number).to_bytes()))
        return SignedRoot(root, contribution.tokens, contribution.deadline, signature)

    def claim(self, posted: PostedRound, index: int = 3) -> TwoRootsClaim:
        first, second = (self.signed(posted, index, bytes([i]) * 32) for i in (1, 2))
        return TwoRootsClaim(posted.number, index, keccak(text="parent"), first, second)

    def outcome(self, posted: PostedRound, claim: TwoRootsClaim) -> str:
        scene = posted.scene
        error = scene.try_call(claim.calldata(scene.facts))
        name = "" if error is None else error.name
        signer = scene.members[claim.index].signer if claim.index < len(scene.members) else ""
        assert refusal(lambda: claim.check(scene.facts, scene.on_chain(posted.number), signer)) == name
        return name

    def test_takes_the_stake_once(self, posted: PostedRound, scene: Scene) -> None:
        claim = self.claim(posted)
        assert self.outcome(posted, claim) == ""
        event = event_of(scene, scene.send(claim.calldata(scene.facts)))
        assert (event["kind"], event["index"], event["slashedWei"]) == (5, 3, STAKE_WEI)
        stake = scene.vault.functions.stakeOf
        identities = scene.facts.identities
        assert stake(scene.ledger.address, identities[3]).call() == 0
        assert stake(scene.ledger.address, identities[GUARD]).call() == STAKE_WEI
        # The evidence is public for ever; a stake deposited later is not liable for it.
        deposit = scene.vault.functions.deposit(scene.ledger.address, identities[3])
        scene.chain.send(deposit, OUTSIDER, STAKE_WEI)
        assert self.outcome(posted, claim) == "ChallengeAlreadySlashed"
        other = replace(claim, first=self.signed(posted, 3, b"\7" * 32))
        assert self.outcome(posted, other) == "ChallengeAlreadySlashed"
        assert scene.ledger.functions.overturnedOf(posted.number).call() == 0

    def test_the_guard_s_anchor_counts_too(self, posted: PostedRound, scene: Scene) -> None:
        event = event_of(scene, scene.send(self.claim(posted, GUARD).calldata(scene.facts)))
        assert (event["index"], event["slashedWei"]) == (GUARD, STAKE_WEI)

    def test_what_is_no_evidence(self, posted: PostedRound) -> None:
        claim = self.claim(posted)
        v = claim.first.signature[64]
        s = int.from_bytes(claim.first.signature[32:64], "big")
        twin = claim.first.signature[:32] + (ORDER - s).to_bytes(32, "big") + bytes([55 - v])
        for name, changed in (
            ("ChallengeSameRoots", replace(claim, second=replace(claim.first, tokens=9))),
            ("ChallengeWrongSigner", replace(claim, second=self.signed(posted, 3, b"\2" * 32, OUTSIDER))),
            ("ChallengeWrongSigner", replace(claim, parent_model=bytes(32))),
            ("ChallengeWrongSigner", replace(claim, round=posted.number + 1)),
            ("ChallengeWrongSigner", replace(claim, index=2)),
            ("ChallengeWrongSigner", replace(claim, first=replace(claim.first, deadline=1))),
            ("ChallengeWrongSigner", replace(claim, first=replace(claim.first, signature=b""))),
            ("ChallengeWrongSigner", replace(claim, first=replace(claim.first, signature=twin))),
            ("ChallengeWrongSigner", replace(claim, first=replace(claim.first, signature=bytes(65)))),
            ("CohortNoSuchIndex", replace(claim, index=6)),
        ):
            assert self.outcome(posted, changed) == name

    def test_a_key_cannot_disown_its_signature(self) -> None:
        # EIP-7702: the member has given its account code, which answers no signature.
        member = actor(0)
        delegation = bytes.fromhex("ef0100") + canonical(address(OUTSIDER))
        chain = TestChain(members=3, code={member.signer_key: delegation})
        members = (member, actor(1))
        entries = b"".join(canonical(a) for m in members for a in (m.identity, m.signer))
        code = b"\0" + entries
        creation = b"\x61" + len(code).to_bytes(2, "big") + bytes.fromhex("80600a3d393df3") + code
        fields = {**chain._fields(OUTSIDER, 0), "data": "0x" + creation.hex()}
        cohort = chain._wait(chain.web3.eth.send_transaction(fields))["contractAddress"]  # type: ignore[arg-type]
        scene = Scene.beside(chain, members, str(cohort), LENGTH)
        posted = PostedRound.play(scene, random.Random(7))
        event = event_of(scene, scene.send(self.claim(posted, 0).calldata(scene.facts)))
        assert (event["index"], event["slashedWei"]) == (0, STAKE_WEI)
        other = replace(self.claim(posted, 1), second=self.signed(posted, 1, b"\2" * 32, OUTSIDER))
        assert self.outcome(posted, other) == "ChallengeWrongSigner"

    def test_two_parents_are_no_two_roots(self, posted: PostedRound) -> None:
        # After a reorganisation an honest worker signs again, from another parent.
        other = replace(
            posted.contribution(3), parent_model=keccak(text="reorganised"), update_root=b"\2" * 32
        )
        digest = other.digest(posted.scene.facts.domain)
        second = SignedRoot(
            b"\2" * 32, other.tokens, other.deadline, sign_full(digest, posted.scene.members[3].signer_key)
        )
        claim = replace(self.claim(posted), second=second)
        assert self.outcome(posted, claim) == "ChallengeWrongSigner"


class TestMaliciousLedger:
    """A ledger that lies harms those alone who staked for it."""

    def test_calls_back_into_a_challenge_against_another_ledger(
        self, posted: PostedRound, scene: Scene
    ) -> None:
        evil = Scene.beside(scene.chain, scene.members, scene.cohort, LENGTH, other=scene)
        lie = PostedRound.play(evil, random.Random(9), absent=(1,))
        lie_in_step(lie, 0, 1, off_by_one_sum(3, 1))
        lie.write()
        posted.write()
        attack = lie.find_lie(0)
        assert attack is not None
        # While it is called, it tries an honest posting of another ledger, and its own lie again.
        for called_back, name in (
            (posted.segment_claim(0, 1).calldata(scene.facts), "ChallengeStepHolds"),
            (attack.calldata(evil.facts), "ChallengeAlreadyOverturned"),
        ):
            snapshot = scene.chain.tester.take_snapshot()
            set_back = evil.ledger.functions.setCallBack(scene.challenge.address, called_back)
            scene.chain.send(set_back, OUTSIDER)
            evil.send(attack.calldata(evil.facts))
            assert evil.ledger.functions.callBackDone().call() is False
            selector = evil.ledger.functions.callBackResult().call()[:4]
            assert selector == _selector(scene, name)
            self.assert_untouched(scene)
            scene.chain.tester.revert_to_snapshot(snapshot)

    def test_names_the_vault_and_the_members_of_another_ledger(self, scene: Scene) -> None:
        evil = Scene.beside(scene.chain, scene.members, scene.cohort, LENGTH, other=scene)
        lie = PostedRound.play(evil, random.Random(9))
        lie.assays[0] = Assay(1, 2, 3)
        lie.write()
        claim = lie.find_lie(0)
        assert claim is not None
        before = scene.vault.functions.burnedWei().call()
        event = event_of(evil, evil.send(claim.calldata(evil.facts)))
        # Same vault, same guard, and yet only the stake for the ledger that was challenged.
        assert event["slashedWei"] == STAKE_WEI
        assert scene.vault.functions.burnedWei().call() == before + STAKE_WEI // 2
        self.assert_untouched(scene)

    def test_names_another_ledger_as_its_vault(self, scene: Scene) -> None:
        evil = Scene.beside(scene.chain, scene.members, scene.cohort, LENGTH, other=scene)
        facts = list(evil.ledger.functions.facts().call())
        facts[7] = scene.ledger.address
        scene.chain.send(evil.ledger.functions.setFacts(tuple(facts)), OUTSIDER)
        lie = PostedRound.play(evil, random.Random(9))
        lie.assays[0] = Assay(1, 2, 3)
        lie.write()
        claim = lie.find_lie(0)
        assert claim is not None
        with pytest.raises((SyntaxError, KeyError, ValueError, AssertionError)):
            assert evil.try_call(claim.calldata(evil.facts)) is None
        self.assert_untouched(scene)

    def assert_untouched(self, scene: Scene) -> None:
        for identity in scene.facts.identities:
            assert scene.vault.functions.stakeOf(scene.ledger.address, identity).call() == STAKE_WEI


def _selector(scene: Scene, error: str) -> bytes:
    [entry] = [e for e in scene.challenge.abi if e["type"] == "error" and e["name"] == error]
    types = ",".join(item["type"] for item in entry["inputs"])
    return keccak(text=f"{error}({types})")[:4]


def test_calldata_of_an_update_read_in_pieces_is_the_same(posted: PostedRound) -> None:
    data = posted.updates[0]
    assert data is not None
    rng = random.Random(1)
    cuts = sorted(rng.sample(range(len(data)), 30))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    whole, streamed = UpdateTree([data], keep=[2]), UpdateTree(pieces, keep=[2])
    assert (whole.root, whole.header, whole.segment(2)) == (
        streamed.root,
        streamed.header,
        streamed.segment(2),
    )
