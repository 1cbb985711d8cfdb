"""Requests for data of a round, and their answers: calldata, and the contract's rules on this side.

docs/spec/challenge.md, "Requests".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from eth_abi.abi import encode
from eth_utils import keccak

from ledger.challenges.calls import encode_call, find_calls
from ledger.challenges.errors import ClaimRefusedError
from ledger.challenges.faults import (
    FaultKind,
    UpdateFault,
    UpdateTree,
    check_fault,
    is_empty_behind,
    is_header_sound,
)
from ledger.challenges.opening import ChallengeFacts, CommitmentOpening, Opening
from ledger.challenges.paths import ANSWER_LEVELS, TraceTree, climb, is_in_trace
from ledger.merkle import leaf_digest, node_digest, tree_depth
from ledger.update import HEADER_BYTES, SEGMENT_VALUES, bind_root, segment_count

CONTRACT = "DataRequests"
FORBIDDEN_BYTE = 0x80


class RequestKind(IntEnum):
    """What is asked for."""

    SEGMENT = 1
    TRACE = 2
    FAULT = 3


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What exactly is asked for.

    Attributes:
        ledger: Checksummed address.
        round: Round of the update.
        index: Cohort index of the member.
        kind: What is asked for.
        height: TRACE: levels between the node and the leaves, 1 or more. Otherwise 0.
        position: SEGMENT: its position. TRACE: position of the node on its level. FAULT: 0.
    """

    ledger: str
    round: int
    index: int
    kind: RequestKind
    height: int = 0
    position: int = 0

    def abi(self) -> tuple[object, ...]:
        """Give the Solidity struct."""
        return (self.ledger, self.round, self.index, int(self.kind), self.height, self.position)

    @property
    def id(self) -> bytes:
        """Number of the request, 32 bytes."""
        return keccak(encode(["address", *["uint256"] * 5], list(self.abi())))

    def check(self, facts: ChallengeFacts) -> None:
        """Check that the thing exists and has to do with the member.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        segments = segment_count(facts.length)
        depth = tree_depth(segments)
        if self.kind == RequestKind.SEGMENT:
            exists = self.height == 0 and self.position < segments
        elif self.kind == RequestKind.TRACE:
            total = depth + tree_depth(len(facts.identities))
            exists = is_in_trace(self.index, depth, total, self.height, self.position)
        else:
            exists = self.height == 0 and self.position == 0
        if not exists:
            raise ClaimRefusedError(
                "DataRequestsNoSuchPosition", "there is nothing there, or not of this member"
            )


def ask_sealed(key: RequestKey, opening: CommitmentOpening) -> bytes:
    """Give the calldata that asks for a segment while the round is sealed; sent with the bond."""
    arguments = (key.ledger, key.round, key.index, key.position, opening.abi())
    return encode_call(CONTRACT, "requestSealed", arguments)


def ask(key: RequestKey, opening: Opening) -> bytes:
    """Give the calldata that asks for something in a settled round; sent with the bond."""
    return encode_call(CONTRACT, "request", (key.abi(), opening.abi()))


def close(key: RequestKey) -> bytes:
    """Give the calldata that closes a request whose time is over."""
    return encode_call(CONTRACT, "close", (key.abi(),))


@dataclass(frozen=True, slots=True)
class SegmentAnswer:
    """A segment that was asked for.

    Attributes:
        key: The request.
        header: Header of the update, 96 bytes.
        segment: 8,192 bytes.
        siblings: Path of the segment in the update's tree.
    """

    key: RequestKey
    header: bytes
    segment: bytes
    siblings: tuple[bytes, ...]

    @classmethod
    def build(cls, key: RequestKey, update: UpdateTree) -> "SegmentAnswer":
        """Build it from an update with this segment kept."""
        return cls(key, update.header, update.segment(key.position), update.tree.path(key.position))

    @classmethod
    def find(cls, key: RequestKey, calldata: bytes) -> Iterator["SegmentAnswer"]:
        """Find answers to a request in the data of the transaction that answered it; to be checked."""
        for asked, header, segment, siblings in find_calls(CONTRACT, "answerSegment", calldata):
            if (asked[0].lower(), *asked[1:]) == (key.ledger.lower(), *key.abi()[1:]):
                yield cls(key, bytes(header), bytes(segment), tuple(map(bytes, siblings)))

    def fault(self, facts: ChallengeFacts) -> UpdateFault | None:
        """Give what the header or this segment shows to be wrong with the update; None if nothing."""
        key, last = self.key, segment_count(facts.length) - 1
        leaf = leaf_digest(self.segment)
        if not is_header_sound(facts, key.round, key.index, self.header):
            payload_root = climb(leaf, key.position, self.siblings)
            return UpdateFault(FaultKind.HEADER, self.header, payload_root=payload_root)
        if FORBIDDEN_BYTE in self.segment:
            return UpdateFault(
                FaultKind.VALUE,
                self.header,
                segment_index=key.position,
                segment=self.segment,
                siblings=self.siblings,
            )
        if key.position == last and any(self.segment[facts.length - SEGMENT_VALUES * last :]):
            return UpdateFault(FaultKind.PADDING, self.header, segment=self.segment, siblings=self.siblings)
        if key.position == last and not is_empty_behind(last, self.siblings):
            return UpdateFault(FaultKind.SIZE, self.header, segment=leaf, siblings=self.siblings)
        return None

    def calldata(self) -> bytes:
        """Give the transaction's data."""
        arguments = (self.key.abi(), self.header, self.segment, list(self.siblings))
        return encode_call(CONTRACT, "answerSegment", arguments)

    def check(self, facts: ChallengeFacts, root: bytes) -> None:
        """Apply the contract's rules; ``root`` is the request's.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        _check_kind(self.key, RequestKind.SEGMENT)
        depth = tree_depth(segment_count(facts.length))
        if len(self.siblings) != depth:
            raise ClaimRefusedError("SegmentTreeWrongDepth", f"{len(self.siblings)} siblings, not {depth}")
        if len(self.segment) != SEGMENT_VALUES:
            raise ClaimRefusedError("SegmentTreeWrongSegmentLength", "a segment has 8,192 bytes")
        if len(self.header) != HEADER_BYTES:
            raise ClaimRefusedError("SegmentTreeWrongHeaderLength", "a header has 96 bytes")
        payload_root = climb(leaf_digest(self.segment), self.key.position, self.siblings)
        _check_root(bind_root(self.header, payload_root), root)


@dataclass(frozen=True, slots=True)
class TraceAnswer:
    """Nodes of the trace that were asked for.

    Attributes:
        key: The request.
        nodes: Nodes up to 8 levels below the one that was asked for, from the left.
        siblings: Path from that one to the trace root.
    """

    key: RequestKey
    nodes: tuple[bytes, ...]
    siblings: tuple[bytes, ...]

    @classmethod
    def build(cls, key: RequestKey, trace: TraceTree) -> "TraceAnswer":
        """Build it from the posted trace."""
        return cls(key, *trace.nodes(key.height, key.position))

    def calldata(self) -> bytes:
        """Give the transaction's data."""
        arguments = (self.key.abi(), list(self.nodes), list(self.siblings))
        return encode_call(CONTRACT, "answerTrace", arguments)

    def check(self, facts: ChallengeFacts, root: bytes) -> None:
        """Apply the contract's rules; ``root`` is the request's.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        _check_kind(self.key, RequestKind.TRACE)
        depth = tree_depth(segment_count(facts.length))
        height = self.key.height
        levels = min(height - depth if height > depth else height, ANSWER_LEVELS)
        if len(self.nodes) != 1 << levels:
            raise ClaimRefusedError("DataRequestsWrongNodes", f"{len(self.nodes)} nodes, not {1 << levels}")
        above = depth + tree_depth(len(facts.identities)) - height
        if len(self.siblings) != above:
            raise ClaimRefusedError("SegmentTreeWrongDepth", f"{len(self.siblings)} siblings, not {above}")
        level = list(self.nodes)
        while len(level) > 1:
            level = [node_digest(level[at], level[at + 1]) for at in range(0, len(level), 2)]
        _check_root(climb(level[0], self.key.position, self.siblings), root)


@dataclass(frozen=True, slots=True)
class FaultAnswer:
    """The fault of an update that was posted as malformed.

    Attributes:
        key: The request.
        fault: What is wrong with the update.
    """

    key: RequestKey
    fault: UpdateFault

    def calldata(self) -> bytes:
        """Give the transaction's data."""
        return encode_call(CONTRACT, "answerFault", (self.key.abi(), self.fault.abi()))

    def check(self, facts: ChallengeFacts, root: bytes) -> None:
        """Apply the contract's rules; ``root`` is the request's.

        Raises:
            ClaimRefusedError: The contract would revert.
        """
        _check_kind(self.key, RequestKind.FAULT)
        check_fault(self.fault, facts, self.key.round, self.key.index, root)


def _check_kind(key: RequestKey, needed: RequestKind) -> None:
    if key.kind != needed:
        raise ClaimRefusedError("DataRequestsWrongKind", f"the request is for a {key.kind.name.lower()}")


def _check_root(computed: bytes, root: bytes) -> None:
    if computed != root:
        raise ClaimRefusedError("DataRequestsWrongRoot", "the answer is not under the root")
