"""What can go wrong in the ledger package, split by whose fault it is.

A refused contribution is a result and never one of these.
"""

from typing import ClassVar

_SAID_MAX = 400


def one_line(said: object) -> str:
    """Give what somebody else said, a node or a contract: one line, not too long, harmless to a terminal."""
    shown = "".join(c if c.isprintable() else " " for c in str(said)[: _SAID_MAX + 1])
    return shown if len(shown) <= _SAID_MAX else f"{shown[:_SAID_MAX]}…"


class LedgerError(Exception):
    """Base of every error that this package raises.

    Attributes:
        code: Stable identifier for programs.
        hint: What the reader can do next; may be empty.
    """

    code: ClassVar[str] = "ledger"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InputError(LedgerError):
    """The caller passed something that cannot be right."""

    code: ClassVar[str] = "input"


class ProofError(LedgerError):
    """Somebody published something false: a signature, a root, a record."""

    code: ClassVar[str] = "proof"


class EnvironmentFault(LedgerError):
    """A node, a disk or a network did not do its part; may be retried."""

    code: ClassVar[str] = "environment"


class ContractError(LedgerError):
    """A transaction or call was reverted by a contract."""

    code: ClassVar[str] = "contract"
