"""The bytes that ``settle`` takes: what a guard posts for one round."""

import struct
from dataclasses import dataclass

from guard.errors import EvidenceShapeError, PayloadError, RangeError
from guard.gate import MEMBERS_MAX, Reading, Status, WorkerEvidence

HEAD_BYTES = 160
BYTES_PER_WORKER = 41

_HEAD = struct.Struct(">32s32s32s32sQbh21s")


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a guard posts: the anchor's reading, the median, and every worker's status and reading.

    Attributes:
        anchor: Reading of the guard's anchor.
        median: Upper median of the judged scores, -256..256.
        workers: All members of the cohort but the guard, in cohort order; at most 255.
        trace_root: The round's trace root, 32 bytes; zero if nothing vouches for the words.
    """

    anchor: Reading
    median: int
    workers: tuple[WorkerEvidence, ...]
    trace_root: bytes = bytes(32)

    @property
    def presence(self) -> int:
        """Bit i is set iff worker i committed; the guard's own bit is not in it."""
        return sum(1 << i for i, worker in enumerate(self.workers) if worker.status != Status.ABSENT)


def encode_settlement(settlement: Settlement) -> bytes:
    """Give the payload of ``settle``.

    Args:
        settlement: What is to be posted.

    Returns:
        160 + 41 n bytes, n being the number of workers that committed.

    Raises:
        RangeError: The median is out of range, or the trace root has not 32 bytes; fault of the caller.
        EvidenceShapeError: There are more than 255 workers; fault of the caller.

    Source:
        docs/spec/ledger.md, Settle.
    """
    if not -256 <= settlement.median <= 256:
        raise RangeError("median", settlement.median, -256, 256)
    if len(settlement.trace_root) != 32:
        raise RangeError("bytes of the trace root", len(settlement.trace_root), 32, 32)
    if len(settlement.workers) >= MEMBERS_MAX:
        raise EvidenceShapeError(f"{len(settlement.workers)} workers, a cohort has at most {MEMBERS_MAX - 1}")
    readings = [w.reading or Reading(0, 0, 0) for w in settlement.workers if w.status != Status.ABSENT]
    head = _HEAD.pack(
        settlement.anchor.code.to_bytes(32, "big"),
        settlement.trace_root,
        _with_status(settlement.workers, Status.UNAVAILABLE).to_bytes(32, "big"),
        _with_status(settlement.workers, Status.MALFORMED).to_bytes(32, "big"),
        settlement.anchor.norm2,
        settlement.anchor.exponent,
        settlement.median,
        bytes(21),
    )
    return b"".join(
        (
            head,
            *(reading.code.to_bytes(32, "big") for reading in readings),
            struct.pack(f">{len(readings)}Q", *(reading.norm2 for reading in readings)),
            struct.pack(f">{len(readings)}b", *(reading.exponent for reading in readings)),
        )
    )


def _with_status(workers: tuple[WorkerEvidence, ...], status: Status) -> int:
    return sum(1 << index for index, worker in enumerate(workers) if worker.status == status)


def decode_settlement(payload: bytes, presence: int, workers: int) -> Settlement:
    """Read a payload of ``settle``.

    Args:
        payload: The bytes from the transaction; any.
        presence: The round's presence bitmap; bits from ``workers`` on (the guard's) are ignored.
        workers: Number of members but the guard, 0..255.

    Returns:
        What was posted. The median is not checked (:func:`guard.gate.judge` does), nor is the trace root.

    Raises:
        PayloadError: The payload breaks a rule of the page; fault of who posted it.

    Source:
        docs/spec/ledger.md, Settle.
    """
    present = [index for index in range(workers) if presence >> index & 1]
    n = len(present)
    if len(payload) != HEAD_BYTES + BYTES_PER_WORKER * n:
        raise PayloadError(f"{len(payload)} bytes for {n} workers, not {HEAD_BYTES + BYTES_PER_WORKER * n}")
    code, trace_root, unavailable32, malformed32, norm2, exponent, median, zero = _HEAD.unpack_from(payload)
    if any(zero):
        raise PayloadError("a reserved field is not zero")
    unavailable, malformed = int.from_bytes(unavailable32, "big"), int.from_bytes(malformed32, "big")
    here = presence & ((1 << workers) - 1)
    if unavailable & malformed or (unavailable | malformed) & ~here:
        raise PayloadError("the bitmaps of unavailable and malformed workers overlap or name an absent one")
    if not -256 <= median <= 256:
        raise PayloadError(f"the median {median} is outside of [-256, 256]")

    codes = payload[HEAD_BYTES : HEAD_BYTES + 32 * n]
    norms = struct.unpack_from(f">{n}Q", payload, HEAD_BYTES + 32 * n)
    exponents = struct.unpack_from(f">{n}b", payload, HEAD_BYTES + 40 * n)
    evidence = [WorkerEvidence(Status.ABSENT)] * workers
    try:
        anchor = Reading(int.from_bytes(code, "big"), norm2, exponent)
        for k, index in enumerate(present):
            reading = Reading(int.from_bytes(codes[32 * k : 32 * k + 32], "big"), norms[k], exponents[k])
            faulty = unavailable >> index & 1 or malformed >> index & 1
            if not faulty:
                evidence[index] = WorkerEvidence(Status.COMMITTED, reading)
                continue
            if reading != Reading(0, 0, 0):
                raise PayloadError(f"worker {index} has no reading, but something is posted for it")
            status = Status.UNAVAILABLE if unavailable >> index & 1 else Status.MALFORMED
            evidence[index] = WorkerEvidence(status)
    except RangeError as error:
        raise PayloadError(str(error)) from error
    return Settlement(anchor, median, tuple(evidence), trace_root)
