"""An update's segments with their paths, and the faults that make it malformed.

docs/spec/challenge.md, "Faults of an update".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ledger.challenges.errors import ClaimRefusedError
from ledger.challenges.opening import ChallengeFacts
from ledger.challenges.paths import DigestTree, climb
from ledger.errors import InputError
from ledger.merkle import DIGEST_BYTES, EMPTY_ROOTS, Buffer, leaf_digest, tree_depth
from ledger.update import (
    EXPONENT_MAX,
    EXPONENT_MIN,
    FORBIDDEN_VALUE,
    HEADER_BYTES,
    SEGMENT_VALUES,
    UpdateHeader,
    bind_root,
    segment_count,
)


class FaultKind(IntEnum):
    """What is wrong with an update."""

    HEADER = 1
    VALUE = 2
    PADDING = 3
    SIZE = 4
    DEPTH = 5


@dataclass(frozen=True, slots=True)
class UpdateFault:
    """Shows that an update is malformed.

    Attributes:
        kind: What is wrong.
        header: 96 bytes.
        payload_root: Root of the segments' tree, 32 bytes; kind HEADER only, otherwise zero.
        segment_index: Position of the segment; kind VALUE only, otherwise 0.
        segment: VALUE, PADDING, DEPTH: 8,192 bytes. SIZE: the last segment's leaf, 32 bytes. Otherwise empty.
        siblings: Path of the segment in the update's tree; empty for HEADER.
    """

    kind: FaultKind
    header: bytes
    payload_root: bytes = bytes(DIGEST_BYTES)
    segment_index: int = 0
    segment: bytes = b""
    siblings: tuple[bytes, ...] = ()

    def abi(self) -> tuple[object, ...]:
        """Give the Solidity struct."""
        return (
            int(self.kind),
            self.header,
            self.payload_root,
            self.segment_index,
            self.segment,
            list(self.siblings),
        )


class UpdateTree:
    """An update's header and leaves, and the segments that somebody wants to show.

    Attributes:
        header: The first 96 bytes.
        tree: Tree over the leaves of the segments that the bytes hold.
    """

    __slots__ = ("_kept", "header", "tree")

    def __init__(self, chunks: Iterable[Buffer], keep: Iterable[int] = ()) -> None:
        """Read a file once, in memory of 32 bytes a segment and the kept segments.

        Args:
            chunks: The file in pieces of any size.
            keep: Positions of the segments to keep.

        Raises:
            InputError: The bytes are not a header and whole segments; fault of the caller.
        """
        wanted = frozenset(keep)
        self._kept: dict[int, bytes] = {}
        pending, leaves = bytearray(), bytearray()
        header = b""
        for chunk in chunks:
            pending += memoryview(chunk).cast("B")
            if not header and len(pending) >= HEADER_BYTES:
                header = bytes(pending[:HEADER_BYTES])
                del pending[:HEADER_BYTES]
            if not header:
                continue
            whole = len(pending) // SEGMENT_VALUES * SEGMENT_VALUES
            for at in range(0, whole, SEGMENT_VALUES):
                position = len(leaves) // DIGEST_BYTES
                segment = bytes(pending[at : at + SEGMENT_VALUES])
                leaves += leaf_digest(segment)
                if position in wanted:
                    self._kept[position] = segment
            del pending[:whole]
        if pending or not leaves:
            raise InputError("the bytes are not a header and whole segments")
        self.header = header
        self.tree = DigestTree(bytes(leaves))

    @property
    def payload_root(self) -> bytes:
        """Root of the segments' tree, 32 bytes."""
        return self.tree.root

    @property
    def root(self) -> bytes:
        """The update root, 32 bytes."""
        return bind_root(self.header, self.payload_root)

    def segment(self, position: int) -> bytes:
        """Give a kept segment.

        Raises:
            InputError: It was not kept; fault of the caller.
        """
        if position not in self._kept:
            raise InputError(f"segment {position} was not kept")
        return self._kept[position]


def expected_header(facts: ChallengeFacts, round_: int, index: int, exponent: int) -> bytes:
    """Give the 96 bytes that an update of this member and round must begin with."""
    worker = bytes.fromhex(facts.identities[index].removeprefix("0x"))
    return UpdateHeader(facts.run, round_, worker, facts.shape_digest, facts.length, exponent).pack()


def is_header_sound(facts: ChallengeFacts, round_: int, index: int, header: bytes) -> bool:
    """Tell whether a header of 96 bytes breaks neither rule 1 nor rule 2 of docs/spec/update.md."""
    exponent = exponent_in(header)
    if not EXPONENT_MIN <= exponent <= EXPONENT_MAX:
        return False
    return header == expected_header(facts, round_, index, exponent)


def exponent_in(header: bytes) -> int:
    """Give the exponent that a header of 96 bytes claims, -128..127."""
    return int.from_bytes(header[5:6], "big", signed=True)


