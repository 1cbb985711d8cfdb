"""Pictures of a grid: distance to the reference, accuracy over rounds, who was accepted by true role."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

GREEN, RED, GREY = "#2a9d6f", "#c8443c", "#d9d9d9"
COLOURS: Mapping[str, tuple[str, str]] = {
    "honest_only": ("#7a7a7a", "--"),
    "hallmark": (GREEN, "-"),
    "mean": (RED, "-"),
    "fltrust": ("#8e6bb8", "-"),
    "fltrust_anchor": ("#4a6fb3", "-"),
    "published_guard": ("#d08a2e", "-"),
}
LIMIT = 10.0
"""Points at which the colours of the heat map end."""


def draw_heat(
    path: Path, columns: Sequence[str], rows: Mapping[str, Sequence[float | None]], title: str
) -> None:
    """Draw a table of signed numbers as colours: green above zero, red below, grey where there is none.

    Args:
        path: PNG to write; its folder is made.
        columns: Names of the columns.
        rows: Name of a row -> its numbers.
        title: What the numbers are.
    """
    values = np.array([[np.nan if v is None else v for v in row] for row in rows.values()])
    # Never narrower than the title.
    size = (max(2.6 + 0.42 * len(columns), 0.3 + 0.085 * len(title)), 1.8 + 0.28 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes: Axes = figure.subplots()
    axes.set_facecolor(GREY)
    image = axes.imshow(values, cmap="RdYlGn", vmin=-LIMIT, vmax=LIMIT, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    for (y, x), value in np.ndenumerate(values):
        if not np.isnan(value):
            axes.text(x, y, f"{value:+.0f}", ha="center", va="center", fontsize=6)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.6)
    _save(figure, path)


def draw_accuracy(path: Path, curves: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> None:
    """Draw the metric over rounds, a panel per attack, a line per defence.

    Args:
        path: PNG to write; its folder is made.
        curves: Attack -> defence -> values, round 1 first.
        title: What was done.
    """
    columns = min(3, len(curves))
    lines = -(-len(curves) // columns)
    figure = Figure(figsize=(4.0 * columns, 2.6 * lines + 0.6), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (attack, by_defence) in zip(panels.flat, curves.items(), strict=False):
        for defence, values in by_defence.items():
            colour, line = COLOURS.get(defence, (GREY, "-"))
            axes.plot(range(1, len(values) + 1), values, line, color=colour, linewidth=1.6, label=defence)
        axes.set_title(attack, loc="left", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    for axes in panels.flat[len(curves) :]:
        axes.set_axis_off()
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    _save(figure, path)


def draw_roles(path: Path, roles: Mapping[str, tuple[float, float]], title: str) -> None:
    """Draw the share accepted of the honest and of the malicious, two bars per attack.

    Args:
        path: PNG to write; its folder is made.
        roles: Attack -> (honest, malicious) share accepted.
        title: What was done.
    """
    figure = Figure(figsize=(6.5, 1.4 + 0.26 * len(roles)), layout="constrained")
    axes: Axes = figure.subplots()
    places = np.arange(len(roles))
    for offset, index, colour, label in ((-0.2, 0, GREEN, "honest"), (0.2, 1, RED, "malicious")):
        axes.barh(
            places + offset, [shares[index] for shares in roles.values()], 0.36, color=colour, label=label
        )
    axes.set_yticks(places, list(roles), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of contributions accepted")
    axes.set_title(title, loc="left", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
