"""Proofs and paths of challenges without a chain; tests/contracts compares the rules with the contracts."""

import random
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from guard.committee import committee_reading
from guard.gate import ABSENT, UNAVAILABLE, Reading
from guard.settlement import Settlement, encode_settlement
from ledger.challenges import (
    ChallengeFacts,
    ClaimRefusedError,
    CommitmentOpening,
    DigestTree,
    FaultKind,
    Opening,
    PostedStatus,
    TraceTree,
    UpdateTree,
    expand_signature,
    find_fault,
    read_posted,
    read_state,
)
from ledger.challenges.calls import encode_call
from ledger.challenges.paths import climb, climb_step, is_in_trace
from ledger.contribution import Domain, sign
from ledger.errors import InputError
from ledger.merkle import EMPTY_ROOTS, node_digest, prove
from ledger.update import UpdateFacts, encode_update, update_root
from tests.guard.test_committee import sound

FACTS = ChallengeFacts(
    domain=Domain(1, "0x" + "11" * 20),
    run=3,
    spec_digest=bytes(32),
    shape_digest=sha256(b"shape").digest(),
    length=8192 * 3 - 10,
    identities=tuple("0x" + f"{i:02x}" * 20 for i in range(1, 5)),
)


def update(index: int = 1, round_: int = 2) -> bytearray:
    rng = np.random.default_rng(index)
    worker = bytes.fromhex(FACTS.identities[index][2:])
    header = UpdateFacts(FACTS.run, round_, worker, FACTS.shape_digest, FACTS.length).header(-7)
    values = rng.integers(-127, 128, FACTS.length).astype(np.int8)
    return bytearray(encode_update(header, values))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_every_path_of_a_digest_tree_leads_to_its_root(count: int) -> None:
    leaves = [sha256(bytes([i])).digest() for i in range(count)]
    tree = DigestTree(b"".join(leaves))
    level = leaves + [bytes(32)] * ((1 << tree.depth) - count)
    while len(level) > 1:
        level = [node_digest(a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
    assert level == [tree.root]
    for position, leaf in enumerate(leaves):
        assert climb(leaf, position, tree.path(position)) == tree.root
    for height in range(tree.depth + 1):
        for position in range(1 << (tree.depth - height)):
            node = tree.node(height, position)
            assert climb(node, position, tree.path(position, height)) == tree.root
            for levels in range(height + 1):
                below = list(tree.below(height, position, levels))
                while len(below) > 1:
                    below = [node_digest(a, b) for a, b in zip(below[::2], below[1::2], strict=True)]
                assert below == [node]


def test_a_digest_tree_has_whole_digests() -> None:
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(InputError):
            DigestTree(wrong)


@pytest.mark.parametrize("members", [2, 3, 6])
@pytest.mark.parametrize("segments", [1, 2, 5, 8])
def test_joint_paths_of_a_trace(members: int, segments: int) -> None:
    rng = random.Random(segments)
    leaves = [rng.randbytes(32 * segments) for _ in range(members)]
    roots = b"".join(DigestTree(own).root for own in leaves)
    for index in range(members):
        trace = TraceTree(index, leaves[index], roots)
        for s in range(segments):
            at = index << trace.member.depth | s
            assert climb(trace.leaf(s), at, trace.path(s)) == trace.root
            joint = trace.step_path(s)
            if s == 0:
                assert joint == trace.path(0)
                continue
            assert len(joint) == trace.depth + (at & -at).bit_length() - 2
            assert climb_step(trace.leaf(s - 1), trace.leaf(s), at, joint) == trace.root
            assert climb_step(trace.leaf(s), trace.leaf(s - 1), at, joint) != trace.root


def test_a_trace_of_another_member_is_refused() -> None:
    leaves = [bytes([i]) * 96 for i in range(3)]
    roots = b"".join(DigestTree(own).root for own in leaves)
    with pytest.raises(InputError):
        TraceTree(1, leaves[2], roots)
    with pytest.raises(InputError):
        TraceTree(3, leaves[2], roots)
    with pytest.raises(InputError):
        TraceTree(1, leaves[1], roots).nodes(1, 0)


def test_places_in_a_trace() -> None:
    # Member 2 of 4, 8 segments each: height 1 has 16 positions, of which 8..11 are its own.
    own = {h: [p for p in range(32 >> h) if is_in_trace(2, 3, 5, h, p)] for h in range(7)}
    assert own == {0: [], 1: [8, 9, 10, 11], 2: [4, 5], 3: [2], 4: [1], 5: [0], 6: []}


def test_an_update_s_paths_are_those_of_its_proofs() -> None:
    data = bytes(update())
    tree = UpdateTree([data[:50], data[50:20_000], data[20_000:]], keep=[0, 2])
    assert tree.root == update_root(data)
    for segment in range(3):
        assert tree.tree.path(segment) == prove(data[96:], segment).siblings
    assert tree.segment(2) == data[96 + 16384 :]
    with pytest.raises(InputError):
        tree.segment(1)
    for wrong in (b"", data[:96], data[:-1]):
        with pytest.raises(InputError):
            UpdateTree([wrong])


def test_faults_in_their_order() -> None:
    data = update()
    assert find_fault(data, FACTS, 2, 1) is None
    kinds = []
    data += bytes(8192)
    kinds.append(find_fault(data, FACTS, 2, 1))
    data[96 + FACTS.length] = 1
    kinds.append(find_fault(data, FACTS, 2, 1))
    data[96 + 8192] = 0x80
    kinds.append(find_fault(data, FACTS, 2, 1))
    kinds.append(find_fault(data, FACTS, 3, 1))
    found = [fault.kind for fault in kinds if fault is not None]
    assert found == [FaultKind.SIZE, FaultKind.PADDING, FaultKind.VALUE, FaultKind.HEADER]
    assert kinds[2] is not None
    assert kinds[2].segment_index == 1
    # The segment behind the last is one that the values do not reach: no fault of kind 2.
    data = update() + bytearray(8191) + b"\x80"
    fault = find_fault(data, FACTS, 2, 1)
    assert fault is not None
    assert fault.kind == FaultKind.SIZE
    assert fault.siblings[0] != EMPTY_ROOTS[0]


def test_reading_what_was_posted() -> None:
    # Worker 1 is absent, worker 2 malformed.
    payload = b"".join(
        (
            b"\xaa" * 32,
            b"\xbb" * 32,
            bytes(32),
            (4).to_bytes(32, "big"),
            (77).to_bytes(8, "big") + b"\xf0" + bytes(23),
            b"\x01" * 32 + bytes(32),
            (5).to_bytes(8, "big") + bytes(8),
            b"\xff\x00",
        )
    )
    commitment = CommitmentOpening(bytes(32), bytes(32), 0, 0, bytes(32), ())
    opening = Opening(commitment, 0b1101, bytes(32), payload, 0, 0, 0, (), bytes(32))
    worker, bad, anchor = (read_posted(opening, 4, i) for i in (0, 2, 3))
    assert (worker.status, worker.norm2, worker.exponent) == (PostedStatus.SOUND, 5, -1)
    assert worker.code == int.from_bytes(b"\x01" * 32, "big")
    assert (bad.status, bad.code, bad.norm2) == (PostedStatus.MALFORMED, 0, 0)
    assert (anchor.norm2, anchor.exponent) == (77, -16)
    assert opening.trace_root == b"\xbb" * 32
    with pytest.raises(ClaimRefusedError) as refused:
        read_posted(opening, 4, 1)
    assert refused.value.name == "SettlePayloadNotPresent"


def test_reading_what_was_posted_of_several_guards() -> None:
    """Worker 1 and guard 1 are absent, guard 2 is unavailable; the header is nobody's own."""
    guards = (sound(0xF0F0, 5, -3), ABSENT, UNAVAILABLE, sound(0xF00F, 4, -3), sound(0xFF00, 9, 2))
    settlement = Settlement(
        committee_reading(guards), 0, (sound(0xAA, 7, 1), ABSENT), b"\xbb" * 32, poster=4, guards=guards
    )
    commitment = CommitmentOpening(bytes(32), bytes(32), 0, 0, bytes(32), ())
    payload = encode_settlement(settlement)
    opening = Opening(commitment, settlement.presence, bytes(32), payload, 0, 0, 0, (), bytes(32))
    assert opening.poster == 4
    for index, member in enumerate(settlement.entries):
        if member == ABSENT:
            with pytest.raises(ClaimRefusedError) as refused:
                read_posted(opening, 7, index, 5)
            assert refused.value.name == "SettlePayloadNotPresent"
            continue
        posted = read_posted(opening, 7, index, 5)
        reading = member.reading or Reading(0, 0, 0)
        assert (posted.code, posted.norm2, posted.exponent) == (
            reading.code,
            reading.norm2,
            reading.exponent,
        )
        assert posted.status == (PostedStatus.SOUND if member.reading else PostedStatus.UNAVAILABLE)
    # Taken for a cohort of one guard, the payload is too long.
    with pytest.raises(ClaimRefusedError) as refused:
        read_posted(opening, 7, 6)
    assert refused.value.name == "SettlePayloadWrongLength"
    facts = replace(FACTS, identities=tuple(f"0x{i:040x}" for i in range(7)), guards=5)
    assert (FACTS.workers, facts.workers) == (3, 2)


def test_poster_of_a_cut_payload_is_refused() -> None:
    commitment = CommitmentOpening(bytes(32), bytes(32), 0, 0, bytes(32), ())
    opening = Opening(commitment, 1, bytes(32), bytes(159), 0, 0, 0, (), bytes(32))
    with pytest.raises(ClaimRefusedError) as refused:
        _ = opening.poster
    assert refused.value.name == "SettlePayloadWrongLength"


def test_reading_a_state() -> None:
    sums = [0, -1, 1, -(2**46), 2**46] + [-5] * 251
    state = b"".join(v.to_bytes(6, "big", signed=True) for v in sums) + (9).to_bytes(8, "big")
    assert read_state(state) == (0b10101, 9)
    assert read_state(bytes(1544)) == (2**256 - 1, 0)


def test_compact_signatures_become_whole_ones() -> None:
    for key in range(1, 9):
        compact = sign(sha256(bytes([key])).digest(), key.to_bytes(32, "big"))
        whole = expand_signature(compact)
        assert whole[:32] == compact[:32]
        assert whole[64] in (27, 28)
        assert (whole[64] - 27) << 255 | int.from_bytes(whole[32:64], "big") == int.from_bytes(
            compact[32:], "big"
        )
    with pytest.raises(InputError):
        expand_signature(bytes(65))


def test_calls_that_do_not_encode() -> None:
    with pytest.raises(InputError):
        encode_call("Challenge", "challengeNothing", ())
    with pytest.raises(InputError):
        encode_call("DataRequests", "claim", ("no address",))
