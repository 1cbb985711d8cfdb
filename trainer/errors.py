"""What can go wrong in the trainer package, split by whose fault it is.

A refused contribution is a result and never one of these.
"""

from typing import ClassVar


class TrainerError(Exception):
    """Base of every error that this package raises.

    Attributes:
        code: Stable identifier for programs.
        hint: What the reader can do next; may be empty.
    """

    code: ClassVar[str] = "trainer"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(TrainerError):
    """The caller passed something that cannot be right."""

    code: ClassVar[str] = "input"


class ConfigError(InputError):
    """A run's configuration has an unknown key, a wrong type or a value out of range.

    Attributes:
        key: The offending key, with its table ("inner.lr"); empty for the file as a whole.
    """

    code: ClassVar[str] = "config"

    def __init__(self, message: str, *, key: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.key = key


class TaskError(InputError):
    """A task cannot be found, built or split as asked."""

    code: ClassVar[str] = "task"


class NumericError(TrainerError):
    """Training left the finite numbers, or the range that an update can express."""

    code: ClassVar[str] = "numeric"


class CheckpointError(TrainerError):
    """A checkpoint cannot be written, read or used for this run."""

    code: ClassVar[str] = "checkpoint"


class CheckpointDiskError(CheckpointError):
    """The disk did not take a checkpoint; may be retried."""

    code: ClassVar[str] = "checkpoint_disk"


class TaintedError(TrainerError):
    """The model rests on a round that was overturned after it was final."""

    code: ClassVar[str] = "tainted"


class PausedError(TrainerError):
    """The run's guardian lets no round open."""

    code: ClassVar[str] = "paused"


class RollbackError(TrainerError):
    """The model cannot be rolled back as asked."""

    code: ClassVar[str] = "rollback"
