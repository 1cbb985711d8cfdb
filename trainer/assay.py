"""The assay: one pass over the bytes of an update gives its root, word and norm, or why it is malformed."""

from dataclasses import dataclass

import numpy as np

from guard.gate import Reading, Status, WorkerEvidence
from guard.signs import SeedSigns
from guard.sketch import Engine, Sketch
from guard.trace import Tracer
from ledger.merkle import BLOCK_BYTES, Buffer, TreeBuilder
from ledger.update import (
    HEADER_BYTES,
    ROW_VALUES,
    MalformedReason,
    UpdateFacts,
    UpdateHeader,
    bind_root,
    check_header,
    has_root,
)

# Hash and sketch take turns on pieces that stay in the second-level cache, so memory is read once.
_PIECE_BYTES = 32 * BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Assay:
    """What the bytes of one update turned out to be.

    Attributes:
        root: Their root, None if they have none.
        status: COMMITTED if sound, MALFORMED, or UNAVAILABLE if the bytes are not the committed ones.
        reason: The rule that a malformed update breaks, else None.
        code: The word, 0 unless the status is COMMITTED.
        norm2: Sum of squares, 0 unless the status is COMMITTED.
        exponent: Exponent of the update, 0 unless the status is COMMITTED.
        leaves: Leaves of its trace, 32 bytes a segment; empty unless they were asked for and the status is
            COMMITTED.
    """

    root: bytes | None
    status: Status
    reason: MalformedReason | None = None
    code: int = 0
    norm2: int = 0
    exponent: int = 0
    leaves: bytes = b""

    @property
    def reading(self) -> Reading | None:
        """What the guard posts, None unless the status is COMMITTED."""
        return Reading(self.code, self.norm2, self.exponent) if self.status == Status.COMMITTED else None

    @property
    def evidence(self) -> WorkerEvidence:
        """What the round has on the worker."""
        return WorkerEvidence(self.status, self.reading)


def assay(
    data: Buffer,
    expected: UpdateFacts,
    seed: bytes | SeedSigns,
    *,
    committed_root: bytes | None = None,
    engine: Engine = Engine.AUTO,
    with_trace: bool = False,
) -> Assay:
    """Assay the bytes that were delivered for one contribution.

    Bytes with another root than the committed one, those that have no root at all and those that a tree of
    the expected depth does not hold are not that update: they count as not delivered. A refused update is a
    result, never an exception.

    Args:
        data: The bytes, contiguous; not copied.
        expected: What the header must say.
        seed: The round's seed, 32 bytes, or the signs drawn from it: updates of one round can share them.
        committed_root: The root in the contribution; None takes whatever root the bytes have.
        engine: Which code computes the sketch; the integers are the same.
        with_trace: Whether to make the leaves of the trace in the same pass; it takes about a quarter longer.

    Returns:
        Status, root, word, norm and exponent, and the trace if it was asked for.

    Raises:
        guard.errors.RangeError: The seed has not 32 bytes; fault of the caller.

    Source:
        docs/spec/update.md, docs/spec/sketch.md and docs/spec/trace.md.
    """
    view = memoryview(data).cast("B")
    signs = seed if isinstance(seed, SeedSigns) else SeedSigns(seed)
    if not has_root(len(view)) or len(view) > expected.readable_bytes:
        return Assay(None, Status.UNAVAILABLE)

    header, payload = view[:HEADER_BYTES], view[HEADER_BYTES:]
    reason = check_header(header, len(view), expected)
    sketch = None
    if reason is None:
        sketch = Sketch(signs, engine=engine, expected_rows=len(payload) // ROW_VALUES)
    tracer = None if sketch is None or not with_trace else Tracer(sketch)
    tree = TreeBuilder()
    for at in range(0, len(payload), _PIECE_BYTES):
        piece = payload[at : at + _PIECE_BYTES]
        tree.update(piece)
        if tracer is not None:
            tracer.update(piece)
        elif sketch is not None:
            sketch.update(piece)

    root = bind_root(header, tree.root())
    if committed_root is not None and root != committed_root:
        return Assay(root, Status.UNAVAILABLE)
    if reason is None and sketch is not None and sketch.has_minus_128:
        reason = MalformedReason.FORBIDDEN_VALUE
    if reason is None and np.frombuffer(payload[expected.length :], dtype=np.int8).any():
        reason = MalformedReason.PADDING
    if reason is not None or sketch is None:
        return Assay(root, Status.MALFORMED, reason)
    exponent = UpdateHeader.parse(header).exponent
    leaves = b"" if tracer is None else tracer.leaves()
    return Assay(root, Status.COMMITTED, None, sketch.code(), sketch.norm2, exponent, leaves)
