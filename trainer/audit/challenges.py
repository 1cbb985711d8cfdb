"""Which challenge overturns what an audit found false (docs/spec/challenge.md, "Kinds")."""

from guard.gate import Status

FALSE_SUMS = "segment"
"""For a false word or norm: the first segment whose sums in the trace are false."""

FALSE_END = "boundary"
"""For a false word or norm where the member's trace is there and right, and only what was posted is not."""

EXPONENT = "exponent"

FALSE_TRACE = "withheld"
"""For a trace root that is not the one of the bytes: whoever asks for its nodes gets false leaves, which
`segment` overturns, or no answer."""


def status_challenge(true: Status, posted: Status) -> str | None:
    """Give the challenge for a false status.

    Args:
        true: What the bytes are.
        posted: What the guard said they are.

    Returns:
        None for "unavailable": whether bytes came in time is not written in the bytes.
    """
    if posted == Status.COMMITTED and true == Status.MALFORMED:
        return "malformed"
    if posted == Status.MALFORMED and true == Status.COMMITTED:
        return "unfounded"
    return None


def missing_challenge(posted: Status) -> str | None:
    """Give the request that makes a guard show bytes that nobody has, or lose.

    Args:
        posted: What the guard said of the bytes.
    """
    return {Status.COMMITTED: "withheld", Status.MALFORMED: "unfounded"}.get(posted)
