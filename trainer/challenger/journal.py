"""How far a challenger is, kept over crashes.

What was overturned and what was asked for is on the chain and is read there. The journal only saves work:
without it every round is assayed again, and nothing else changes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ledger.history import RoundHistory
from trainer.challenger.errors import JournalError
from trainer.folder import write_atomic

FORMAT = 1


class ChallengeJournal:
    """Rounds that need no look any more: all up to a cursor, and some after it."""

    def __init__(self, path: Path | None, chain_id: int, ledger: str) -> None:
        """Open or begin a journal.

        Args:
            path: JSON file; None keeps it in memory.
            chain_id: Chain of the run.
            ledger: Address of its ledger, checksummed.

        Raises:
            JournalError: The file is no journal, or is another ledger's.
        """
        self._path = path
        self._about = {"format": FORMAT, "chain_id": chain_id, "ledger": ledger}
        self._cursor, self._record = 0, ""
        self._ahead: dict[int, str] = {}
        self._attempts: dict[int, int] = {}
        self._standing: set[int] = set()
        if path is not None and path.exists():
            self._load(path)

    def follow(self, rounds: Mapping[int, RoundHistory]) -> None:
        """Forget rounds whose record is another one now: the chain was reorganised.

        Args:
            rounds: The chain's rounds by number.
        """
        # Records are a chain: the cursor's stands for all before it.
        if self._cursor and _record(rounds.get(self._cursor)) != self._record:
            self._cursor, self._record, self._attempts, self._standing = 0, "", {}, set()
        self._ahead = {n: r for n, r in self._ahead.items() if _record(rounds.get(n)) == r}

    @property
    def standing(self) -> list[int]:
        """Rounds that are done although something false, or that nobody could check, was left in them."""
        return sorted(self._standing)

    def is_done(self, number: int) -> bool:
        """Tell whether a round needs no look any more."""
        return number <= self._cursor or number in self._ahead

    def attempts(self, number: int) -> int:
        """Give how often a round was looked at in vain."""
        return self._attempts.get(number, 0)

    def add_attempt(self, number: int) -> int:
        """Note that a round could not be finished; give how often that was."""
        self._attempts[number] = self.attempts(number) + 1
        self._write()
        return self._attempts[number]

    def add_done(self, history: RoundHistory, *, is_clean: bool = True) -> None:
        """Note that a round needs no look any more, and whether nothing false was left in it."""
        if not is_clean:
            self._standing.add(history.round)
        self._ahead[history.round] = _record(history)
        self._attempts.pop(history.round, None)
        while self._cursor + 1 in self._ahead:
            self._cursor += 1
            self._record = self._ahead.pop(self._cursor)
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        content = {
            **self._about,
            "cursor": self._cursor,
            "record": self._record,
            "ahead": {str(number): record for number, record in self._ahead.items()},
            "standing": self.standing,
            "attempts": {str(number): count for number, count in self._attempts.items()},
        }
        try:
            write_atomic(self._path, json.dumps(content, indent=2, sort_keys=True) + "\n")
        except OSError as error:
            raise JournalError(f"cannot write {self._path}: {error.strerror}") from error

    def _load(self, path: Path) -> None:
        try:
            content: Any = json.loads(path.read_text())
            about = {key: content[key] for key in self._about}
            cursor, record = int(content["cursor"]), str(content["record"])
            ahead = {int(number): str(value) for number, value in content["ahead"].items()}
            attempts = {int(number): int(count) for number, count in content["attempts"].items()}
            standing = {int(number) for number in content["standing"]}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise JournalError(
                f"cannot read the journal {path}: {error!r}",
                hint="remove it: every round is then looked at again, and nothing is challenged twice",
            ) from error
        if about != self._about:
            raise JournalError(
                f"the journal {path} is of ledger {about['ledger']} on chain {about['chain_id']}",
                hint="choose another --journal",
            )
        self._cursor, self._record, self._ahead, self._attempts = cursor, record, ahead, attempts
        self._standing = standing


def _record(history: RoundHistory | None) -> str:
    """Give the digest that a round got when it was settled, or void."""
    if history is None:
        return ""
    step = history.verdicts or history.voided
    return "" if step is None else "0x" + step.record.hex()
