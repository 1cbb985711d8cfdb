"""What a challenge or request can be refused for, before it costs gas."""

from typing import ClassVar

from ledger.errors import InputError


class ClaimRefusedError(InputError):
    """The contract would revert: what is claimed does not hold, or its proof is not one.

    Attributes:
        name: Name of the custom error in which the call would end.
    """

    code: ClassVar[str] = "claim-refused"

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{detail} ({name})", hint="do not send it: it would revert and cost its gas")
        self.name = name