def find_fault(data: Buffer, facts: ChallengeFacts, round_: int, index: int) -> UpdateFault | None:
    """Find what makes an update malformed.

    Args:
        data: The whole file; its root is not looked at.
        facts: The run's constants.
        round_: Round of the update.
        index: Cohort index of its author.

    Returns:
        A fault, or None for a sound update. Whatever docs/spec/update.md calls malformed has one.

    Raises:
        InputError: The bytes are not a header and whole segments; fault of the caller.
    """
    view = memoryview(data).cast("B")
    header, last = bytes(view[:HEADER_BYTES]), segment_count(facts.length) - 1
    values = np.frombuffer(view[HEADER_BYTES:], dtype=np.int8)
    bad = np.flatnonzero(values == FORBIDDEN_VALUE) if len(values) else values
    position = int(bad[0]) // SEGMENT_VALUES if len(bad) else last
    update = UpdateTree([view], keep=(0, position, last))
    if not is_header_sound(facts, round_, index, header):
        return UpdateFault(FaultKind.HEADER, header, payload_root=update.payload_root)
    if update.tree.depth != tree_depth(last + 1):
        return UpdateFault(FaultKind.DEPTH, header, segment=update.segment(0), siblings=update.tree.path(0))
    if len(bad) and position <= last:
        return UpdateFault(
            FaultKind.VALUE,
            header,
            segment_index=position,
            segment=update.segment(position),
            siblings=update.tree.path(position),
        )
    path = update.tree.path(last)
    if update.tree.count > last and any(values[facts.length : (last + 1) * SEGMENT_VALUES]):
        return UpdateFault(FaultKind.PADDING, header, segment=update.segment(last), siblings=path)
    leaf = update.tree.node(0, last)
    if not any(leaf) or not is_empty_behind(last, path):
        return UpdateFault(FaultKind.SIZE, header, segment=leaf, siblings=path)
    return None


def is_empty_behind(position: int, siblings: Iterable[bytes]) -> bool:
    """Tell whether everything to the right of a path is empty."""
    return all(
        position >> level & 1 or sibling == EMPTY_ROOTS[level] for level, sibling in enumerate(siblings)
    )


def check_fault(
    fault: UpdateFault, facts: ChallengeFacts, round_: int, index: int, update_root: bytes
) -> None:
    """Check that a fault is one of the update under a root, as the contracts do.

    Raises:
        ClaimRefusedError: It is not.
    """
    segments = segment_count(facts.length)
    depth = tree_depth(segments)
    if fault.kind == FaultKind.HEADER:
        if fault.segment_index or fault.segment or fault.siblings:
            raise ClaimRefusedError("UpdateFaultsUnusedField", "a header fault has no segment")
        _check_root(fault.header, fault.payload_root, update_root)
        if is_header_sound(facts, round_, index, fault.header):
            raise ClaimRefusedError("UpdateFaultsSound", "the header is sound")
        return
    if any(fault.payload_root) or (fault.kind != FaultKind.VALUE and fault.segment_index):
        raise ClaimRefusedError("UpdateFaultsUnusedField", "a field is not empty that this kind does not use")
    if fault.kind == FaultKind.DEPTH:
        if len(fault.segment) != SEGMENT_VALUES:
            raise ClaimRefusedError("SegmentTreeWrongSegmentLength", "a segment has 8,192 bytes")
        _check_root(fault.header, climb(leaf_digest(fault.segment), 0, fault.siblings), update_root)
        if len(fault.siblings) == depth:
            raise ClaimRefusedError("UpdateFaultsSound", "the tree has the right depth")
        return
    position = fault.segment_index if fault.kind == FaultKind.VALUE else segments - 1
    if position >= segments:
        raise ClaimRefusedError("SegmentTreeNoSuchSegment", f"there is no segment {position}")
    if len(fault.siblings) != depth:
        raise ClaimRefusedError("SegmentTreeWrongDepth", f"{len(fault.siblings)} siblings, not {depth}")
    size = DIGEST_BYTES if fault.kind == FaultKind.SIZE else SEGMENT_VALUES
    if len(fault.segment) != size:
        raise ClaimRefusedError("SegmentTreeWrongSegmentLength", f"{len(fault.segment)} bytes, not {size}")
    leaf = fault.segment if fault.kind == FaultKind.SIZE else leaf_digest(fault.segment)
    _check_root(fault.header, climb(leaf, position, fault.siblings), update_root)
    if fault.kind == FaultKind.VALUE:
        is_sound = 0x80 not in fault.segment
    elif fault.kind == FaultKind.PADDING:
        is_sound = not any(fault.segment[facts.length - SEGMENT_VALUES * position :])
    else:
        is_sound = any(leaf) and is_empty_behind(position, fault.siblings)
    if is_sound:
        raise ClaimRefusedError("UpdateFaultsSound", f"there is no fault of kind {fault.kind.name.lower()}")


def _check_root(header: bytes, payload_root: bytes, update_root: bytes) -> None:
    if len(header) != HEADER_BYTES:
        raise ClaimRefusedError("SegmentTreeWrongHeaderLength", f"a header has 96 bytes, not {len(header)}")
    if bind_root(header, payload_root) != update_root:
        raise ClaimRefusedError("UpdateFaultsWrongRoot", "the bytes are not under the committed root")
