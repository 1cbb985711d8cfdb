"""Pictures of a run: how accuracy went, and who was refused when."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from trainer.reporting import RoundReport

GREEN, RED, GREY = "#2a9d6f", "#c8443c", "#d9d9d9"
CURVE_STYLE: Mapping[str, tuple[str, str]] = {
    "honest workers only": ("#7a7a7a", "--"),
    "ledger gate": (GREEN, "-"),
    "plain mean": (RED, "-"),
}


def draw_curves(path: Path, metric: str, curves: Mapping[str, Sequence[float]], title: str) -> None:
    """Draw a metric over rounds, one line for each way of merging.

    Args:
        path: PNG to write; its folder is made.
        metric: Name of the metric, for the axis.
        curves: Values by name, round 1 first; names of CURVE_STYLE have their colour.
        title: What was done.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes: Axes = figure.subplots()
    for name, values in curves.items():
        colour, line = CURVE_STYLE.get(name, (GREY, "-"))
        axes.plot(range(1, len(values) + 1), values, line, color=colour, linewidth=2, label=name)
    axes.set_xlabel("round")
    axes.set_ylabel(metric)
    if metric == "accuracy":
        axes.set_ylim(0, 1.02)
    axes.set_title(title, loc="left")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", frameon=False)
    _save(figure, path)


def draw_verdicts(path: Path, rounds: Sequence[RoundReport], malicious: Sequence[int], title: str) -> None:
    """Draw one square per worker and round: accepted, refused, absent; the cheating workers are marked.

    Args:
        path: PNG to write; its folder is made.
        rounds: The rounds.
        malicious: Indices of the workers that cheated.
        title: What was done.
    """
    workers = len(rounds[0].approved)
    cells = [
        [1 if r.approved[worker] else (0 if r.statuses[worker].name == "ABSENT" else 2) for r in rounds]
        for worker in range(workers)
    ]
    figure = Figure(figsize=(7.5, 1.2 + 0.32 * workers), layout="constrained")
    axes: Axes = figure.subplots()
    axes.imshow(cells, cmap=ListedColormap([GREY, GREEN, RED]), vmin=0, vmax=2, aspect="auto")
    axes.set_xticks(range(len(rounds)), [str(r.round_number) for r in rounds], fontsize=8)
    labels = [f"worker {w}" + (" (cheats)" if w in malicious else "") for w in range(workers)]
    axes.set_yticks(range(workers), labels, fontsize=9)
    for label, worker in zip(axes.get_yticklabels(), range(workers), strict=True):
        label.set_color(RED if worker in malicious else "black")
    axes.set_xticks([x - 0.5 for x in range(1, len(rounds))], minor=True)
    axes.set_yticks([y - 0.5 for y in range(1, workers)], minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel("round")
    axes.set_title(title, loc="left")
    handles = [mpl.patches.Patch(color=c, label=n) for c, n in ((GREEN, "accepted"), (RED, "refused"))]
    figure.legend(handles=handles, loc="outside lower right", ncols=2, frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
