"""What an audit found, as values that can be printed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

MAX_DIFFERENCES = 1_000
_VERDICTS = ("cannot be checked", "false", "overturned")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where chain or blobs say something else than what follows from them.

    Attributes:
        round: The round, 0 for what concerns the whole run.
        worker: Identity of the member that it is about, the guard's for its anchor; "" if it is about none.
        field: What differs, for instance "word" or "model_root".
        expected: What was derived; bytes and words as 0x-prefixed hex.
        found: What the chain or the store says.
        challenge: Kind of the challenge that overturns it on the chain (docs/spec/challenge.md): "segment",
            "boundary", "exponent", "malformed", "withheld" or "unfounded"; None where no challenge does.
        is_false: False where bytes are missing that it could be checked with: then nothing is known to be
            false, but nothing is known to be true either.
        is_overturned: Whether a challenge has shown it and its effects are undone: then it is no failure.
    """

    round: int
    worker: str
    field: str
    expected: str | int
    found: str | int
    challenge: str | None = None
    is_false: bool = True
    is_overturned: bool = False

    def as_json(self) -> dict[str, object]:
        """Give it for programs."""
        content = asdict(self)
        is_false, is_overturned = content.pop("is_false"), content.pop("is_overturned")
        content["verdict"] = _VERDICTS[2 if is_overturned else int(is_false)]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what as_json() gave.

        Raises:
            KeyError, TypeError: It is something else; fault of the caller.
        """
        values = dict(content)
        verdict = values.pop("verdict")
        values["is_false"], values["is_overturned"] = verdict != _VERDICTS[0], verdict == _VERDICTS[2]
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Checked:
    """How much was derived again, whether it differed or not.

    Attributes:
        rounds: Rounds that were opened.
        contributions: Workers' commitments; the guard's anchors are not counted.
        signatures: Signatures recovered, the guard's too; commitments sent by the member itself have none.
        words: Words derived from the bytes and compared, the anchors' too.
        verdicts: Verdicts judged again from the posted words.
        models: Model roots derived from bytes: the initial model and one for every merge that was replayed.
    """

    rounds: int = 0
    contributions: int = 0
    signatures: int = 0
    words: int = 0
    verdicts: int = 0
    models: int = 0


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit came to.

    Attributes:
        ledger: Address of the ContributionLedger.
        chain_id: Chain that it is on.
        run: Run id, 0 if there is no ledger.
        model_root: Root of the last finalized model, 0x-prefixed; "" if there is no ledger.
        checked: How much was derived again.
        differences: The first MAX_DIFFERENCES of them, round by round.
        difference_count: All of them.
        unfinished: Stage of a last round that is still going on: "open", "sealed" or "settled"; else "". That
            is no difference.
        unchecked_count: How many of all differences say only that bytes are missing.
        is_replayed: Whether merges were computed again; without, model roots are compared with nothing but
            each other.
        unreplayed: Finalized rounds whose model root was not computed again, for want of bytes, of the model
            before, or because that was not asked for.
        head_block: The newest block that was read, -1 if none was.
        head_hash: Its hash, 0x-prefixed; "" if none was.
        overturned_count: How many of all differences a challenge has shown; they count for nobody any more.
        resumed_after: Round up to which an earlier audit had come; 0 for a whole audit.
        guards: Identities of the guards, by their numbers; empty if there is no ledger.
    """

    ledger: str
    chain_id: int
    run: int
    model_root: str
    checked: Checked
    differences: tuple[Difference, ...]
    difference_count: int
    unfinished: str
    unchecked_count: int = 0
    is_replayed: bool = True
    unreplayed: int = 0
    head_block: int = -1
    head_hash: str = ""
    resumed_after: int = 0
    overturned_count: int = 0
    guards: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """Give "ok", "false", or "cannot be checked" if nothing is false but bytes are missing."""
        if self.ok:
            return "ok"
        return "false" if self.false_count else "cannot be checked"

    @property
    def false_count(self) -> int:
        """How many differences are false data."""
        return self.difference_count - self.unchecked_count - self.overturned_count

    @property
    def ok(self) -> bool:
        """True if nothing differs but what was overturned."""
        return self.difference_count == self.overturned_count

    def as_json(self) -> dict[str, object]:
        """Give the report for programs."""
        return {
            "ok": self.ok,
            "ledger": self.ledger,
            "chain_id": self.chain_id,
            "run": self.run,
            "model_root": self.model_root,
            "checked": asdict(self.checked),
            "differences": [difference.as_json() for difference in self.differences],
            "verdict": self.verdict,
            "difference_count": self.difference_count,
            "false_count": self.false_count,
            "unchecked_count": self.unchecked_count,
            "overturned_count": self.overturned_count,
            "unfinished": self.unfinished,
            "replayed": self.is_replayed,
            "unreplayed_models": self.unreplayed,
            "resumed_after": self.resumed_after,
            "guards": list(self.guards),
            "head": {"block": self.head_block, "hash": self.head_hash},
        }


