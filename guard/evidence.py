"""What is posted about one member: its status, and word, norm and exponent of its update."""

from dataclasses import dataclass
from enum import IntEnum

from guard.errors import EvidenceShapeError, RangeError

MEMBERS_MAX = 256
EXPONENT_MIN = -64
EXPONENT_MAX = 63
NORM2_MAX = 2**64 - 1
CODE_MAX = 2**256 - 1


class Status(IntEnum):
    """What became of a member's contribution in one round."""

    ABSENT = 0
    COMMITTED = 1
    UNAVAILABLE = 2
    MALFORMED = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """What a guard posts for one update that it could assay.

    Attributes:
        code: The word, 0 <= code < 2^256.
        norm2: Sum of the squares of its int8 values, 0 <= norm2 < 2^64.
        exponent: The values are q * 2^exponent; -64..63.

    Raises:
        RangeError: A field does not fit; fault of the caller.
    """

    code: int
    norm2: int
    exponent: int

    def __post_init__(self) -> None:
        check_range("code", self.code, 0, CODE_MAX)
        check_range("norm2", self.norm2, 0, NORM2_MAX)
        check_range("exponent", self.exponent, EXPONENT_MIN, EXPONENT_MAX)


@dataclass(frozen=True, slots=True)
class WorkerEvidence:
    """What a round has on one worker, or on one of several guards.

    Attributes:
        status: What became of its contribution.
        reading: What was posted for it; there is one exactly when the status is COMMITTED.

    Raises:
        EvidenceShapeError: Status and reading do not fit together; fault of the caller.
    """

    status: Status
    reading: Reading | None = None

    def __post_init__(self) -> None:
        if (self.status == Status.COMMITTED) != (self.reading is not None):
            raise EvidenceShapeError(f"a member with status {self.status.name} and reading {self.reading}")


ABSENT = WorkerEvidence(Status.ABSENT)
UNAVAILABLE = WorkerEvidence(Status.UNAVAILABLE)
MALFORMED = WorkerEvidence(Status.MALFORMED)


def check_range(field: str, value: int, low: int, high: int) -> None:
    """Refuse a number outside of [low, high].

    Raises:
        RangeError: It is; fault of the caller.
    """
    if not low <= value <= high:
        raise RangeError(field, value, low, high)
