"""Claims against what was posted: calldata, and the contract's rules on this side, without gas.

docs/spec/challenge.md, "Kinds". A claim's ``check`` raises what the contract would revert with and does
nothing where the contract would take the contribution back. The sums after a segment are the caller's word:
the ledger package knows no sketch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

from ledger.challenges.calls import encode_call
from ledger.challenges.errors import ClaimRefusedError
from ledger.challenges.faults import UpdateFault, UpdateTree, check_fault, exponent_in
from ledger.challenges.opening import ChallengeFacts, Opening, Posted, PostedStatus, read_posted
from ledger.challenges.paths import STATE_BYTES, TraceTree, climb, climb_step, trace_leaf
from ledger.challenges.requests import RequestKind
from ledger.contribution import Contribution, SignatureFormError, recover
from ledger.errors import InputError
from ledger.merkle import leaf_digest, tree_depth
from ledger.update import HEADER_BYTES, SEGMENT_VALUES, bind_root, segment_count

CONTRACT = "Challenge"


class ClaimKind(IntEnum):
    """What a claim shows."""

    SEGMENT = 1
    BOUNDARY = 2
    EXPONENT = 3
    MALFORMED = 4
    TWO_ROOTS = 5
    WITHHELD = 6
    UNFOUNDED = 7


@dataclass(frozen=True, slots=True)
class OnChain:
    """What the chain says at the moment of a claim.

    Attributes:
        record: `recordOf(round)`, 32 bytes.
        overturned: `overturnedOf(round)`.
        is_named: Whether the ledger names the challenge contract.
        unanswered: Bitmaps of the members marked by closed requests, by request kind.
        two_roots: Bitmap of the members that were slashed for two roots in the round.
    """

    record: bytes
    overturned: int = 0
    is_named: bool = True
    unanswered: Mapping[RequestKind, int] = field(default_factory=dict)
    two_roots: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """Whose contribution is challenged.

    Attributes:
        round: Round of the contribution.
        index: Cohort index; a guard's for its anchor, which takes the whole round back.
        opening: Opens the round's record to it.
    """

    round: int
    index: int
    opening: Opening

    def arguments(self, facts: ChallengeFacts) -> tuple[object, ...]:
        """Give the arguments with which every challenge begins."""
        return (facts.domain.ledger, self.round, self.index, self.opening.abi())

    def check(self, facts: ChallengeFacts, chain: OnChain, needed: PostedStatus) -> Posted:
        """Check the opening and the posted status.

        Returns:
            What was posted.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        if not chain.is_named:
            raise ClaimRefusedError("ChallengeNotNamed", "the ledger does not name the challenge contract")
        if not 0 <= self.index < len(facts.identities):
            raise ClaimRefusedError("CohortNoSuchIndex", f"there is no member {self.index}")
        if chain.overturned >> self.index & 1:
            raise ClaimRefusedError("ChallengeAlreadyOverturned", "the contribution was taken back before")
        check_record(self.opening, facts, self.round, self.index, chain.record)
        posted = read_posted(self.opening, len(facts.identities), self.index, facts.guards)
        if posted.status != needed:
            raise ClaimRefusedError(
                "ChallengeWrongStatus", f"member {self.index} was posted as {posted.status.name.lower()}"
            )
        return posted

    def check_update_root(self, computed: bytes) -> None:
        """Compare a root with the committed one."""
        if computed != self.opening.commitment.update_root:
            raise ClaimRefusedError("ChallengeWrongUpdateRoot", "the bytes are not under the committed root")

    def check_trace_root(self, computed: bytes) -> None:
        """Compare a root with the posted trace root."""
        if computed != self.opening.trace_root:
            raise ClaimRefusedError("ChallengeWrongTraceRoot", "the leaf is not under the posted trace root")


def check_record(opening: Opening, facts: ChallengeFacts, round_: int, index: int, record: bytes) -> None:
    """Compare the end of an opening with a round's record.

    Raises:
        ClaimRefusedError: It is another one.
    """
    computed = opening.record(facts, round_, index)
    if computed == record:
        return
    if not any(record):
        raise ClaimRefusedError("RoundOpeningUnknownRound", f"nobody has committed to round {round_}")
    if record == opening.commitment.accumulator(facts, round_, index):
        raise ClaimRefusedError("RoundOpeningNotSettled", f"round {round_} is not settled")
    raise ClaimRefusedError("RoundOpeningMismatch", f"the opening is not that of round {round_}'s record")


