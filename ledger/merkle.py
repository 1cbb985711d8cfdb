"""Merkle trees over blocks of 8,192 bytes: the root while streaming, proofs, and their check."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

from ledger.errors import InputError, ProofError

BLOCK_BYTES = 8192
DIGEST_BYTES = 32
Buffer = bytes | bytearray | memoryview

_LEAF = sha256(b"\x00")
_NODE_TAG = b"\x01"
# Subtrees of this many levels are reduced at once: fewer Python steps than leaf by leaf, and 8 KiB of memory.
_BATCH_DEPTH = 8
_BATCH_LEAVES = 1 << _BATCH_DEPTH


class TreeInputError(InputError):
    """The bytes are not whole blocks, there are none, or an index is out of range."""

    code: ClassVar[str] = "tree_input"


class InclusionError(ProofError):
    """A Merkle proof does not lead from the leaf to the root.

    Attributes:
        index: Number of the leaf that was to be proven.
        expected_root: The root that it should lead to.
        actual_root: The root that it leads to; empty when the proof has the wrong length.
    """

    code: ClassVar[str] = "inclusion"

    def __init__(self, index: int, expected_root: bytes, actual_root: bytes) -> None:
        found = "0x" + actual_root.hex() if actual_root else "nowhere: its length does not fit the tree"
        super().__init__(f"the proof of leaf {index} leads to {found}, not to 0x{expected_root.hex()}")
        self.index = index
        self.expected_root = expected_root
        self.actual_root = actual_root


def _empty_roots() -> tuple[bytes, ...]:
    roots = [bytes(DIGEST_BYTES)]
    for _ in range(64):
        roots.append(sha256(_NODE_TAG + roots[-1] + roots[-1]).digest())
    return tuple(roots)


EMPTY_ROOTS = _empty_roots()
"""E_k, the root of an empty subtree of depth k."""


def leaf_digest(block: Buffer) -> bytes:
    """Hash one block: sha256(0x00 || block).

    Args:
        block: 8,192 bytes.

    Returns:
        32 bytes.

    Raises:
        TreeInputError: The block has another size; fault of the caller.

    Source:
        docs/spec/update.md, Root.
    """
    if len(block) != BLOCK_BYTES:
        raise TreeInputError(f"a block has {BLOCK_BYTES} bytes, not {len(block)}")
    return sha256(b"".join((b"\x00", block))).digest()


def node_digest(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into one: sha256(0x01 || left || right)."""
    return sha256(_NODE_TAG + left + right).digest()


def tree_depth(count: int) -> int:
    """Give the depth of the tree over ``count`` leaves: ceil(log2(count)).

    Raises:
        TreeInputError: There is no leaf; fault of the caller.
    """
    if count < 1:
        raise TreeInputError("a tree has at least one leaf")
    return (count - 1).bit_length()


class TreeBuilder:
    """The root of a tree whose blocks arrive in order, in memory of O(log blocks).

    Attributes:
        count: Blocks added so far.
    """

    __slots__ = ("_batch", "_stack", "count")

    def __init__(self) -> None:
        self.count = 0
        self._batch: list[bytes] = []
        # Roots of finished subtrees, deepest first, as (depth, root): the ones of a binary counter.
        self._stack: list[tuple[int, bytes]] = []

    def update(self, blocks: Buffer) -> None:
        """Add whole blocks.

        Args:
            blocks: k * 8,192 bytes, k >= 0, contiguous; not copied.

        Raises:
            TreeInputError: The size is not a multiple of 8,192; fault of the caller.
        """
        view = memoryview(blocks).cast("B")
        if len(view) % BLOCK_BYTES:
            raise TreeInputError(f"{len(view)} bytes are not whole blocks of {BLOCK_BYTES}")
        batch, fresh = self._batch, _LEAF.copy
        for at in range(0, len(view), BLOCK_BYTES):
            leaf = fresh()
            leaf.update(view[at : at + BLOCK_BYTES])
            batch.append(leaf.digest())
            if len(batch) == _BATCH_LEAVES:
                self._push(_BATCH_DEPTH, _reduce(batch, _BATCH_DEPTH))
                batch.clear()
        self.count += len(view) // BLOCK_BYTES

    def root(self) -> bytes:
        """Give the root over the blocks so far; more may follow.

        Returns:
            32 bytes.

        Raises:
            TreeInputError: There is no block yet; fault of the caller.

        Source:
            docs/spec/update.md, Root.
        """
        depth = tree_depth(self.count)
        if not self._stack:
            return _reduce(self._batch, depth)
        peaks = list(self._stack)
        if self._batch:
            peaks.append((_BATCH_DEPTH, _reduce(self._batch, _BATCH_DEPTH)))
        at, root = peaks.pop()
        while at < depth:
            # On the left is a finished subtree of the same depth, or on the right an empty one.
            if peaks and peaks[-1][0] == at:
                root = node_digest(peaks.pop()[1], root)
            else:
                root = node_digest(root, EMPTY_ROOTS[at])
            at += 1
        return root

    def _push(self, depth: int, root: bytes) -> None:
        while self._stack and self._stack[-1][0] == depth:
            root = node_digest(self._stack.pop()[1], root)
            depth += 1
        self._stack.append((depth, root))


