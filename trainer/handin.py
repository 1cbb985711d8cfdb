"""From what a trainer hands in to the file that is committed."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ledger.update import UpdateFacts, update_root


class HandedIn(Protocol):
    """What is needed of a trainer's update: its values and their exponent."""

    @property
    def values(self) -> NDArray[np.int8]:
        """Shape (d,), dtype int8."""
        ...

    @property
    def exponent(self) -> int:
        """The values count in units of 2**exponent."""
        ...


@dataclass(frozen=True, slots=True)
class UpdateFile:
    """The bytes of an update and the root under which they are committed.

    Attributes:
        data: Header and payload.
        root: 32 bytes.
    """

    data: bytes
    root: bytes


def update_file(update: HandedIn, facts: UpdateFacts) -> UpdateFile:
    """Write an update file.

    Nothing about the values is checked: a cheating worker hands in what it likes,
    and it is for the guard to find out.

    Args:
        update: Values, int8 [d], and exponent.
        facts: What the header must say.

    Returns:
        The file.
    """
    padding = bytes(facts.size_bytes - len(facts.header(0).pack()) - len(update.values))
    data = facts.header(update.exponent).pack() + update.values.tobytes() + padding
    return UpdateFile(data, update_root(data))
