"""The traces of a round: members' roots, the round's root, paths, and both files in the blob store."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from guard.trace import LEAF_BYTES
from ledger.blobs import BlobKind, BlobStore
from ledger.merkle import TreeInputError, digest_tree_root, node_digest, prove_digest
from trainer.errors import InputError

NO_TRACE = bytes(LEAF_BYTES)
"""In place of the root of a member without a word, and of a round without a trace."""


@dataclass(frozen=True, slots=True)
class RoundTraces:
    """The traces of all members of one round.

    Attributes:
        roots: traceRoot_0 || traceRoot_1 || .., 32 bytes for each member in cohort order, the guard's last;
            zero where there is no word. These are the bytes that are stored under the round's root.
        leaves: leaf_0 || leaf_1 || .. of the members that have a word, by cohort index.
    """

    roots: bytes
    leaves: Mapping[int, bytes]

    @property
    def root(self) -> bytes:
        """The round's trace root, 32 bytes: what the guard posts."""
        return digest_tree_root(self.roots)

    def store(self, store: BlobStore) -> None:
        """Put all files into a blob store; what is there already is left as it is.

        Raises:
            BlobStoreFault: Disk or network failed; do it again.
        """
        for index, leaves in self.leaves.items():
            store.put(self.roots[LEAF_BYTES * index :][:LEAF_BYTES], leaves, BlobKind.TRACE)
        store.put(self.root, self.roots, BlobKind.TRACE)


def round_traces(leaves: Mapping[int, bytes], members: int) -> RoundTraces:
    """Join the traces of a round's members.

    Args:
        leaves: Leaves of the members that have a word, by cohort index: 32 bytes a segment.
        members: Size of the cohort, the guard included.

    Returns:
        The round's traces.

    Raises:
        TreeInputError: Somebody's leaves are none, or partial; fault of the caller.
        InputError: An index is not in the cohort; fault of the caller.

    Source:
        docs/spec/trace.md, Roots.
    """
    member_roots = {index: digest_tree_root(own) for index, own in leaves.items()}
    return RoundTraces(_roots(member_roots, members), dict(leaves))


def expected_root(
    member_roots: Mapping[int, bytes], with_word: Collection[int], members: int
) -> bytes | None:
    """Give the trace root that belongs to a settlement, from what was derived again.

    Args:
        member_roots: Trace roots by cohort index, derived from the bytes.
        with_word: Cohort indices of the members that the settlement has a word of, the guard's among them.
        members: Size of the cohort, the guard included.

    Returns:
        The root, or None if that of one of them is not known.

    Raises:
        InputError: An index is not in the cohort; fault of the caller.

    Source:
        docs/spec/trace.md, Roots.
    """
    if any(index not in member_roots for index in with_word):
        return None
    return digest_tree_root(_roots({index: member_roots[index] for index in with_word}, members))


def segment_path(roots: bytes, leaves: bytes, index: int, segment: int) -> tuple[bytes, ...]:
    """Give the path of one segment's leaf in the round's tree.

    Args:
        roots: Trace roots of all members, as :func:`load_roots` gives them.
        leaves: The member's leaves, as :func:`load_leaves` gives them.
        index: Cohort index of the member.
        segment: Number of the segment.

    Returns:
        Siblings from the leaf upwards: ceil(log2 S) in the member's tree, then ceil(log2 members).

    Raises:
        TreeInputError: There is no such member or segment; fault of the caller.
        InputError: The leaves are not those of the member; fault of the caller.
    """
    round_path = prove_digest(roots, index).siblings
    if digest_tree_root(leaves) != roots[LEAF_BYTES * index :][:LEAF_BYTES]:
        raise InputError(f"these leaves are not those of member {index}")
    return prove_digest(leaves, segment).siblings + round_path


def path_root(leaf: bytes, position: int, siblings: Collection[bytes]) -> bytes:
    """Give the root that a path leads to.

    Args:
        leaf: 32 bytes.
        position: For :func:`segment_path` it is index * 2^ceil(log2 S) + segment.
        siblings: From the leaf upwards.

    Returns:
        32 bytes.
    """
    digest = leaf
    for level, sibling in enumerate(siblings):
        digest = node_digest(sibling, digest) if position >> level & 1 else node_digest(digest, sibling)
    return digest


def load_roots(store: BlobStore, trace_root: bytes, members: int) -> bytes:
    """Read the trace roots of a round's members.

    Args:
        store: Where the files are.
        trace_root: The root that the guard posted.
        members: Size of the cohort, the guard included; never from the file.

    Returns:
        32 bytes for each member, zero where it has no word. They have that root.

    Raises:
        InputError: The posted root is zero: there is no trace.
        BlobMissingError: There is no such file, or not yet.
        BlobTooLargeError, BlobCorruptError: It is another file; fault of who stored it.
        BlobStoreFault: Disk or network failed.
    """
    return _load(store, trace_root, members)


def load_leaves(store: BlobStore, member_root: bytes, segments: int) -> bytes:
    """Read the leaves of one member's trace.

    Args:
        store: Where the files are.
        member_root: The member's trace root.
        segments: S, from the ledger's length; never from the file.

    Returns:
        32 bytes for each segment. They have that root.

    Raises:
        InputError: The root is zero: the member has no trace.
        BlobMissingError: There is no such file, or not yet.
        BlobTooLargeError, BlobCorruptError: It is another file; fault of who stored it.
        BlobStoreFault: Disk or network failed.
    """
    return _load(store, member_root, segments)


def _load(store: BlobStore, root: bytes, count: int) -> bytes:
    if root == NO_TRACE:
        raise InputError("a trace root of zero: there is no trace", hint="a member without a word has none")
    size = LEAF_BYTES * count
    return store.get(root, max_bytes=size, root_of=partial(_root_of, size), kind=BlobKind.TRACE)


def _root_of(size: int, data: bytes) -> bytes:
    # A shorter file can have the same root: it lacks leaves that are zero.
    if len(data) != size:
        raise TreeInputError(f"{len(data)} bytes, not {size}")
    return digest_tree_root(data)


def _roots(member_roots: Mapping[int, bytes], members: int) -> bytes:
    if any(not 0 <= index < members for index in member_roots):
        raise InputError(f"a member of {sorted(member_roots)} is not among {members}")
    return b"".join(member_roots.get(index, NO_TRACE) for index in range(members))
