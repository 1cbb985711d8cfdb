"""Openings: one member's commitment and a round's settlement under the ledger's record.

docs/spec/challenge.md, "Opening a round".
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from eth_abi.abi import encode
from eth_utils import keccak

from ledger.challenges.errors import ClaimRefusedError
from ledger.contribution import Contribution, Domain
from ledger.digests import SETTLED_TAG, Settlement, append, final, lanes_digest

PAYLOAD_HEAD_BYTES = 160
PAYLOAD_ENTRY_BYTES = 41
PAYLOAD_POSTER_AT = 139


@dataclass(frozen=True, slots=True)
class ChallengeFacts:
    """What a ledger's constants say, for challenges and requests.

    Attributes:
        domain: Chain and ledger.
        run: Run id.
        spec_digest: Digest of the run's gate constants, 32 bytes.
        shape_digest: Digest of the model's shape, 32 bytes.
        length: Number of values of an update.
        identities: Identities of all members in cohort order, the guards last, checksummed.
        guards: How many of them are guards; odd, 1..15.
    """

    domain: Domain
    run: int
    spec_digest: bytes
    shape_digest: bytes
    length: int
    identities: tuple[str, ...]
    guards: int = 1

    @property
    def workers(self) -> int:
        """Number of workers, and cohort index of the first guard; from there on the updates are anchors."""
        return len(self.identities) - self.guards


class PostedStatus(IntEnum):
    """How a settle payload speaks of a member."""

    SOUND = 0
    UNAVAILABLE = 1
    MALFORMED = 2


@dataclass(frozen=True, slots=True)
class Posted:
    """What a settle payload says of a member.

    Attributes:
        status: Sound for the anchor of a single guard.
        code: Word, 0 <= code < 2**256.
        norm2: Sum of squares, 0 <= norm2 < 2**64.
        exponent: -128..127.
    """

    status: PostedStatus
    code: int
    norm2: int
    exponent: int


@dataclass(frozen=True, slots=True)
class CommitmentOpening:
    """Opens a round's accumulator down to one commitment.

    Attributes:
        update_root: As committed, 32 bytes.
        parent_model: Model root that the round started from, 32 bytes.
        tokens: As committed.
        deadline: As committed, Unix seconds.
        accumulator_before: Accumulator just before this contribution, 32 bytes.
        later_digests: Contribution digests that came after it, in order.
    """

    update_root: bytes
    parent_model: bytes
    tokens: int
    deadline: int
    accumulator_before: bytes
    later_digests: tuple[bytes, ...]

    def abi(self) -> tuple[object, ...]:
        """Give the Solidity struct."""
        return (
            self.update_root,
            self.parent_model,
            self.tokens,
            self.deadline,
            self.accumulator_before,
            list(self.later_digests),
        )

    def accumulator(self, facts: ChallengeFacts, round_: int, index: int) -> bytes:
        """Give the accumulator at which it arrives: D1, if it is that of a sealed round."""
        contribution = Contribution(
            run=facts.run,
            round=round_,
            worker=facts.identities[index],
            spec_digest=facts.spec_digest,
            parent_model=self.parent_model,
            update_root=self.update_root,
            tokens=self.tokens,
            deadline=self.deadline,
        )
        accumulator = append(self.accumulator_before, contribution.digest(facts.domain))
        for digest in self.later_digests:
            accumulator = append(accumulator, digest)
        return accumulator


@dataclass(frozen=True, slots=True)
class Opening:
    """Opens a settled or final round's record down to one commitment and to all that was posted.

    Attributes:
        commitment: The commitment.
        presence: Bitmap of the members that had committed at the seal.
        seed: Seed of the round, 32 bytes.
        payload: The bytes posted to `settle`.
        approved: Bitmap of the approved members.
        yardstick_before: Yardstick word before the round.
        yardstick_after: Yardstick word after the round.
        lanes_before: All lane words before the round.
        lanes_after_hash: Digest of the lane words after the round, 32 bytes.
        model_root: Model root after the merge; None while the round is not final.
        weights_digest: Digest of the merge weights; means something only with a model root.
    """

    commitment: CommitmentOpening
    presence: int
    seed: bytes
    payload: bytes
    approved: int
    yardstick_before: int
    yardstick_after: int
    lanes_before: tuple[int, ...]
    lanes_after_hash: bytes
    model_root: bytes | None = None
    weights_digest: bytes = bytes(32)

    def abi(self) -> tuple[object, ...]:
        """Give the Solidity struct."""
        return (
            self.commitment.abi(),
            self.presence,
            self.seed,
            self.payload,
            self.approved,
            self.yardstick_before,
            self.yardstick_after,
            list(self.lanes_before),
            self.lanes_after_hash,
            self.model_root is not None,
            self.model_root or bytes(32),
            self.weights_digest,
        )

    def record(self, facts: ChallengeFacts, round_: int, index: int) -> bytes:
        """Give the record to which it leads: D2, or D3 of a final round."""
        return settled_record(self, self.commitment.accumulator(facts, round_, index))

    @property
    def trace_root(self) -> bytes:
        """The posted trace root, 32 bytes."""
        return self.payload[32:64]

    @property
    def poster(self) -> int:
        """Number of the guard that posted it, and that answers for it with its stake.

        Raises:
            ClaimRefusedError: The payload has no whole header.
        """
        if len(self.payload) < PAYLOAD_HEAD_BYTES:
            raise ClaimRefusedError("SettlePayloadWrongLength", f"{len(self.payload)} bytes")
        return self.payload[PAYLOAD_POSTER_AT]


def open_settlement(
    commitment: CommitmentOpening,
    settlement: Settlement,
    model_root: bytes | None = None,
    weights_digest: bytes = bytes(32),
) -> Opening:
    """Join a commitment's opening and a round's settlement.

    Args:
        commitment: The member's commitment.
        settlement: All that the settled digest covers.
        model_root: Model root after the merge, 32 bytes; None while the round is not final.
        weights_digest: Digest of the merge weights, 32 bytes.

    Returns:
        The opening.
    """
    return Opening(
        commitment=commitment,
        presence=settlement.presence,
        seed=settlement.seed,
        payload=settlement.payload,
        approved=settlement.approved,
        yardstick_before=settlement.yardstick_before,
        yardstick_after=settlement.yardstick_after,
        lanes_before=tuple(settlement.lanes_before),
        lanes_after_hash=lanes_digest(settlement.lanes_after),
        model_root=model_root,
        weights_digest=weights_digest,
    )


def open_commitment(
    start: bytes, digests: Sequence[bytes], at: int, contribution: Contribution
) -> CommitmentOpening:
    """Open a round's accumulator down to one commitment.

    Args:
        start: D0 of the round, 32 bytes.
        digests: All contribution digests of the round in the order in which they were appended.
        at: Place of the commitment among them.
        contribution: The commitment itself.

    Returns:
        The opening.
    """
    accumulator = start
    for digest in digests[:at]:
        accumulator = append(accumulator, digest)
    return CommitmentOpening(
        update_root=contribution.update_root,
        parent_model=contribution.parent_model,
        tokens=contribution.tokens,
        deadline=contribution.deadline,
        accumulator_before=accumulator,
        later_digests=tuple(digests[at + 1 :]),
    )


def settled_record(opening: Opening, accumulator: bytes) -> bytes:
    """Give the record above an accumulator."""
    types = ["bytes32", "bytes32", "uint256", "bytes32", "bytes32", *["uint256"] * 3, "bytes32", "bytes32"]
    record = keccak(
        encode(
            types,
            [
                SETTLED_TAG,
                accumulator,
                opening.presence,
                opening.seed,
                keccak(opening.payload),
                opening.approved,
                opening.yardstick_before,
                opening.yardstick_after,
                lanes_digest(opening.lanes_before),
                opening.lanes_after_hash,
            ],
        )
    )
    if opening.model_root is not None:
        record = final(record, opening.model_root, opening.weights_digest)
    return record


def read_posted(opening: Opening, members: int, index: int, guards: int = 1) -> Posted:
    """Read what a settle payload says of a member.

    Args:
        opening: The opening with the payload.
        members: Size of the cohort.
        index: Cohort index. Of a single guard, which has no entry, the header is what is posted.
        guards: How many of the last members are guards.

    Returns:
        Status, word, norm and exponent.

    Raises:
        ClaimRefusedError: The member did not commit, or the payload has the wrong length.
    """
    payload, presence = opening.payload, opening.presence
    if not presence >> index & 1:
        raise ClaimRefusedError("SettlePayloadNotPresent", f"member {index} did not commit")
    entries = presence & ((1 << (members - 1)) - 1) if guards == 1 else presence
    count = entries.bit_count()
    if len(payload) != PAYLOAD_HEAD_BYTES + PAYLOAD_ENTRY_BYTES * count:
        raise ClaimRefusedError("SettlePayloadWrongLength", f"{len(payload)} bytes for {count} entries")
    if guards == 1 and index == members - 1:
        norm2, exponent = struct.unpack_from(">Qb", payload, 128)
        return Posted(PostedStatus.SOUND, int.from_bytes(payload[:32], "big"), norm2, exponent)
    at = (entries & ((1 << index) - 1)).bit_count()
    status = PostedStatus.SOUND
    if int.from_bytes(payload[64:96], "big") >> index & 1:
        status = PostedStatus.UNAVAILABLE
    if int.from_bytes(payload[96:128], "big") >> index & 1:
        status = PostedStatus.MALFORMED
    start = PAYLOAD_HEAD_BYTES + 32 * at
    (norm2,) = struct.unpack_from(">Q", payload, PAYLOAD_HEAD_BYTES + 32 * count + 8 * at)
    (exponent,) = struct.unpack_from(">b", payload, PAYLOAD_HEAD_BYTES + 40 * count + at)
    return Posted(status, int.from_bytes(payload[start : start + 32], "big"), norm2, exponent)