def _reduce(leaves: Sequence[bytes], depth: int) -> bytes:
    """Give the root of the perfect tree of a depth; missing leaves are empty."""
    level = list(leaves)
    for k in range(depth):
        if len(level) % 2:
            level.append(EMPTY_ROOTS[k])
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [sha256(_NODE_TAG + left + right).digest() for left, right in pairs]
    return level[0] if level else EMPTY_ROOTS[depth]


def tree_root(blocks: Buffer) -> bytes:
    """Give the root over whole blocks.

    Args:
        blocks: k * 8,192 bytes, k >= 1, contiguous.

    Returns:
        32 bytes.

    Raises:
        TreeInputError: There is no block, or a partial one; fault of the caller.

    Source:
        docs/spec/update.md, Root.
    """
    builder = TreeBuilder()
    builder.update(blocks)
    return builder.root()


def padded_tree_root(data: Buffer) -> bytes:
    """Give the root over bytes of any size >= 1, the last block filled up with zeros.

    Raises:
        TreeInputError: There are no bytes; fault of the caller.
    """
    view = memoryview(data).cast("B")
    whole = len(view) // BLOCK_BYTES * BLOCK_BYTES
    builder = TreeBuilder()
    builder.update(view[:whole])
    if whole < len(view):
        builder.update(bytes(view[whole:]).ljust(BLOCK_BYTES, b"\0"))
    return builder.root()


def digest_tree_root(digests: Buffer) -> bytes:
    """Give the root over leaves that are digests already.

    Args:
        digests: n * 32 bytes, n >= 1, contiguous: leaf_0 || leaf_1 || ...

    Returns:
        32 bytes: the root of the perfect binary tree of depth ceil(log2 n), missing leaves being zero.

    Raises:
        TreeInputError: There is no digest, or a partial one; fault of the caller.

    Source:
        docs/spec/update.md, Root; docs/spec/trace.md, Roots.
    """
    leaves = _digests(digests)
    return _reduce(leaves, tree_depth(len(leaves)))


def _digests(digests: Buffer) -> list[bytes]:
    data = bytes(digests)
    if not data or len(data) % DIGEST_BYTES:
        raise TreeInputError(f"{len(data)} bytes are not one or more digests of {DIGEST_BYTES}")
    return [data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES)]


@dataclass(frozen=True, slots=True)
class Inclusion:
    """A proof that a leaf is in a tree.

    Attributes:
        index: Number of the leaf, from 0.
        count: Number of leaves of the tree, from which the depth follows.
        siblings: One digest of 32 bytes for each level, from the leaf upwards.
    """

    index: int
    count: int
    siblings: tuple[bytes, ...]


def prove(blocks: Buffer, index: int) -> Inclusion:
    """Give the proof of one block.

    Args:
        blocks: All blocks of the tree, k * 8,192 bytes.
        index: Number of the block, 0 <= index < k.

    Returns:
        The proof, ceil(log2 k) siblings.

    Raises:
        TreeInputError: There is no such block, or a partial one; fault of the caller.
    """
    view = memoryview(blocks).cast("B")
    if len(view) % BLOCK_BYTES:
        raise TreeInputError(f"{len(view)} bytes are not whole blocks of {BLOCK_BYTES}")
    return _prove(
        [leaf_digest(view[at : at + BLOCK_BYTES]) for at in range(0, len(view), BLOCK_BYTES)], index
    )


def prove_digest(digests: Buffer, index: int) -> Inclusion:
    """Give the proof of one leaf of :func:`digest_tree_root`.

    Args:
        digests: All leaves, n * 32 bytes, n >= 1.
        index: Number of the leaf, 0 <= index < n.

    Returns:
        The proof, ceil(log2 n) siblings.

    Raises:
        TreeInputError: There is no such leaf, or a partial one; fault of the caller.
    """
    return _prove(_digests(digests), index)


def _prove(leaves: list[bytes], index: int) -> Inclusion:
    count = len(leaves)
    if not 0 <= index < count:
        raise TreeInputError(f"there is no block {index} among {count}")
    level = leaves
    siblings = []
    for k in range(tree_depth(count)):
        if len(level) % 2:
            level.append(EMPTY_ROOTS[k])
        siblings.append(level[(index >> k) ^ 1])
        level = [node_digest(left, right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return Inclusion(index, count, tuple(siblings))


def verify_inclusion(root: bytes, leaf: bytes, proof: Inclusion) -> None:
    """Check that a leaf digest is where a proof says.

    Args:
        root: The root that is trusted, 32 bytes.
        leaf: What :func:`leaf_digest` gives for the block.
        proof: The proof; its ``count`` must come from a trusted header, never from whoever sent the proof.

    Raises:
        TreeInputError: The index is not one of ``count`` leaves; fault of the caller.
        InclusionError: The proof has the wrong length or leads to another root; fault of who published it.
    """
    if not 0 <= proof.index < proof.count:
        raise TreeInputError(f"there is no block {proof.index} among {proof.count}")
    if len(proof.siblings) != tree_depth(proof.count) or any(len(s) != DIGEST_BYTES for s in proof.siblings):
        raise InclusionError(proof.index, root, b"")
    digest = leaf
    for k, sibling in enumerate(proof.siblings):
        digest = node_digest(sibling, digest) if proof.index >> k & 1 else node_digest(digest, sibling)
    if digest != root:
        raise InclusionError(proof.index, root, digest)
