"""docs/spec/trace.md: running sums after every segment, their leaves and roots."""

from collections.abc import Sequence
from hashlib import sha256

from guard.spec import sketch, update

SEGMENT = 8192
STATE = 1544


def encode_state(sums: Sequence[int], norm2: int) -> bytes:
    """Give the 1,544 bytes of a state."""
    return b"".join(value.to_bytes(6, "big", signed=True) for value in sums) + norm2.to_bytes(8, "big")


def states(seed: bytes, payload: bytes) -> list[bytes]:
    """Give state_0 .. state_S of the padded values, S segments."""
    sums, norm2 = [0] * sketch.OUTPUTS, 0
    found = [encode_state(sums, norm2)]
    for at in range(0, len(payload), SEGMENT):
        segment = payload[at : at + SEGMENT]
        sums = [a + b for a, b in zip(sums, sketch.project(seed, segment, at // sketch.ROW), strict=True)]
        norm2 += sketch.norm2(segment)
        found.append(encode_state(sums, norm2))
    return found


def leaf(state: bytes) -> bytes:
    """Give the leaf of the segment that ends in a state."""
    return sha256(b"\x20" + state).digest()


def leaves(seed: bytes, payload: bytes) -> list[bytes]:
    """Give leaf_0 .. leaf_{S-1}."""
    return [leaf(state) for state in states(seed, payload)[1:]]


def member_root(seed: bytes, payload: bytes) -> bytes:
    """Give traceRoot_i."""
    return update.tree(leaves(seed, payload))


def round_root(member_roots: Sequence[bytes]) -> bytes:
    """Give traceRoot: one root for each member in cohort order, 32 zero bytes for one without a word."""
    return update.tree(member_roots)