@dataclass(frozen=True, slots=True)
class SegmentClaim:
    """Kind 1: the guard's sums go wrong in one segment.

    Attributes:
        target: Whose contribution.
        segment_index: Position of the segment.
        header: Header of the update, 96 bytes.
        segment: 8,192 bytes.
        siblings: Path of the segment in the update's tree.
        state_before: Sums before the segment, 1,544 bytes; empty for segment 0.
        posted_leaf: Leaf of the sums after it, as the guard has it.
        trace_siblings: Joint path of the two leaves in the round's trace.
    """

    kind: ClassVar[ClaimKind] = ClaimKind.SEGMENT

    target: Target
    segment_index: int
    header: bytes
    segment: bytes
    siblings: tuple[bytes, ...]
    state_before: bytes
    posted_leaf: bytes
    trace_siblings: tuple[bytes, ...]

    @classmethod
    def build(
        cls, target: Target, update: UpdateTree, trace: TraceTree, segment_index: int, state_before: bytes
    ) -> "SegmentClaim":
        """Build it.

        Args:
            target: Whose contribution.
            update: The update, with this segment kept.
            trace: The posted trace.
            segment_index: First segment whose leaf is not the true one.
            state_before: True sums before it, 1,544 bytes.

        Returns:
            The claim; not checked.
        """
        return cls(
            target=target,
            segment_index=segment_index,
            header=update.header,
            segment=update.segment(segment_index),
            siblings=update.tree.path(segment_index),
            state_before=state_before if segment_index else b"",
            posted_leaf=trace.leaf(segment_index),
            trace_siblings=trace.step_path(segment_index),
        )

    def calldata(self, facts: ChallengeFacts) -> bytes:
        """Give the transaction's data."""
        proof = (
            self.segment_index,
            self.header,
            self.segment,
            list(self.siblings),
            self.state_before,
            self.posted_leaf,
            list(self.trace_siblings),
        )
        return encode_call(CONTRACT, "challengeSegment", (*self.target.arguments(facts), proof))

    def check(self, facts: ChallengeFacts, chain: OnChain, state_after: bytes) -> None:
        """Apply the contract's rules.

        Args:
            facts: The run's constants.
            chain: What the chain says.
            state_after: ``state_before`` plus the sums of the segment, 1,544 bytes, as the contract has them.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        self.target.check(facts, chain, PostedStatus.SOUND)
        segments = segment_count(facts.length)
        depth, position = tree_depth(segments), self.segment_index
        if position >= segments:
            raise ClaimRefusedError("SegmentTreeNoSuchSegment", f"there is no segment {position}")
        if len(self.siblings) != depth:
            raise ClaimRefusedError("SegmentTreeWrongDepth", f"{len(self.siblings)} siblings, not {depth}")
        if len(self.segment) != SEGMENT_VALUES:
            raise ClaimRefusedError("SegmentTreeWrongSegmentLength", "a segment has 8,192 bytes")
        payload_root = climb(leaf_digest(self.segment), position, self.siblings)
        self.target.check_update_root(_bound(self.header, payload_root))
        if len(self.state_before) != (STATE_BYTES if position else 0):
            raise ClaimRefusedError("TraceTreeWrongStateLength", f"{len(self.state_before)} bytes of state")
        if b"\x80" in self.segment:
            raise ClaimRefusedError("SketchMinusHundredTwentyEight", "the segment holds -128: show that")
        if trace_leaf(state_after) == self.posted_leaf:
            raise ClaimRefusedError("ChallengeStepHolds", f"the guard's step {position} is right")
        total = depth + tree_depth(len(facts.identities))
        at = self.target.index << depth | position
        needed = total if position == 0 else total + (at & -at).bit_length() - 2
        if len(self.trace_siblings) != needed:
            raise ClaimRefusedError(
                "TraceTreeWrongDepth", f"{len(self.trace_siblings)} siblings, not {needed}"
            )
        self.target.check_trace_root(
            climb(self.posted_leaf, at, self.trace_siblings)
            if position == 0
            else climb_step(trace_leaf(self.state_before), self.posted_leaf, at, self.trace_siblings)
        )


@dataclass(frozen=True, slots=True)
class BoundaryClaim:
    """Kind 2: posted word or norm are not those of the guard's last sums.

    Attributes:
        target: Whose contribution.
        last_state: Sums after the last segment, 1,544 bytes.
        trace_siblings: Path of its leaf in the round's trace.
    """

    kind: ClassVar[ClaimKind] = ClaimKind.BOUNDARY

    target: Target
    last_state: bytes
    trace_siblings: tuple[bytes, ...]

    @classmethod
    def build(cls, target: Target, trace: TraceTree, last_state: bytes) -> "BoundaryClaim":
        """Build it from the posted trace and the true last sums, 1,544 bytes; not checked."""
        return cls(target, last_state, trace.path(trace.member.count - 1))

    def calldata(self, facts: ChallengeFacts) -> bytes:
        """Give the transaction's data."""
        arguments = (*self.target.arguments(facts), self.last_state, list(self.trace_siblings))
        return encode_call(CONTRACT, "challengeBoundary", arguments)

    def check(self, facts: ChallengeFacts, chain: OnChain) -> None:
        """Apply the contract's rules.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        posted = self.target.check(facts, chain, PostedStatus.SOUND)
        if len(self.last_state) != STATE_BYTES:
            raise ClaimRefusedError("TraceTreeWrongStateLength", f"{len(self.last_state)} bytes of state")
        segments = segment_count(facts.length)
        depth = tree_depth(segments)
        total = depth + tree_depth(len(facts.identities))
        if len(self.trace_siblings) != total:
            raise ClaimRefusedError(
                "TraceTreeWrongDepth", f"{len(self.trace_siblings)} siblings, not {total}"
            )
        at = self.target.index << depth | (segments - 1)
        self.target.check_trace_root(climb(trace_leaf(self.last_state), at, self.trace_siblings))
        if read_state(self.last_state) == (posted.code, posted.norm2):
            raise ClaimRefusedError("ChallengeReadingHolds", "word and norm are those of the last sums")


@dataclass(frozen=True, slots=True)
class ExponentClaim:
    """Kind 3: the posted exponent is not the header's.

    Attributes:
        target: Whose contribution.
        header: Header of the update, 96 bytes.
        payload_root: Root of the tree of its segments, 32 bytes.
    """

    kind: ClassVar[ClaimKind] = ClaimKind.EXPONENT

    target: Target
    header: bytes
    payload_root: bytes

    def calldata(self, facts: ChallengeFacts) -> bytes:
        """Give the transaction's data."""
        arguments = (*self.target.arguments(facts), self.header, self.payload_root)
        return encode_call(CONTRACT, "challengeExponent", arguments)

    def check(self, facts: ChallengeFacts, chain: OnChain) -> None:
        """Apply the contract's rules.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        posted = self.target.check(facts, chain, PostedStatus.SOUND)
        self.target.check_update_root(_bound(self.header, self.payload_root))
        if exponent_in(self.header) == posted.exponent:
            raise ClaimRefusedError("ChallengeExponentHolds", f"the exponent is {posted.exponent}")


@dataclass(frozen=True, slots=True)
class MalformedClaim:
    """Kind 4: an update posted as sound is malformed.

    Attributes:
        target: Whose contribution.
        fault: What is wrong with it.
    """

    kind: ClassVar[ClaimKind] = ClaimKind.MALFORMED

    target: Target
    fault: UpdateFault

    def calldata(self, facts: ChallengeFacts) -> bytes:
        """Give the transaction's data."""
        arguments = (*self.target.arguments(facts), self.fault.abi())
        return encode_call(CONTRACT, "challengeMalformed", arguments)

    def check(self, facts: ChallengeFacts, chain: OnChain) -> None:
        """Apply the contract's rules.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        target = self.target
        target.check(facts, chain, PostedStatus.SOUND)
        check_fault(self.fault, facts, target.round, target.index, target.opening.commitment.update_root)


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """One signed contribution, of two with different roots.

    Attributes:
        update_root: 32 bytes.
        tokens: As signed.
        deadline: As signed.
        signature: 65 bytes r || s || v, or what a contract signer takes. See :func:`expand_signature`.
    """

    update_root: bytes
    tokens: int
    deadline: int
    signature: bytes

    def abi(self) -> tuple[object, ...]:
        """Give the Solidity struct."""
        return (self.update_root, self.tokens, self.deadline, self.signature)


@dataclass(frozen=True, slots=True)
class TwoRootsClaim:
    """Kind 5: a member signed two roots for one round and parent model.

    Attributes:
        round: The round.
        index: Cohort index of the member.
        parent_model: Model root that both name, 32 bytes.
        first: One contribution.
        second: The other.
    """

    kind: ClassVar[ClaimKind] = ClaimKind.TWO_ROOTS

    round: int
    index: int
    parent_model: bytes
    first: SignedRoot
    second: SignedRoot

    def calldata(self, facts: ChallengeFacts) -> bytes:
        """Give the transaction's data."""
        arguments = (
            facts.domain.ledger,
            self.round,
            self.index,
            self.parent_model,
            self.first.abi(),
            self.second.abi(),
        )
        return encode_call(CONTRACT, "challengeTwoRoots", arguments)

    def check(self, facts: ChallengeFacts, chain: OnChain, signer: str) -> None:
        """Apply the contract's rules for a signer that is no contract.

        Args:
            facts: The run's constants.
            chain: What the chain says.
            signer: The member's signer in the cohort, checksummed.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        if not chain.is_named:
            raise ClaimRefusedError("ChallengeNotNamed", "the ledger does not name the challenge contract")
        if self.first.update_root == self.second.update_root:
            raise ClaimRefusedError("ChallengeSameRoots", "both contributions have the same root")
        if not 0 <= self.index < len(facts.identities):
            raise ClaimRefusedError("CohortNoSuchIndex", f"there is no member {self.index}")
        if chain.two_roots >> self.index & 1:
            raise ClaimRefusedError("ChallengeAlreadySlashed", "the member was slashed for this round before")
        for signed in (self.first, self.second):
            contribution = Contribution(
                run=facts.run,
                round=self.round,
                worker=facts.identities[self.index],
                spec_digest=facts.spec_digest,
                parent_model=self.parent_model,
                update_root=signed.update_root,
                tokens=signed.tokens,
                deadline=signed.deadline,
            )
            if signer_of(contribution.digest(facts.domain), signed.signature) != signer:
                raise ClaimRefusedError("ChallengeWrongSigner", f"a contribution is not signed by {signer}")


@dataclass(frozen=True, slots=True)
class WithheldClaim:
    """Kind 6: a segment, or nodes of the trace, were asked for in vain.

    Attributes:
        target: Whose contribution.
        request_kind: SEGMENT or TRACE.
    """

    kind: ClassVar[ClaimKind] = ClaimKind.WITHHELD

    target: Target
    request_kind: RequestKind

    def calldata(self, facts: ChallengeFacts) -> bytes:
        """Give the transaction's data."""
        arguments = (*self.target.arguments(facts), int(self.request_kind))
        return encode_call(CONTRACT, "challengeWithheld", arguments)

    def check(self, facts: ChallengeFacts, chain: OnChain) -> None:
        """Apply the contract's rules.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        if self.request_kind == RequestKind.FAULT:
            raise ClaimRefusedError("ChallengeNotUnanswered", "a fault is no data that can be withheld")
        self.target.check(facts, chain, PostedStatus.SOUND)
        _check_unanswered(chain, self.request_kind, self.target.index)


@dataclass(frozen=True, slots=True)
class UnfoundedClaim:
    """Kind 7: the fault of an update posted as malformed was asked for in vain.

    Attributes:
        target: Whose contribution.
    """

    kind: ClassVar[ClaimKind] = ClaimKind.UNFOUNDED

    target: Target

    def calldata(self, facts: ChallengeFacts) -> bytes:
        """Give the transaction's data."""
        return encode_call(CONTRACT, "challengeUnfounded", self.target.arguments(facts))

    def check(self, facts: ChallengeFacts, chain: OnChain) -> None:
        """Apply the contract's rules.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        self.target.check(facts, chain, PostedStatus.MALFORMED)
        _check_unanswered(chain, RequestKind.FAULT, self.target.index)


def read_state(state: bytes) -> tuple[int, int]:
    """Give word and norm of a state.

    Args:
        state: 1,544 bytes: 256 sums of 6 bytes, two's complement, and the norm.

    Returns:
        The word, whose bit j is 1 iff sum j >= 0, and norm2.

    Source:
        docs/spec/trace.md, State.
    """
    code = sum(1 << j for j in range(256) if state[6 * j] < 0x80)
    return code, int.from_bytes(state[-8:], "big")


def expand_signature(compact: bytes) -> bytes:
    """Turn a compact signature of a batch into the 65 bytes that `challengeTwoRoots` takes.

    Args:
        compact: 64 bytes, EIP-2098.

    Returns:
        r (32) || s (32) || v.

    Raises:
        InputError: It does not have 64 bytes; fault of the caller.
    """
    if len(compact) != 64:
        raise InputError(f"a compact signature has 64 bytes, this one {len(compact)}")
    parity_and_s = int.from_bytes(compact[32:], "big")
    s = parity_and_s & ((1 << 255) - 1)
    return compact[:32] + s.to_bytes(32, "big") + bytes([27 + (parity_and_s >> 255)])


def signer_of(digest: bytes, signature: bytes) -> str | None:
    """Give the account, checksummed, whose key has made a signature of 65 bytes; None if it is none."""
    if len(signature) != 65 or signature[64] not in (27, 28) or signature[32] >= 0x80:
        return None
    parity_and_s = (signature[64] - 27) << 255 | int.from_bytes(signature[32:64], "big")
    try:
        return recover(digest, signature[:32] + parity_and_s.to_bytes(32, "big"))
    except SignatureFormError:
        return None


def _check_unanswered(chain: OnChain, kind: RequestKind, index: int) -> None:
    if not chain.unanswered.get(kind, 0) >> index & 1:
        raise ClaimRefusedError(
            "ChallengeNotUnanswered", f"no {kind.name.lower()} request about member {index} was closed"
        )


def _bound(header: bytes, payload_root: bytes) -> bytes:
    if len(header) != HEADER_BYTES:
        raise ClaimRefusedError("SegmentTreeWrongHeaderLength", f"a header has 96 bytes, not {len(header)}")
    return bind_root(header, payload_root)
