from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.spec import update as spec
from ledger.errors import LedgerError
from ledger.merkle import (
    BLOCK_BYTES,
    EMPTY_ROOTS,
    Inclusion,
    InclusionError,
    TreeBuilder,
    TreeInputError,
    digest_tree_root,
    leaf_digest,
    padded_tree_root,
    prove,
    prove_digest,
    tree_depth,
    tree_root,
    verify_inclusion,
)


def blocks(count: int) -> bytes:
    return b"".join(i.to_bytes(4, "big") * (BLOCK_BYTES // 4) for i in range(count))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 255, 256, 257, 511, 512, 513, 767, 769, 1025])
def test_tree_root_equals_spec(count: int) -> None:
    data = blocks(count)
    assert tree_root(data) == spec.tree_of_blocks(data)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_builder_does_not_depend_on_pieces(sizes: list[int]) -> None:
    data = blocks(sum(sizes) + 1)
    builder = TreeBuilder()
    at = 0
    for size in [*sizes, 1]:
        builder.update(memoryview(data)[at : at + size * BLOCK_BYTES])
        at += size * BLOCK_BYTES
        if builder.count:
            assert builder.root() == spec.tree_of_blocks(data[:at])
    assert builder.count == sum(sizes) + 1


@given(st.integers(1, 70), st.data())
@settings(deadline=None)
def test_proof_leads_to_root_and_nothing_else_does(count: int, data: st.DataObject) -> None:
    content = blocks(count)
    root = tree_root(content)
    index = data.draw(st.integers(0, count - 1))
    proof = prove(content, index)
    leaf = leaf_digest(content[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES])
    verify_inclusion(root, leaf, proof)

    with pytest.raises(InclusionError):
        verify_inclusion(root, bytes(32), proof)
    if count > 1:
        other = (index + 1) % count
        with pytest.raises(InclusionError):
            verify_inclusion(root, leaf, Inclusion(other, count, proof.siblings))
        with pytest.raises(InclusionError):
            verify_inclusion(root, leaf, Inclusion(index, count, proof.siblings[:-1]))
        k = data.draw(st.integers(0, len(proof.siblings) - 1))
        wrong = (*proof.siblings[:k], bytes(32 * [255]), *proof.siblings[k + 1 :])
        with pytest.raises(InclusionError):
            verify_inclusion(root, leaf, Inclusion(index, count, wrong))


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40), st.data())
def test_tree_over_digests_equals_spec_and_proves_them(leaves: list[bytes], data: st.DataObject) -> None:
    joined = b"".join(leaves)
    root = digest_tree_root(joined)
    assert root == spec.tree(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = prove_digest(joined, index)
    verify_inclusion(root, leaves[index], proof)
    with pytest.raises(InclusionError):
        verify_inclusion(root, bytes(31) + b"\xee", proof)


def test_node_cannot_stand_for_leaf() -> None:
    """Leaves and nodes have other tags."""
    data = blocks(2)
    left, right = (leaf_digest(data[at : at + BLOCK_BYTES]) for at in (0, BLOCK_BYTES))
    with pytest.raises(TreeInputError):
        leaf_digest(left + right)
    assert tree_root(data) == spec.node(left, right) != sha256(b"\x00" + left + right).digest()


def test_proof_of_depth_zero() -> None:
    data = blocks(1)
    assert prove(data, 0) == Inclusion(0, 1, ())
    verify_inclusion(tree_root(data), leaf_digest(data), Inclusion(0, 1, ()))


def test_empty_roots_are_nodes_of_nothing() -> None:
    assert EMPTY_ROOTS[0] == bytes(32)
    assert EMPTY_ROOTS[3] == spec.tree([bytes(32)] * 8)


@pytest.mark.parametrize("size", [1, 8191, 8192, 8193, 20000])
def test_padded_root_is_the_root_of_padded_bytes(size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    assert padded_tree_root(data) == tree_root(data + bytes(-size % BLOCK_BYTES))


def test_depths() -> None:
    assert [tree_depth(n) for n in (1, 2, 3, 4, 5, 8, 9)] == [0, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize(
    "call",
    [
        lambda: tree_root(b""),
        lambda: tree_root(bytes(100)),
        lambda: padded_tree_root(b""),
        lambda: TreeBuilder().root(),
        lambda: prove(bytes(BLOCK_BYTES), 1),
        lambda: prove(bytes(100), 0),
        lambda: prove_digest(bytes(64), 2),
        lambda: prove_digest(bytes(64), -1),
        lambda: prove_digest(bytes(33), 0),
        lambda: digest_tree_root(b""),
        lambda: digest_tree_root(bytes(31)),
        lambda: tree_depth(0),
        lambda: verify_inclusion(bytes(32), bytes(32), Inclusion(2, 2, (bytes(32),))),
    ],
)
def test_impossible_input_is_refused(call: object) -> None:
    with pytest.raises(LedgerError):
        call()  # type: ignore[operator]