class Findings:
    """Collects what an audit counts and finds.

    Attributes:
        counts: By the names of Checked.
        total: Number of differences so far.
        unchecked: How many of them say only that bytes are missing.
        overturned: How many of them a challenge has shown.
        unreplayed: Finalized rounds whose model was not computed again.
    """

    def __init__(self) -> None:
        self.counts = asdict(Checked())
        self.total = 0
        self.unchecked = 0
        self.overturned = 0
        self.unreplayed = 0
        self._differences: list[Difference] = []

    def count(self, name: str, number: int = 1) -> None:
        """Add to one of the counts."""
        self.counts[name] += number

    def differ(
        self,
        round_: int,
        field: str,
        expected: object,
        found: object,
        worker: str = "",
        *,
        challenge: str | None = None,
        is_false: bool = True,
        is_overturned: bool = False,
    ) -> None:
        """Note a difference; past MAX_DIFFERENCES only their number is kept."""
        self.total += 1
        self.overturned += is_overturned
        self.unchecked += not is_false and not is_overturned
        if len(self._differences) < MAX_DIFFERENCES:
            self._differences.append(
                Difference(
                    round_,
                    worker,
                    field,
                    _plain(expected),
                    _plain(found),
                    challenge,
                    is_false or is_overturned,
                    is_overturned,
                )
            )

    def same(
        self,
        round_: int,
        field: str,
        expected: object,
        found: object,
        worker: str = "",
        *,
        challenge: str | None = None,
        is_overturned: bool = False,
    ) -> bool:
        """Note a difference unless the two are equal, and tell whether they are."""
        if expected != found:
            self.differ(
                round_, field, expected, found, worker, challenge=challenge, is_overturned=is_overturned
            )
        return expected == found

    def snapshot(self) -> dict[str, Any]:
        """Give everything as JSON values."""
        return {
            "counts": dict(self.counts),
            "total": self.total,
            "unchecked": self.unchecked,
            "overturned": self.overturned,
            "unreplayed": self.unreplayed,
            "differences": [difference.as_json() for difference in self._differences],
        }

    def restore(self, content: Mapping[str, Any]) -> None:
        """Go back to what snapshot() gave.

        Raises:
            KeyError, TypeError, ValueError: It is something else; fault of the caller.
        """
        counts = {name: int(content["counts"][name]) for name in asdict(Checked())}
        differences = [Difference.from_json(entry) for entry in content["differences"]]
        totals = [int(content[name]) for name in ("total", "unchecked", "overturned", "unreplayed")]
        if min(*totals, *counts.values()) < 0 or len(differences) != min(totals[0], MAX_DIFFERENCES):
            raise ValueError("the numbers do not fit each other")
        self.counts, self._differences = counts, differences
        self.total, self.unchecked, self.overturned, self.unreplayed = totals

    def add_missing(self, other: "Findings") -> None:
        """Note the differences of another collection that are not here yet."""
        for found in other._differences:
            if found not in self._differences:
                self.differ(
                    found.round,
                    found.field,
                    found.expected,
                    found.found,
                    found.worker,
                    challenge=found.challenge,
                    is_false=found.is_false,
                    is_overturned=found.is_overturned,
                )

    def report(
        self,
        *,
        ledger: str,
        chain_id: int,
        run: int,
        model: bytes | None,
        unfinished: str,
        is_replayed: bool = True,
        head: tuple[int, str] = (-1, ""),
        resumed_after: int = 0,
        guards: tuple[str, ...] = (),
    ) -> AuditReport:
        """Give the report."""
        return AuditReport(
            ledger=ledger,
            chain_id=chain_id,
            run=run,
            model_root="" if model is None else "0x" + model.hex(),
            checked=Checked(**self.counts),
            differences=tuple(self._differences),
            difference_count=self.total,
            unfinished=unfinished,
            unchecked_count=self.unchecked,
            overturned_count=self.overturned,
            is_replayed=is_replayed,
            unreplayed=self.unreplayed,
            head_block=head[0],
            head_hash=head[1],
            resumed_after=resumed_after,
            guards=guards,
        )


def word(value: int) -> str:
    """Write a word of 256 bits."""
    return f"0x{value:064x}"


def _plain(value: object) -> str | int:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value)
    return text if len(text) <= 300 else text[:299] + "…"
