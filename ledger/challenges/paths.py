"""Paths in trees whose leaves are digests: an update's segments, and the guard's trace."""

from collections.abc import Sequence
from hashlib import sha256

from ledger.errors import InputError
from ledger.merkle import DIGEST_BYTES, EMPTY_ROOTS, node_digest, tree_depth

TRACE_TAG = b"\x20"
STATE_BYTES = 1544
ANSWER_LEVELS = 8


class DigestTree:
    """The perfect tree of depth ceil(log2 n) over n digests, missing ones empty.

    Attributes:
        count: Number of leaves.
        depth: Its depth.
    """

    __slots__ = ("_levels", "count", "depth")

    def __init__(self, leaves: bytes) -> None:
        """Hash the tree.

        Args:
            leaves: 32 n bytes, n >= 1.

        Raises:
            InputError: The bytes are not whole digests, or there are none; fault of the caller.
        """
        if not leaves or len(leaves) % DIGEST_BYTES:
            raise InputError(f"{len(leaves)} bytes are not whole digests")
        self.count = len(leaves) // DIGEST_BYTES
        self.depth = tree_depth(self.count)
        level = [leaves[at : at + DIGEST_BYTES] for at in range(0, len(leaves), DIGEST_BYTES)]
        self._levels = [level]
        for height in range(self.depth):
            if len(level) % 2:
                level.append(EMPTY_ROOTS[height])
            level = [node_digest(level[at], level[at + 1]) for at in range(0, len(level), 2)]
            self._levels.append(level)

    @property
    def root(self) -> bytes:
        """The root, 32 bytes."""
        return self._levels[self.depth][0]

    def node(self, height: int, position: int) -> bytes:
        """Give a node; ``height`` 0 are the leaves. Positions behind the last leaf are empty."""
        level = self._levels[height]
        return level[position] if position < len(level) else EMPTY_ROOTS[height]

    def path(self, position: int, height: int = 0) -> tuple[bytes, ...]:
        """Give the siblings of a node, from its own level up."""
        return tuple(
            self.node(level, (position >> (level - height)) ^ 1) for level in range(height, self.depth)
        )

    def below(self, height: int, position: int, levels: int) -> tuple[bytes, ...]:
        """Give all nodes some levels below one, from the left."""
        first = position << levels
        return tuple(self.node(height - levels, first + i) for i in range(1 << levels))


class TraceTree:
    """A round's trace: one member's leaves and all members' roots, as one tree.

    Leaf s of member i has the position ``(i << depth) | s``.

    Attributes:
        index: The member whose leaves are known.
        member: Tree of its leaves.
        members: Tree of the members' roots.
    """

    __slots__ = ("index", "member", "members")

    def __init__(self, index: int, leaves: bytes, roots: bytes) -> None:
        """Hash both trees.

        Args:
            index: Cohort index of the member, a guard's for its anchor.
            leaves: The member's trace file, 32 S bytes.
            roots: The round's trace file, 32 bytes for each member.

        Raises:
            InputError: The files do not belong together; fault of the caller.
        """
        self.index = index
        self.member = DigestTree(leaves)
        self.members = DigestTree(roots)
        if not 0 <= index < self.members.count or self.members.node(0, index) != self.member.root:
            raise InputError(f"the leaves are not those of member {index}")

    @property
    def root(self) -> bytes:
        """The trace root, 32 bytes."""
        return self.members.root

    @property
    def depth(self) -> int:
        """Depth of the whole tree."""
        return self.member.depth + self.members.depth

    def leaf(self, segment: int) -> bytes:
        """Give a leaf of the member."""
        return self.member.node(0, segment)

    def path(self, segment: int) -> tuple[bytes, ...]:
        """Give the path of one leaf to the trace root."""
        return self.member.path(segment) + self.members.path(self.index)

    def step_path(self, segment: int) -> tuple[bytes, ...]:
        """Give the joint path of the leaves ``segment - 1`` and ``segment``, as in the specification."""
        if segment == 0:
            return self.path(0)
        apart = (segment & -segment).bit_length() - 1
        left, right = self.path(segment - 1), self.path(segment)
        pairs = tuple(digest for pair in zip(left[:apart], right[:apart], strict=True) for digest in pair)
        return pairs + right[apart + 1 :]

    def nodes(self, height: int, position: int) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Give the answer to a trace request: the nodes at most 8 levels below a node, and its path.

        Nodes above the members' roots reach down to those and no further: a member without a word has nothing
        below its root.

        Args:
            height: Levels between the node and the leaves, 1..depth.
            position: Position of the node on its level; its subtree is the member's, or above it.

        Returns:
            Nodes from the left, and siblings from the node up.

        Raises:
            InputError: The node is not in or above the member's part; fault of the caller.
        """
        split = self.member.depth
        if not is_in_trace(self.index, split, self.depth, height, position):
            raise InputError(f"node {position} at height {height} has nothing to do with member {self.index}")
        if height <= split:
            inside = position - (self.index << (split - height))
            return (
                self.member.below(height, inside, min(height, ANSWER_LEVELS)),
                self.member.path(inside, height) + self.members.path(self.index),
            )
        above = height - split
        return (
            self.members.below(above, position, min(above, ANSWER_LEVELS)),
            self.members.path(position, above),
        )


def is_in_trace(index: int, depth: int, total: int, height: int, position: int) -> bool:
    """Tell whether a node is in a member's part of the trace, or above it."""
    if not 1 <= height <= total:
        return False
    if height < depth:
        return position >> (depth - height) == index
    return position == index >> (height - depth)


def climb(digest: bytes, position: int, siblings: Sequence[bytes]) -> bytes:
    """Give the root above a node."""
    for sibling in siblings:
        digest = node_digest(sibling, digest) if position & 1 else node_digest(digest, sibling)
        position >>= 1
    return digest


def climb_step(before: bytes, after: bytes, position: int, siblings: Sequence[bytes]) -> bytes:
    """Give the root above two leaves that follow each other; ``position`` is the right one's, not 0."""
    apart = (position & -position).bit_length() - 1
    for level in range(apart):
        before = node_digest(siblings[2 * level], before)
        after = node_digest(after, siblings[2 * level + 1])
    return climb(node_digest(before, after), position >> (apart + 1), siblings[2 * apart :])


def trace_leaf(state: bytes) -> bytes:
    """Hash a state: sha256(0x20 || state of 1,544 bytes)."""
    return sha256(TRACE_TAG + state).digest()
