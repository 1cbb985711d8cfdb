"""The compact calldata of commitBatch, written and read.

docs/spec/ledger.md, "Commitments". (The settle payload belongs to the guard:
guard/settlement.py.)
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ledger.contribution import COMPACT_SIGNATURE_BYTES
from ledger.errors import InputError, ProofError

ITEM_BYTES = 32 + 8 + COMPACT_SIGNATURE_BYTES


class BatchFormError(ProofError):
    """A batch does not have the form of the spec; fault of who sent it."""

    code = "batch-form"


@dataclass(frozen=True, slots=True)
class SignedCommitment:
    """One member's entry in a batch.

    Attributes:
        update_root: 32 bytes.
        tokens: 0 <= tokens < 2**64.
        signature: 64 bytes, EIP-2098.
    """

    update_root: bytes
    tokens: int
    signature: bytes


def encode_batch(items: Mapping[int, SignedCommitment]) -> tuple[int, bytes]:
    """Pack commitments for commitBatch.

    Args:
        items: By cohort index, 0..255.

    Returns:
        The bitmap of members and the items' bytes, lowest index first.

    Raises:
        InputError: An index or a field is out of range; fault of the caller.
    """
    members, packed = 0, bytearray()
    for index in sorted(items):
        item = items[index]
        if not 0 <= index < 256 or not 0 <= item.tokens < 1 << 64:
            raise InputError(f"index {index} or tokens {item.tokens} out of range")
        if len(item.update_root) != 32 or len(item.signature) != COMPACT_SIGNATURE_BYTES:
            raise InputError(f"root or signature of member {index} has the wrong length")
        members |= 1 << index
        packed += item.update_root + item.tokens.to_bytes(8, "big") + item.signature
    return members, bytes(packed)


def decode_batch(members: int, items: bytes) -> dict[int, SignedCommitment]:
    """Unpack the arguments of commitBatch.

    Args:
        members: Bitmap, 0 <= members < 2**256.
        items: The packed entries.

    Returns:
        The entries by cohort index, lowest first.

    Raises:
        BatchFormError: Length and bitmap do not agree.
    """
    if len(items) != ITEM_BYTES * members.bit_count():
        raise BatchFormError(f"{members.bit_count()} members, but {len(items)} bytes of items")
    indices = [index for index in range(256) if members >> index & 1]
    return {
        index: SignedCommitment(
            update_root=items[start : start + 32],
            tokens=int.from_bytes(items[start + 32 : start + 40], "big"),
            signature=items[start + 40 : start + ITEM_BYTES],
        )
        for index, start in zip(indices, range(0, len(items), ITEM_BYTES), strict=True)
    }
