"""The bytes that ``settle`` takes: what a guard posts for one round."""

import struct
from dataclasses import dataclass

from guard.committee import check_guard_count, check_guards
from guard.errors import EvidenceShapeError, PayloadError, QuorumError, RangeError
from guard.gate import MEMBERS_MAX, Reading, Status, WorkerEvidence

HEAD_BYTES = 160
BYTES_PER_WORKER = 41
"""Bytes of one entry: a present worker's, or a present guard's of several."""

SEED_PREFIX_BYTES = 20
"""So much of the round's seed is in the header."""

_HEAD = struct.Struct(">32s32s32s32sQbhB20s")


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a guard posts: the anchor's reading, the median, and every member's status and reading.

    Attributes:
        anchor: Reading of the guard's anchor; of several guards the committee's.
        median: Upper median of the judged scores, copies left out, -256..256.
        workers: All members of the cohort but the guards, in cohort order; at most 255.
        trace_root: The round's trace root, 32 bytes; zero if nothing vouches for the words.
        poster: Number of the guard that posts it, 0..14; it vouches for all of it.
        guards: Of a cohort with several guards all of them, in cohort order; empty for one guard.
        seed_prefix: The first 20 bytes of the seed under which the words were made; zero if nothing is to be
            posted. The contract refuses a round's settlement that names another seed.
    """

    anchor: Reading
    median: int
    workers: tuple[WorkerEvidence, ...]
    trace_root: bytes = bytes(32)
    poster: int = 0
    guards: tuple[WorkerEvidence, ...] = ()
    seed_prefix: bytes = bytes(SEED_PREFIX_BYTES)

    @property
    def guard_count(self) -> int:
        """Number of guards of the cohort."""
        return max(1, len(self.guards))

    @property
    def entries(self) -> tuple[WorkerEvidence, ...]:
        """The members that have an entry when they are present: the workers, and several guards."""
        return self.workers + self.guards

    @property
    def presence(self) -> int:
        """Bit i is set iff member i committed; the bit of one guard, which has no entry, is not in it."""
        return sum(1 << i for i, member in enumerate(self.entries) if member.status != Status.ABSENT)


def encode_settlement(settlement: Settlement) -> bytes:
    """Give the payload of ``settle``.

    Args:
        settlement: What is to be posted.

    Returns:
        160 + 41 n bytes, n being the number of workers, and of several guards, that committed.

    Raises:
        RangeError: The median or the poster is out of range, the trace root has not 32 or the seed's prefix
            not 20 bytes, or there are more than 15 guards; fault of the caller.
        EvidenceShapeError: There are more than 256 members, an even number of guards, or the anchor is not
            their committee's reading; fault of the caller.
        QuorumError: Too few of several guards have a reading; fault of whoever did not deliver.

    Source:
        docs/spec/ledger.md, Settle.
    """
    if not -256 <= settlement.median <= 256:
        raise RangeError("median", settlement.median, -256, 256)
    if len(settlement.trace_root) != 32:
        raise RangeError("bytes of the trace root", len(settlement.trace_root), 32, 32)
    if len(settlement.seed_prefix) != SEED_PREFIX_BYTES:
        size = len(settlement.seed_prefix)
        raise RangeError("bytes of the seed's prefix", size, SEED_PREFIX_BYTES, SEED_PREFIX_BYTES)
    members = len(settlement.workers) + settlement.guard_count
    if members > MEMBERS_MAX:
        raise EvidenceShapeError(f"{members} members, a cohort has at most {MEMBERS_MAX}")
    if not 0 <= settlement.poster < settlement.guard_count:
        raise RangeError("poster", settlement.poster, 0, settlement.guard_count - 1)
    if settlement.guards:
        check_guards(settlement.guards, settlement.anchor)
    entries = settlement.entries
    readings = [member.reading or Reading(0, 0, 0) for member in entries if member.status != Status.ABSENT]
    head = _HEAD.pack(
        settlement.anchor.code.to_bytes(32, "big"),
        settlement.trace_root,
        _with_status(entries, Status.UNAVAILABLE).to_bytes(32, "big"),
        _with_status(entries, Status.MALFORMED).to_bytes(32, "big"),
        settlement.anchor.norm2,
        settlement.anchor.exponent,
        settlement.median,
        settlement.poster,
        settlement.seed_prefix,
    )
    return b"".join(
        (
            head,
            *(reading.code.to_bytes(32, "big") for reading in readings),
            struct.pack(f">{len(readings)}Q", *(reading.norm2 for reading in readings)),
            struct.pack(f">{len(readings)}b", *(reading.exponent for reading in readings)),
        )
    )


def _with_status(members: tuple[WorkerEvidence, ...], status: Status) -> int:
    return sum(1 << index for index, member in enumerate(members) if member.status == status)


def decode_settlement(payload: bytes, presence: int, workers: int, guards: int = 1) -> Settlement:
    """Read a payload of ``settle``.

    Args:
        payload: The bytes from the transaction; any.
        presence: The round's presence bitmap; bits of members that have no entry (the one guard's) are
            ignored.
        workers: Number of members but the guards, 0..255.
        guards: Number of guards of the cohort, odd, 1..15.

    Returns:
        What was posted. The median is not checked (:func:`guard.gate.judge` does), nor are trace root and
        seed. Of several guards, that the header is their committee's reading is.

    Raises:
        PayloadError: The payload breaks a rule of the page; fault of who posted it.
        RangeError: There is no such cohort; fault of the caller.
        EvidenceShapeError: The number of guards is even; fault of the caller.

    Source:
        docs/spec/ledger.md, Settle.
    """
    check_guard_count(guards)
    if not 0 <= workers <= MEMBERS_MAX - guards:
        raise RangeError("workers", workers, 0, MEMBERS_MAX - guards)
    members = workers if guards == 1 else workers + guards
    present = [index for index in range(members) if presence >> index & 1]
    n = len(present)
    if len(payload) != HEAD_BYTES + BYTES_PER_WORKER * n:
        raise PayloadError(f"{len(payload)} bytes for {n} entries, not {HEAD_BYTES + BYTES_PER_WORKER * n}")
    head = _HEAD.unpack_from(payload)
    code, trace_root, unavailable32, malformed32, norm2, exponent, median, poster, seed_prefix = head
    if poster >= guards:
        raise PayloadError(f"guard {poster} is named as the poster, there are {guards}")
    unavailable, malformed = int.from_bytes(unavailable32, "big"), int.from_bytes(malformed32, "big")
    here = presence & ((1 << members) - 1)
    if unavailable & malformed or (unavailable | malformed) & ~here:
        raise PayloadError("the bitmaps of unavailable and malformed members overlap or name an absent one")
    if not -256 <= median <= 256:
        raise PayloadError(f"the median {median} is outside of [-256, 256]")

    codes = payload[HEAD_BYTES : HEAD_BYTES + 32 * n]
    norms = struct.unpack_from(f">{n}Q", payload, HEAD_BYTES + 32 * n)
    exponents = struct.unpack_from(f">{n}b", payload, HEAD_BYTES + 40 * n)
    evidence = [WorkerEvidence(Status.ABSENT)] * members
    try:
        anchor = Reading(int.from_bytes(code, "big"), norm2, exponent)
        for k, index in enumerate(present):
            reading = Reading(int.from_bytes(codes[32 * k : 32 * k + 32], "big"), norms[k], exponents[k])
            faulty = unavailable >> index & 1 or malformed >> index & 1
            if not faulty:
                evidence[index] = WorkerEvidence(Status.COMMITTED, reading)
                continue
            if reading != Reading(0, 0, 0):
                raise PayloadError(f"member {index} has no reading, but something is posted for it")
            status = Status.UNAVAILABLE if unavailable >> index & 1 else Status.MALFORMED
            evidence[index] = WorkerEvidence(status)
        if guards > 1:
            check_guards(evidence[workers:], anchor)
    except (RangeError, EvidenceShapeError, QuorumError) as error:
        raise PayloadError(str(error)) from error
    return Settlement(
        anchor, median, tuple(evidence[:workers]), trace_root, poster, tuple(evidence[workers:]), seed_prefix
    )
