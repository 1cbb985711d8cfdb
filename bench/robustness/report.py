"""Tables in Markdown from the rows of a grid; the pictures beside them are in bench.robustness.pictures."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev

from bench.robustness.cell import Row
from bench.robustness.grid import NO_ATTACK
from bench.robustness.pictures import draw_accuracy, draw_heat, draw_roles

REFERENCE = "honest_only"
OURS = "hallmark"
FILE = "report.md"


@dataclass(frozen=True, slots=True)
class Setting:
    """What all rows of one table have in common."""

    task: str
    split: str
    share: float
    rounds: int
    root_samples: int

    def __str__(self) -> str:
        text = f"{self.task}, {self.split}, {self.share:.0%} malicious, {self.rounds} rounds"
        return f"{text}, {self.root_samples} trusted samples" if self.root_samples else text


Cells = dict[tuple[str, str], list[Row]]
"""(defence, attack) -> its rows, one per seed."""


def write_report(rows: Sequence[Row], folder: Path) -> tuple[Path, ...]:
    """Write report.md and the pictures.

    Args:
        rows: Rows of results.jsonl.
        folder: Where to write.

    Returns:
        The files, report.md first.
    """
    settings = by_setting(rows)
    text = [
        "# Robustness, as measured",
        "",
        f"{len(rows)} runs; seeds {', '.join(map(str, sorted({row['seed'] for row in rows})))}; "
        f"version {', '.join(sorted({row['version'] for row in rows}))}. "
        "Accuracy in %, mean of the last three rounds, mean over seeds, +- standard deviation over seeds; "
        "for byte_lm perplexity. After a slash: the attacker's success in %.",
    ]
    pictures: list[Path] = []
    for setting, cells in settings.items():
        text += ["", f"## {setting}", "", *_accuracy_table(cells)]
        if any(row["malicious"] for found in cells.values() for row in found):
            text += ["", "Refused, % of honest / of malicious contributions; honest workers banned:", ""]
            text += _refusal_table(cells)
    for task in dict.fromkeys(setting.task for setting in settings):
        own = {setting: cells for setting, cells in settings.items() if setting.task == task}
        pictures += _draw(task.replace(":", "."), own, folder)
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path, *pictures


def by_setting(rows: Iterable[Row]) -> dict[Setting, Cells]:
    """Sort rows into tables, in the order of their first row."""
    settings: dict[Setting, Cells] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        setting = Setting(row["task"], row["split"], row["share"], row["rounds"], row.get("root_samples", 0))
        settings[setting][row["defence"], row["attack"]].append(row)
    return {setting: dict(cells) for setting, cells in settings.items()}


def metric(row: Row) -> float:
    """Give accuracy in %, or the perplexity."""
    return 100 * row["accuracy"] if "accuracy" in row else row["perplexity"]


def mean_of(rows: Sequence[Row], value: Callable[[Row], float | None]) -> float | None:
    """Give the mean over seeds of what is there; None if nothing is."""
    found = [number for row in rows if (number := value(row)) is not None]
    return fmean(found) if found else None


def below_reference(cells: Cells, defence: str, attack: str) -> float | None:
    """Give how far a cell lies above (+) or below (-) the honest-only run, in points or in % of perplexity.

    Only seeds that both have count; None without any.
    """
    reference = {row["seed"]: row for row in cells.get((REFERENCE, attack), ())}
    differences = []
    for row in cells.get((defence, attack), ()):
        if row["seed"] in reference:
            own, best = metric(row), metric(reference[row["seed"]])
            differences.append(own - best if "accuracy" in row else 100 * (best - own) / best)
    return fmean(differences) if differences else None


def axes_of(cells: Cells) -> tuple[list[str], list[str]]:
    """Give the defences, the reference first and ours last, and the attacks, in order of appearance."""
    defences = list(dict.fromkeys(defence for defence, _ in cells))
    defences.sort(key=lambda name: (name != REFERENCE, name == OURS))
    return defences, list(dict.fromkeys(attack for _, attack in cells))


def _accuracy_table(cells: Cells) -> list[str]:
    defences, attacks = axes_of(cells)
    lines = ["| attack | " + " | ".join(defences) + " |", "|---" * (len(defences) + 1) + "|"]
    lines += [
        f"| {attack} | " + " | ".join(_cell_text(cells.get((d, attack), [])) for d in defences) + " |"
        for attack in attacks
    ]
    if len(attacks) > 1:
        worst = [_worst([rows for (name, _), rows in cells.items() if name == d]) for d in defences]
        lines.append("| **worst** | " + " | ".join(worst) + " |")
    return lines


def _cell_text(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    values = [metric(row) for row in rows]
    text = f"{fmean(values):.1f}" if "accuracy" in rows[0] else f"{fmean(values):.3f}"
    if len(values) > 1:
        text += f" +-{pstdev(values):.1f}"
    success = mean_of(rows, lambda row: row["backdoor_success"])
    return text if success is None else f"{text} / {100 * success:.0f}"


def _worst(groups: Sequence[Sequence[Row]]) -> str:
    means = [fmean(map(metric, rows)) for rows in groups if rows]
    if not means:
        return ""
    return f"{min(means):.1f}" if "accuracy" in groups[0][0] else f"{max(means):.3f}"


def _refusal_table(cells: Cells) -> list[str]:
    defences, attacks = axes_of(cells)
    judging = [d for d in defences if d != REFERENCE and _refuses(cells, d)]
    lines = ["| attack | " + " | ".join(judging) + " |", "|---" * (len(judging) + 1) + "|"]
    for attack in attacks:
        texts = []
        for defence in judging:
            rows = cells.get((defence, attack), [])
            honest = mean_of(rows, lambda row: row["honest_refused"])
            malicious = mean_of(rows, lambda row: row["malicious_refused"])
            text = f"{_percent(honest)} / {_percent(malicious)}"
            banned = mean_of(rows, lambda row: row["honest_banned"])
            texts.append((text + (f"; {banned:.1f}" if banned else "")) if rows else "")
        lines.append(f"| {attack} | " + " | ".join(texts) + " |")
    return lines


def _refuses(cells: Cells, defence: str) -> bool:
    """Tell whether a defence ever refused anything."""
    rows = [row for (name, _), found in cells.items() if name == defence for row in found]
    return any(row["honest_refused"] or row["malicious_refused"] for row in rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def _draw(name: str, settings: dict[Setting, Cells], folder: Path) -> list[Path]:
    """Draw a task's heat map, and of its setting with most attacks the curves and the roles."""
    attacks = list(dict.fromkeys(a for cells in settings.values() for _, a in cells if a != NO_ATTACK))
    heat: dict[str, list[float | None]] = {}
    for setting, cells in settings.items():
        if setting.share:
            for defence in axes_of(cells)[0]:
                if defence != REFERENCE:
                    root = f" root {setting.root_samples}" if setting.root_samples else ""
                    label = f"{setting.split} {setting.share:.0%}{root} {defence}"
                    heat[label] = [below_reference(cells, defence, attack) for attack in attacks]
    if not heat:
        return []
    pictures = [folder / f"{name}-heat.png"]
    draw_heat(pictures[0], attacks, heat, f"{name}: points above or below honest workers only")
    for setting, cells in settings.items():
        if not setting.share:
            continue
        stem = f"{name}-{setting.split}-{round(100 * setting.share)}-{setting.rounds}"
        stem += f"-root{setting.root_samples}" if setting.root_samples else ""
        pictures += [folder / f"{stem}-rounds.png", folder / f"{stem}-roles.png"]
        draw_accuracy(pictures[-2], _curves(cells), str(setting))
        draw_roles(pictures[-1], _roles(cells), f"{setting}: {_judged(cells)}")
    return pictures


