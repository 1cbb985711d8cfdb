"""Which cells there are, and which of them a named grid takes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from bench.errors import BenchInputError

NO_ATTACK = "none"

SPLITS = ("iid", "dirichlet_0.3", "two_classes")
TWO_SPLITS = SPLITS[:2]

ATTACKS = (
    "noise_x1",
    "noise_x10",
    "sign_flip",
    "sign_flip_x10",
    "alie",
    "ipm_0.5",
    "ipm_2",
    "min_max",
    "min_max_unit",
    "min_sum",
    "mimic",
    "label_flip",
    "targeted_flip",
    "backdoor",
    "scaled_backdoor",
    "decorrelated_backdoor_x1",
    "decorrelated_backdoor_x2",
    "decorrelated_backdoor_x4",
    "sybil",
    "sybil_noise_0.5",
    "sybil_noise_1",
    "sybil_noise_2",
    "drift",
    "replay",
    "stale_parent",
    "zero",
    "tiny",
    "sleeper",
    "on_off",
    "null_space",
    "null_space_guess",
    "adaptive",
    "threshold",
)
"""All attacks but those that the update format itself refuses, and those made for one setting only."""

HARD_ATTACKS = ("sign_flip", "alie", "min_max_unit", "sybil", "mimic", "backdoor", "label_flip", "adaptive")
"""One of each kind, for the slower tasks."""

DEFENCES = (
    "honest_only",
    "mean",
    "norm_clipped_mean",
    "krum",
    "multi_krum",
    "median",
    "trimmed_mean",
    "geometric_median",
    "centered_clip",
    "nnm_trimmed_mean",
    "foolsgold",
    "dnc",
    "zeno",
    "fltrust",
    "fltrust_anchor",
    "published_guard",
    "hallmark",
)

ROOTLESS = (
    "multi_krum",
    "median",
    "geometric_median",
    "centered_clip",
    "nnm_trimmed_mean",
    "foolsgold",
    "dnc",
    "zeno",
)
"""Published rules, a sample; zeno, which has a root, for company."""

CONTROLS = ("honest_only", "fltrust_anchor", "hallmark")
"""The reference, the fair control, and ours."""

LONG_ATTACKS = ("sign_flip", "label_flip", "min_max_unit", "sybil", "sleeper", "sleeper_40")
"""For runs in which the model converges: who is banned, and when?"""

LM_ATTACKS = ("sign_flip_x10", "alie", "min_max", "label_flip")

NULL_SPACE = ("null_space_x20",)
"""For one attacker in ten."""

MAIN_DEFENCES = ("honest_only", "mean", "fltrust", "fltrust_anchor", "published_guard", "hallmark")


@dataclass(frozen=True, slots=True)
class Cell:
    """One run.

    Attributes:
        task: Name of a task.
        split: Name of a split.
        share: Share of the workers that cheats; 0 exactly if the attack is "none".
        attack: Name of an attack.
        defence: Name of a gate policy.
        seed: The run's seed.
        rounds: Rounds, 0 for the task's own number.
        root_samples: Size of the guard's trusted set, 0 for the task's own.
    """

    task: str
    split: str
    share: float
    attack: str
    defence: str
    seed: int
    rounds: int = 0
    root_samples: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """All combinations of these."""

    tasks: tuple[str, ...] = ("digits_mlp",)
    splits: tuple[str, ...] = SPLITS
    shares: tuple[float, ...] = (0.4,)
    attacks: tuple[str, ...] = ATTACKS
    defences: tuple[str, ...] = MAIN_DEFENCES
    seeds: tuple[int, ...] = (0, 1, 2)
    rounds: int = 0
    root_samples: tuple[int, ...] = (0,)

    def cells(self) -> Iterator[Cell]:
        """Give the combinations, seed by seed; without cheaters there is one attack, "none"."""
        for seed, task, split, share, root in product(
            self.seeds, self.tasks, self.splits, self.shares, self.root_samples
        ):
            attacks = [name for name in self.attacks if name != NO_ATTACK] if share else [NO_ATTACK]
            for defence, attack in product(self.defences, attacks):
                yield Cell(task, split, share, attack, defence, seed, self.rounds, root)


GRIDS: Mapping[str, tuple[Block, ...]] = {
    "ci": (
        Block(
            splits=TWO_SPLITS, attacks=HARD_ATTACKS, defences=("honest_only", "mean", "hallmark"), seeds=(0,)
        ),
        Block(splits=TWO_SPLITS, shares=(0.0,), defences=("mean", "hallmark"), seeds=(0,)),
        Block(("digits_mlp",), ("iid",), (0.1,), NULL_SPACE, ("published_guard", "hallmark"), (0,)),
    ),
    "core": (
        Block(shares=(0.0,), defences=DEFENCES[1:]),
        Block(shares=(0.1,), attacks=NULL_SPACE, defences=("mean", "published_guard", *CONTROLS)),
        Block(shares=(0.4,), defences=MAIN_DEFENCES),
        Block(shares=(0.45,), defences=CONTROLS),
        Block(shares=(0.6,), attacks=HARD_ATTACKS, defences=CONTROLS),
        Block(splits=TWO_SPLITS, attacks=HARD_ATTACKS[:6], defences=ROOTLESS, seeds=(0,)),
        Block(("digits_cnn",), ("iid",), (0.4,), HARD_ATTACKS, ("honest_only", "mean", "hallmark"), (0,)),
        Block(shares=(0.0, 0.4), splits=TWO_SPLITS, attacks=LONG_ATTACKS, defences=CONTROLS, rounds=80),
        Block(("byte_lm",), ("iid",), (0.0,), (), ("mean", "hallmark"), (0,)),
        Block(("byte_lm",), ("iid",), (0.4,), LM_ATTACKS, ("honest_only", "hallmark"), (0,)),
    ),
    "full": (
        Block(("digits_mlp", "digits_cnn"), SPLITS, (0.0, 0.2, 0.4, 0.45, 0.6), ATTACKS, DEFENCES),
        Block(("byte_lm",), ("iid",), (0.0, 0.2, 0.4), HARD_ATTACKS, MAIN_DEFENCES),
        Block(shares=(0.0, 0.4), attacks=(*ATTACKS, "sleeper_40"), defences=CONTROLS, rounds=80),
    ),
}
"""`ci` takes minutes, `core` less than two hours on two cores and carries the goals, `full` days."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person asked for; None where nothing was said."""

    tasks: Sequence[str] | None = None
    splits: Sequence[str] | None = None
    shares: Sequence[float] | None = None
    attacks: Sequence[str] | None = None
    defences: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    rounds: int = 0
    root_samples: Sequence[int] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no axis was named; seeds, rounds and root sizes do not count."""
        return all(
            axis is None for axis in (self.tasks, self.splits, self.shares, self.attacks, self.defences)
        )


def plan(choice: Choice, grid: str | None = None) -> list[Cell]:
    """Give the cells to fill.

    Args:
        choice: Axes that were named.
        grid: A key of GRIDS: its cells, less those that the choice does not name; its seeds, rounds and sizes
            of the root replace the grid's. None: all combinations of the choice, with Block's defaults for
            axes not named; of an empty choice the core grid.

    Returns:
        Each cell once, seed by seed.

    Raises:
        BenchInputError: There is no such grid, or nothing is left of it.
    """
    if grid is None and choice.is_empty:
        grid = "core"
    if grid is not None and grid not in GRIDS:
        raise BenchInputError(f"unknown grid {grid!r}", hint="one of " + ", ".join(GRIDS))
    blocks = GRIDS[grid] if grid is not None else (_block(choice),)
    cells = dict.fromkeys(
        cell for block in blocks for cell in _replaced(block, choice).cells() if _chosen(cell, choice)
    )
    if not cells:
        raise BenchInputError("no cell is left", hint="an attack needs a share above 0, and none needs 0")
    return sorted(cells, key=lambda cell: cell.seed)


def _block(choice: Choice) -> Block:
    """Give all combinations of what was named; Block's defaults for the rest."""
    default = Block()
    return Block(
        tasks=tuple(choice.tasks or default.tasks),
        splits=tuple(choice.splits or default.splits),
        shares=tuple(default.shares if choice.shares is None else choice.shares),
        attacks=tuple(choice.attacks or default.attacks),
        defences=tuple(choice.defences or default.defences),
    )


def _replaced(block: Block, choice: Choice) -> Block:
    """Give the block with the choice's seeds, rounds and root sizes, where it names any."""
    seeds = tuple(choice.seeds) if choice.seeds else block.seeds
    roots = tuple(choice.root_samples) if choice.root_samples else block.root_samples
    return replace(block, seeds=seeds, rounds=choice.rounds or block.rounds, root_samples=roots)


def _chosen(cell: Cell, choice: Choice) -> bool:
    for axis in ("tasks", "splits", "shares", "attacks", "defences"):
        named = getattr(choice, axis)
        value = getattr(cell, axis.removesuffix("s"))
        # Without cheaters the attack is "none", whatever was named.
        if named is not None and value not in named and not (axis == "attacks" and value == NO_ATTACK):
            return False
    return True
