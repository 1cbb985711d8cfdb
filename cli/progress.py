"""Progress of a run on stderr: a line that moves on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Self

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from cli.output import notices
from trainer.reporting import GuardsReport, RoundReport


class RunProgress:
    """Shows phases while they last and a line for every finished round.

    Use as a context manager.
    """

    def __init__(
        self, rounds: int, malicious: tuple[int, ...], cheating_guards: tuple[int, ...] = ()
    ) -> None:
        self._rounds = rounds
        self._malicious = malicious
        self._cheating_guards = cheating_guards
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=notices,
            transient=True,
            disable=not notices.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("opening", total=rounds)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def phase(self, round_number: int, name: str) -> None:
        """Show the phase that begins."""
        text = "deploying contracts" if round_number == 0 else f"round {round_number}: {name}"
        self._bar.update(self._task, description=text, completed=max(0, round_number - 1))

    def round_done(self, report: RoundReport) -> None:
        """Write the round's line."""
        self._bar.update(self._task, completed=report.round_number)
        metric = (
            "void" if report.metric is None else f"{escape(report.metric.name)} {report.metric.value:.3f}"
        )
        approved = sum(report.approved)
        refused = [i for i, status in enumerate(report.statuses) if status and not report.approved[i]]
        banned = sum(report.banned)
        text = f"round {report.round_number:>3}/{self._rounds}  {metric}  accepted {approved}"
        if refused:
            names = ", ".join(f"{i}{'*' if i in self._malicious else ''}" for i in refused)
            text += f"  refused {len(refused)} ({names})"
        if banned:
            text += f"  banned {banned}"
        if report.guards is not None and report.metric is not None:
            text += f"  guards {self._agreement(report.guards)}"
        seconds = sum(report.seconds.values())
        notices.print(f"{text}  [dim]{sum(report.gas.values()):,} gas, {seconds:.1f} s[/]")

    def _agreement(self, guards: GuardsReport) -> str:
        """Give each guard's score against their majority, or why it has none; a star for one that cheats."""
        words = [
            status.name.lower() if score is None else f"{score:+d}"
            for status, score in zip(guards.statuses, guards.scores, strict=True)
        ]
        return " ".join(f"{w}{'*' if k in self._cheating_guards else ''}" for k, w in enumerate(words))

    def note(self, text: str) -> None:
        """Write a remark."""
        notices.print(f"[yellow]note[/]  {escape(text)}")

    def stage(self, text: str) -> None:
        """Write what begins next."""
        notices.print(f"[bold]{text}[/] …")
