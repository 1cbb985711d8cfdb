"""What a settled record covers, from what was posted and what follows from it."""

from guard.state import Decision
from ledger import digests


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
