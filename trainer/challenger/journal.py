"""How far a challenger is, kept over crashes.

What was overturned and what was asked for is on the chain and is read there. The journal saves work: without
it every round is read and assayed again. And it remembers signatures, of which a reorganisation leaves no
trace.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from guard.errors import GuardError
from ledger.history import RoundHistory
from ledger.strict_json import digest_from, loads, number_from
from trainer.challenger.errors import JournalError
from trainer.challenger.rounds import Position
from trainer.challenger.signatures import SignedRoots
from trainer.folder import write_atomic
from trainer.gate_json import gate_as_json, gate_from_json

FORMAT = 1
KEEP = 4
"""Positions that are kept: a reorganisation that takes the newest away leads back to one before it."""


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
        self._positions: list[dict[str, Any]] = []
        self.signed = SignedRoots()
        if path is not None and path.exists():
            self._load(path)

    def newest(self, hash_at: Callable[[int], bytes | None], workers: int, guards: int) -> Position | None:
        """Give the newest position whose block is still on the chain, and forget those after it.

        Rounds up to it are over and were looked at: they need not be read again.

        Args:
            hash_at: Gives the hash of a block, None if there is no such block.
            workers: Members of the cohort but the guards.
            guards: Number of guards.

        Raises:
            JournalError: A position does not hold together.
        """
        while self._positions:
            position = _position(self._positions[-1], workers, guards)
            if position.round == self._cursor and position.record != self._record:
                self._positions.pop()
                continue
            if position.round <= self._cursor and hash_at(position.block) == position.block_hash:
                return position
            self._positions.pop()
        return None

    def forget_positions(self) -> None:
        """Have every round read again."""
        self._positions = []

    def add_position(self, position: Position) -> None:
        """Note that the rounds up to this one are over and were looked at."""
        kept = [one for one in self._positions if one["round"] < position.round]
        self._positions = [*kept[1 - KEEP :], _position_as_json(position)]
        self._write()

    def follow(self, rounds: Mapping[int, RoundHistory], after: Position | None = None) -> None:
        """Forget rounds whose record is another one now: the chain was reorganised.

        Args:
            rounds: The chain's rounds by number.
            after: A position that holds; the rounds up to it need not be among them.
        """
        base, record = (0, "") if after is None else (after.round, after.record)
        # Records are a chain: the cursor's stands for all before it.
        if self._cursor > base and _record(rounds.get(self._cursor)) != self._record:
            self._cursor, self._record, self._attempts = base, record, {}
            self._standing = {number for number in self._standing if number <= base}
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
            "positions": self._positions,
            "signed": self.signed.as_json(),
        }
        try:
            write_atomic(self._path, json.dumps(content, indent=2, sort_keys=True) + "\n")
        except OSError as error:
            raise JournalError(f"cannot write {self._path}: {error.strerror}") from error

    def _load(self, path: Path) -> None:
        try:
            content = loads(path.read_text())
            about = {key: content[key] for key in self._about}
            cursor, record = int(content["cursor"]), str(content["record"])
            ahead = {int(number): str(value) for number, value in content["ahead"].items()}
            attempts = {int(number): int(count) for number, count in content["attempts"].items()}
            standing = {int(number) for number in content["standing"]}
            # Journals of before these were kept have none.
            positions = [dict(one) for one in content.get("positions", [])]
            signed = SignedRoots.from_json(content.get("signed", {}))
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
        self._positions, self.signed = positions, signed

    def keep(self) -> None:
        """Store what has changed besides rounds: signatures that were seen."""
        self._write()


def _position(content: Mapping[str, Any], workers: int, guards: int) -> Position:
    try:
        position = Position(
            round=number_from(content["round"]),
            block=number_from(content["block"]),
            block_hash=digest_from(content["block_hash"]),
            record=str(content["record"]),
            gate=gate_from_json(content["gate"], workers, guards),
        )
    except (KeyError, TypeError, ValueError, AttributeError, GuardError) as error:
        raise JournalError(
            f"a position in the journal does not hold together: {error!r}",
            hint="remove it: every round is then looked at again, and nothing is challenged twice",
        ) from error
    return position


def _position_as_json(position: Position) -> dict[str, Any]:
    return {
        "round": position.round,
        "block": position.block,
        "block_hash": position.block_hash.hex(),
        "record": position.record,
        "gate": gate_as_json(position.gate),
    }


def record_of(history: RoundHistory) -> str:
    """Give what rounds are compared by: the digest that one got when it was settled, or void."""
    return _record(history)


def _record(history: RoundHistory | None) -> str:
    """Give the digest that a round got when it was settled, or void."""
    if history is None:
        return ""
    step = history.verdicts or history.voided
    return "" if step is None else "0x" + step.record.hex()
