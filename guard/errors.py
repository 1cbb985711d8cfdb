"""What can go wrong in the guard package, split by whose fault it is.

A refused contribution is a result and never one of these. The guard reads no
files and talks to nobody, so nothing here is the environment's fault.
"""

from typing import ClassVar


class GuardError(Exception):
    """Base of every error that this package raises.

    Attributes:
        code: Stable identifier for programs.
        hint: What the reader can do next; may be empty.
    """

    code: ClassVar[str] = "guard"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(GuardError):
    """The caller passed something that cannot be right."""

    code: ClassVar[str] = "guard_input"


class ProofError(GuardError):
    """Somebody published something false: a median, a payload, a value."""

    code: ClassVar[str] = "guard_proof"


class RangeError(InputError):
    """A number does not fit the field that it is meant for.

    Attributes:
        field: Name of the field.
        value: What was passed.
        low: Smallest value that fits.
        high: Largest value that fits.
    """

    code: ClassVar[str] = "guard_range"

    def __init__(self, field: str, value: int, low: int, high: int) -> None:
        super().__init__(f"{field} is {value}, outside of [{low}, {high}]")
        self.field = field
        self.value = value
        self.low = low
        self.high = high


class ParametersRefusedError(InputError):
    """The constants of a run contradict each other.

    Attributes:
        rule: The rule of gate.md that does not hold.
    """

    code: ClassVar[str] = "guard_parameters_refused"

    def __init__(self, rule: str) -> None:
        super().__init__(
            f"these gate parameters break the rule: {rule}", hint="see docs/spec/gate.md, Constants"
        )
        self.rule = rule


class EvidenceShapeError(InputError):
    """The evidence of a round does not fit together, as with too few lane words."""

    code: ClassVar[str] = "guard_evidence_shape"


class RowsError(InputError):
    """Rows for a sketch are not whole rows of 1,024 int8 values, or come too late."""

    code: ClassVar[str] = "guard_rows"


class MedianError(ProofError):
    """A posted median is not the upper median of the scores.

    Attributes:
        posted: The median that was posted.
        actual: The median of the scores.
    """

    code: ClassVar[str] = "guard_median"

    def __init__(self, posted: int, actual: int) -> None:
        super().__init__(f"the posted median {posted} is not the upper median {actual} of the scores")
        self.posted = posted
        self.actual = actual


class QuorumError(ProofError):
    """Too few guards have an anchor that could be assayed: there is nothing to judge against.

    Attributes:
        sound: How many have one.
        needed: How many must.
    """

    code: ClassVar[str] = "guard_quorum"

    def __init__(self, sound: int, needed: int) -> None:
        super().__init__(
            f"{sound} guards with a sound anchor, {needed} are needed",
            hint="the round can only be voided",
        )
        self.sound = sound
        self.needed = needed


class PayloadError(ProofError):
    """A settlement payload breaks the format of ledger.md."""

    code: ClassVar[str] = "guard_payload"


class ForbiddenValueError(ProofError):
    """The rows hold -128, which no update may; their sketch means nothing."""

    code: ClassVar[str] = "guard_forbidden_value"
