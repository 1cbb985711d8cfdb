"""What an audit found, as values that can be printed."""

from dataclasses import asdict, dataclass

MAX_DIFFERENCES = 1_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where chain or blobs say something else than what follows from them.

    Attributes:
        round: The round, 0 for what concerns the whole run.
        worker: Identity of the member that it is about, the guard's for its anchor; "" if it is about none.
        field: What differs, for instance "word" or "model_root".
        expected: What was derived; bytes and words as 0x-prefixed hex.
        found: What the chain or the store says.
    """

    round: int
    worker: str
    field: str
    expected: str | int
    found: str | int


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
    """

    ledger: str
    chain_id: int
    run: int
    model_root: str
    checked: Checked
    differences: tuple[Difference, ...]
    difference_count: int
    unfinished: str

    @property
    def ok(self) -> bool:
        """True if nothing differs."""
        return self.difference_count == 0

    def as_json(self) -> dict[str, object]:
        """Give the report for programs."""
        return {
            "ok": self.ok,
            "ledger": self.ledger,
            "chain_id": self.chain_id,
            "run": self.run,
            "model_root": self.model_root,
            "checked": asdict(self.checked),
            "differences": [asdict(difference) for difference in self.differences],
        }


class Findings:
    """Collects what an audit counts and finds.

    Attributes:
        counts: By the names of Checked.
        total: Number of differences so far.
    """

    def __init__(self) -> None:
        self.counts = asdict(Checked())
        self.total = 0
        self._differences: list[Difference] = []

    def count(self, name: str, number: int = 1) -> None:
        """Add to one of the counts."""
        self.counts[name] += number

    def differ(self, round_: int, field: str, expected: object, found: object, worker: str = "") -> None:
        """Note a difference; past MAX_DIFFERENCES only their number is kept."""
        self.total += 1
        if len(self._differences) < MAX_DIFFERENCES:
            self._differences.append(Difference(round_, worker, field, _plain(expected), _plain(found)))

    def same(self, round_: int, field: str, expected: object, found: object, worker: str = "") -> bool:
        """Note a difference unless the two are equal, and tell whether they are."""
        if expected != found:
            self.differ(round_, field, expected, found, worker)
        return expected == found

    def report(
        self, *, ledger: str, chain_id: int, run: int, model: bytes | None, unfinished: str
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
