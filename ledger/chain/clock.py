"""Where block timestamps come from."""

import time
from typing import ClassVar, Protocol


class Clock(Protocol):
    """Gives the timestamp of the next block.

    Attributes:
        keeps_skips: True if a jump ahead shifts all later blocks as well, because
            the clock runs on by itself; False if it only moves the next block,
            because later ones count from there.
    """

    keeps_skips: ClassVar[bool]

    def next_timestamp_s(self, parent_s: int, skipped_s: int) -> int:
        """Give the timestamp of the block after one of ``parent_s``.

        Args:
            parent_s: Timestamp of the parent, seconds since the epoch.
            skipped_s: Seconds that somebody asked to jump ahead, >= 0.

        Returns:
            A timestamp greater than ``parent_s``.
        """
        ...


class SystemClock:
    """The machine's clock, or one second after the parent if that is later."""

    keeps_skips: ClassVar[bool] = True

    def next_timestamp_s(self, parent_s: int, skipped_s: int) -> int:
        """Give max(now + skipped, parent + 1)."""
        return max(int(time.time()) + skipped_s, parent_s + 1)


class LogicalClock:
    """One second for each block, so that a chain is a pure function of its transactions."""

    keeps_skips: ClassVar[bool] = False

    def next_timestamp_s(self, parent_s: int, skipped_s: int) -> int:
        """Give parent + 1 + skipped."""
        return parent_s + 1 + skipped_s
