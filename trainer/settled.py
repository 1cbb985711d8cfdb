"""A round's settlement: what is posted for it, and what its record covers."""

from collections.abc import Sequence

from guard.committee import committee_reading
from guard.gate import Status, WorkerEvidence
from guard.settlement import SEED_PREFIX_BYTES, Settlement
from guard.state import Decision
from ledger import digests


def draft_settlement(
    workers: Sequence[WorkerEvidence],
    guards: Sequence[WorkerEvidence],
    trace_root: bytes = bytes(32),
    seed: bytes = bytes(32),
) -> Settlement:
    """Give what is to be posted for a round, but for median and poster, which are 0.

    Args:
        workers: All workers, in cohort order.
        guards: All guards, in cohort order, also if there is only one.
        trace_root: The round's trace root, 32 bytes.
        seed: The round's seed, 32 bytes.

    Raises:
        QuorumError: Fewer guards have a reading than make a majority; fault of who did not deliver.
    """
    everybody = tuple(guards)
    listed = everybody if len(everybody) > 1 else ()
    return Settlement(
        committee_reading(everybody),
        0,
        tuple(workers),
        trace_root,
        guards=listed,
        seed_prefix=seed[:SEED_PREFIX_BYTES],
    )


def claimed(posted: Settlement) -> tuple[WorkerEvidence, ...]:
    """Give what was posted about every member, in cohort order; one guard's reading is the anchor."""
    return posted.workers + (posted.guards or (WorkerEvidence(Status.COMMITTED, posted.anchor),))


def settled_facts(presence: int, seed: bytes, payload: bytes, decision: Decision) -> digests.Settlement:
    """Give what the settled digest D2 of a round covers.

    Args:
        presence: Bitmap of the members that had committed at the seal, the guard's bit included.
        seed: The round's seed, 32 bytes.
        payload: The bytes posted to `settle`.
        decision: What follows from them.

    Source:
        docs/spec/ledger.md, "Records".
    """
    return digests.Settlement(
        presence=presence,
        seed=seed,
        payload=payload,
        approved=decision.verdict.approved,
        yardstick_before=decision.evidence.yardstick,
        yardstick_after=decision.after.yardstick,
        lanes_before=decision.evidence.lane_words,
        lanes_after=decision.verdict.lane_words,
    )
