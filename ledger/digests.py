"""The digests that a round's record goes through, as the contract computes them.

docs/spec/ledger.md, "Commitments", "Seal and seed", "Records".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from eth_abi.abi import encode
from eth_utils import keccak

from ledger.contribution import Domain

ROUND_TAG = keccak(text="hallmark.round.v1")
SEED_TAG = keccak(text="hallmark.seed.v1")
SETTLED_TAG = keccak(text="hallmark.settled.v1")
FINAL_TAG = keccak(text="hallmark.final.v1")
VOID_TAG = keccak(text="hallmark.void.v1")
SPEC_TAG = keccak(text="hallmark.spec.v1")

NO_DIGEST = bytes(32)

BLOCKHASH_REACH = 256
"""The EVM knows the hashes of so many blocks back; a seed that is not drawn by then is missed."""


class VoidReason(IntEnum):
    """Why a round was voided."""

    NO_ANCHOR = 1
    SEED_MISSED = 2
    SETTLE_OVERDUE = 3
    FALSE_ANCHOR = 4


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the settled digest covers beside the commitments.

    Attributes:
        presence: Bitmap of the members that had committed at the seal.
        seed: 32 bytes.
        payload: The bytes posted to `settle`.
        approved: Bitmap of the approved members.
        yardstick_before: uint32, docs/spec/gate.md.
        yardstick_after: The same after the round.
        lanes_before: Lane words, each 0 <= word < 2**256.
        lanes_after: The same after the round.
    """

    presence: int
    seed: bytes
    payload: bytes
    approved: int
    yardstick_before: int
    yardstick_after: int
    lanes_before: Sequence[int]
    lanes_after: Sequence[int]


def spec_digest(parameters: Sequence[int]) -> bytes:
    """Give the digest of the gate's constants, taken in the order of docs/spec/gate.md."""
    return keccak(encode(["bytes32", *["int256"] * len(parameters)], [SPEC_TAG, *parameters]))


def round_start(domain: Domain, run: int, round_: int, spec: bytes, previous: bytes, parent: bytes) -> bytes:
    """Give D0: the digest of a round before its first commitment."""
    types = ["bytes32", "uint256", "address", "uint256", "uint256", "bytes32", "bytes32", "bytes32"]
    return keccak(
        encode(types, [ROUND_TAG, domain.chain_id, domain.ledger, run, round_, spec, previous, parent])
    )


def append(accumulator: bytes, contribution_digest: bytes) -> bytes:
    """Give the digest of a round after one more commitment."""
    return keccak(accumulator + contribution_digest)


def seed(domain: Domain, run: int, round_: int, accumulator: bytes, block_hash: bytes) -> bytes:
    """Give the seed of a round; `block_hash` is that of the block after the seal."""
    types = ["bytes32", "uint256", "address", "uint256", "uint256", "bytes32", "bytes32"]
    return keccak(
        encode(types, [SEED_TAG, domain.chain_id, domain.ledger, run, round_, accumulator, block_hash])
    )


def settled(accumulator: bytes, settlement: Settlement) -> bytes:
    """Give D2: the digest of a settled round."""
    types = ["bytes32", "bytes32", "uint256", "bytes32", "bytes32", "uint256", "uint256", "uint256"]
    return keccak(
        encode(
            [*types, "bytes32", "bytes32"],
            [
                SETTLED_TAG,
                accumulator,
                settlement.presence,
                settlement.seed,
                keccak(settlement.payload),
                settlement.approved,
                settlement.yardstick_before,
                settlement.yardstick_after,
                lanes_digest(settlement.lanes_before),
                lanes_digest(settlement.lanes_after),
            ],
        )
    )


def final(settled_digest: bytes, model_root: bytes, weights_digest: bytes) -> bytes:
    """Give D3: the digest of a finalized round."""
    return keccak(
        encode(["bytes32"] * 4, [FINAL_TAG, settled_digest, model_root, weights_digest]),
    )


def void(last_digest: bytes, reason: VoidReason) -> bytes:
    """Give V: the digest of a void round; `last_digest` is D0 if nobody had committed."""
    return keccak(encode(["bytes32", "bytes32", "uint256"], [VOID_TAG, last_digest, int(reason)]))


def lanes_digest(words: Sequence[int]) -> bytes:
    """Give the digest of all lane words, 32 bytes each."""
    return keccak(b"".join(word.to_bytes(32, "big") for word in words))
