"""Polling filters: bounded in number, forgotten when nobody asks for them."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger.chain.errors import ChainInputError
from ledger.chain.logs import LogQuery

DEFAULT_MAX_FILTERS: Final = 1_000
DEFAULT_LIFETIME_S: Final = 300.0


class FilterUnknownError(ChainInputError):
    """No filter has this id, or it was not asked for in a long time."""

    code = "filter_unknown"

    def __init__(self) -> None:
        super().__init__("filter not found")


class TooManyFiltersError(ChainInputError):
    """All filters are in use."""

    code = "too_many_filters"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"too many filters: {limit} are in use", hint="uninstall some, or wait until they expire"
        )


@dataclass(slots=True)
class Filter:
    """One installed filter.

    Attributes:
        query: Which logs; None for a filter on new blocks.
        next_block: First block that was not reported yet.
        used_at_s: When it was last asked for, on the monotonic clock.
    """

    query: LogQuery | None
    next_block: int
    used_at_s: float


class FilterTable:
    """The filters of one dispatcher. Not thread-safe: used under the chain's lock."""

    def __init__(
        self,
        *,
        limit: int = DEFAULT_MAX_FILTERS,
        lifetime_s: float = DEFAULT_LIFETIME_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._lifetime_s = lifetime_s
        self._monotonic = monotonic
        self._filters: dict[str, Filter] = {}

    def install(self, query: LogQuery | None, *, next_block: int) -> str:
        """Add a filter.

        Args:
            query: Which logs; None for new blocks.
            next_block: First block to report.

        Returns:
            Its id, which cannot be guessed from others.

        Raises:
            TooManyFiltersError: All are in use.
        """
        now = self._monotonic()
        expired = [key for key, item in self._filters.items() if now - item.used_at_s > self._lifetime_s]
        for key in expired:
            del self._filters[key]
        if len(self._filters) >= self._limit:
            raise TooManyFiltersError(self._limit)
        # No leading zero digit, so that it is a quantity as well.
        identifier = hex(secrets.randbits(127) | 1 << 127)
        self._filters[identifier] = Filter(query, next_block, now)
        return identifier

    def get(self, identifier: str) -> Filter:
        """Find a filter and mark it as used.

        Raises:
            FilterUnknownError: There is none, or it expired.
        """
        found = self._filters.get(identifier)
        now = self._monotonic()
        if found is None or now - found.used_at_s > self._lifetime_s:
            self._filters.pop(identifier, None)
            raise FilterUnknownError
        found.used_at_s = now
        return found

    def remove(self, identifier: str) -> bool:
        """Remove a filter; False if there is none."""
        return self._filters.pop(identifier, None) is not None
