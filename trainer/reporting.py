"""What a run tells while it goes on, and what it leaves in metrics.jsonl."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from guard.gate import Status
from trainer.errors import InputError
from trainer.tasks import Metric

PHASES = ("training", "guard", "ledger", "merge", "evaluation")
TRANSACTIONS = ("commit", "seal", "settle", "finalize")


@dataclass(frozen=True, slots=True)
class GuardsReport:
    """Several guards in one round.

    Attributes:
        statuses: Per guard, of its anchor.
        scores: Per guard, agreement of its word with the majority's; None unless committed.
        merged: Number of the guard whose update was merged as the anchor; None if nothing was merged.
        poster: Number of the guard that posted for all; None for a round that nobody settled.
    """

    statuses: tuple[Status, ...]
    scores: tuple[int | None, ...]
    merged: int | None
    poster: int | None

    def as_json(self) -> dict[str, object]:
        """Give its part of a line of metrics.jsonl."""
        return {
            "statuses": [status.name.lower() for status in self.statuses],
            "scores": list(self.scores),
            "merged": self.merged,
            "poster": self.poster,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "GuardsReport":
        """Read what `as_json` gave.

        Raises:
            KeyError, TypeError: It is something else; fault of the caller.
        """
        return cls(
            statuses=tuple(Status[name.upper()] for name in content["statuses"]),
            scores=tuple(content["scores"]),
            merged=content["merged"],
            poster=content["poster"],
        )


@dataclass(frozen=True, slots=True)
class RoundReport:
    """One finished round.

    Attributes:
        round_number: 1 for the first.
        metric: Test of the model after the round; None for a void round.
        statuses: Per worker.
        approved: Per worker, whether its update was merged.
        banned: Per worker, whether it is banned after the round.
        scores: Per worker; None unless committed.
        llrs: Per worker, evidence after the round in 1/1024 nat.
        weights_q32: Per worker, merge weight in 1/2**32.
        anchor_weight_q32: The anchor's.
        yardstick: Yardstick word after the round.
        model_root: Root of the model after the round, 32 bytes.
        seed: The round's seed, 32 bytes; empty for a void round.
        gas: Gas by transaction, keys TRANSACTIONS; 0 for what an earlier process sent before a crash. Guards'
            votes count as settle.
        seconds: Wall time by phase, keys PHASES, of the process that finished the round.
        guards: With several guards, what became of them; None with one.
    """

    round_number: int
    metric: Metric | None
    statuses: tuple[Status, ...]
    approved: tuple[bool, ...]
    banned: tuple[bool, ...]
    scores: tuple[int | None, ...]
    llrs: tuple[int, ...]
    weights_q32: tuple[int, ...]
    anchor_weight_q32: int
    yardstick: int
    model_root: bytes
    seed: bytes
    gas: dict[str, int]
    seconds: dict[str, float]
    guards: GuardsReport | None = None

    def as_json(self) -> dict[str, object]:
        """Give the line of metrics.jsonl; what is about several guards is in it only where there are."""
        line: dict[str, object] = {
            "round": self.round_number,
            "metric": None if self.metric is None else {"name": self.metric.name, "value": self.metric.value},
            "statuses": [status.name.lower() for status in self.statuses],
            "approved": list(self.approved),
            "banned": list(self.banned),
            "scores": list(self.scores),
            "evidence": list(self.llrs),
            "weights_q32": list(self.weights_q32),
            "anchor_weight_q32": self.anchor_weight_q32,
            "yardstick": self.yardstick,
            "model_root": "0x" + self.model_root.hex(),
            "seed": "0x" + self.seed.hex(),
            "gas": self.gas,
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
        }
        return line if self.guards is None else {**line, "guards": self.guards.as_json()}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> "RoundReport":
        """Read a line of metrics.jsonl that `as_json` made.

        Raises:
            InputError: It is no such line.
        """
        try:
            metric = line["metric"]
            return cls(
                round_number=int(line["round"]),
                metric=None if metric is None else _metric(metric),
                statuses=tuple(Status[name.upper()] for name in line["statuses"]),
                approved=tuple(map(bool, line["approved"])),
                banned=tuple(map(bool, line["banned"])),
                scores=tuple(line["scores"]),
                llrs=tuple(line["evidence"]),
                weights_q32=tuple(line["weights_q32"]),
                anchor_weight_q32=int(line["anchor_weight_q32"]),
                yardstick=int(line["yardstick"]),
                model_root=bytes.fromhex(line["model_root"][2:]),
                seed=bytes.fromhex(line["seed"][2:]),
                gas=dict(line["gas"]),
                seconds=dict(line["seconds"]),
                guards=GuardsReport.from_json(line["guards"]) if "guards" in line else None,
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"not a line of metrics.jsonl: {error!r}") from error


def _metric(fields: Mapping[str, Any]) -> Metric:
    return Metric(str(fields["name"]), float(fields["value"]), fields["name"] != "perplexity")


class Observer(Protocol):
    """Who wants to know how a run goes on."""

    def phase(self, round_number: int, name: str) -> None:
        """A phase begins: "deploying" (round 0) or one of PHASES."""
        ...

    def round_done(self, report: RoundReport) -> None:
        """A round is finalized, or void."""
        ...

    def note(self, text: str) -> None:
        """Something that a person should read."""
        ...


class SilentObserver:
    """Listens to nothing; for tests and programs."""

    def phase(self, round_number: int, name: str) -> None:
        """Ignore it."""

    def round_done(self, report: RoundReport) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""
