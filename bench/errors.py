"""What can go wrong in the bench package."""

from typing import ClassVar

from trainer.errors import InputError


class BenchInputError(InputError):
    """The caller asked for something that cannot be measured."""

    code: ClassVar[str] = "bench"
