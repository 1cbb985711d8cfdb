"""The compact batch, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.calldata import ITEM_BYTES, BatchFormError, SignedCommitment, decode_batch, encode_batch
from ledger.errors import InputError

items = st.builds(
    SignedCommitment,
    update_root=st.binary(min_size=32, max_size=32),
    tokens=st.integers(0, 2**64 - 1),
    signature=st.binary(min_size=64, max_size=64),
)


@given(st.dictionaries(st.integers(0, 255), items, max_size=8))
def test_batch_comes_back(batch: dict[int, SignedCommitment]) -> None:
    members, packed = encode_batch(batch)
    assert members == sum(1 << index for index in batch)
    assert len(packed) == ITEM_BYTES * len(batch) == 104 * len(batch)
    assert decode_batch(members, packed) == batch


def test_items_are_laid_out_as_the_page_says() -> None:
    one = SignedCommitment(b"\x01" * 32, 258, b"\x03" * 64)
    two = SignedCommitment(b"\x02" * 32, 1, b"\x04" * 64)
    members, packed = encode_batch({5: two, 0: one})
    assert members == 0b100001
    assert packed[:104] == b"\x01" * 32 + bytes([0, 0, 0, 0, 0, 0, 1, 2]) + b"\x03" * 64
    assert packed[104:136] == b"\x02" * 32


@pytest.mark.parametrize("size", [0, 103, 105, 208])
def test_length_that_does_not_fit_the_bitmap_is_a_proof_error(size: int) -> None:
    with pytest.raises(BatchFormError, match="1 members"):
        decode_batch(1, bytes(size))


@pytest.mark.parametrize(
    ("index", "item"),
    [
        (256, SignedCommitment(bytes(32), 0, bytes(64))),
        (-1, SignedCommitment(bytes(32), 0, bytes(64))),
        (0, SignedCommitment(bytes(32), 2**64, bytes(64))),
        (0, SignedCommitment(bytes(31), 0, bytes(64))),
        (0, SignedCommitment(bytes(32), 0, bytes(65))),
    ],
)
def test_what_does_not_fit_is_the_callers_fault(index: int, item: SignedCommitment) -> None:
    with pytest.raises(InputError):
        encode_batch({index: item})
