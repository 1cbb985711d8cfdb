"""What can go wrong for a challenger; a false posting is a result and never one of these."""

from typing import ClassVar

from trainer.errors import InputError, TrainerError


class ChallengerError(TrainerError):
    """Base of the challenger's errors."""

    code: ClassVar[str] = "challenger"


class NoChallengesError(ChallengerError, InputError):
    """The run's ledger names no contract that could overturn anything."""

    code: ClassVar[str] = "no-challenges"


class JournalError(ChallengerError, InputError):
    """A challenger's journal cannot be used here."""

    code: ClassVar[str] = "challenger-journal"