def _judged(cells: Cells) -> str:
    """Give the defence that the pictures are about: ours, or else the last."""
    defences, _ = axes_of(cells)
    return OURS if OURS in defences else defences[-1]


def _curves(cells: Cells) -> dict[str, dict[str, list[float]]]:
    """Give the six attacks that cost ours (or else the last defence) most: defence -> metric by round."""
    defences, attacks = axes_of(cells)
    judged = _judged(cells)
    cost = {a: below_reference(cells, judged, a) for a in attacks}
    hardest = sorted(attacks, key=lambda a: (cost[a] is None, cost[a] or 0.0))[:6]
    curves: dict[str, dict[str, list[float]]] = {}
    for attack in hardest:
        curves[attack] = {}
        for defence in defences:
            series = [row["accuracy_by_round"] for row in cells.get((defence, attack), [])]
            length = min(map(len, series), default=0)
            if length:
                curves[attack][defence] = [fmean(one[i] for one in series) for i in range(length)]
    return curves


def _roles(cells: Cells) -> dict[str, tuple[float, float]]:
    """Give, per attack under ours, the shares of honest and of malicious contributions accepted."""
    _, attacks = axes_of(cells)
    judged = _judged(cells)
    roles = {}
    for attack in attacks:
        rows = cells.get((judged, attack), [])
        honest = mean_of(rows, lambda row: row["honest_refused"])
        malicious = mean_of(rows, lambda row: row["malicious_refused"])
        if honest is not None and malicious is not None:
            roles[attack] = (1 - honest, 1 - malicious)
    return roles
