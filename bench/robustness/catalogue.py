"""What can be named in a grid."""

from bench.robustness.grid import GRIDS, NO_ATTACK
from trainer.attacks import ATTACKS
from trainer.defences import DEFENCES
from trainer.plugins import announced
from trainer.splits import SPLITS
from trainer.tasks import TASKS


def catalogue() -> dict[str, list[str]]:
    """Give the names of everything registered, plug-ins of installed packages included, by kind."""
    return {
        "tasks": sorted({*TASKS, *announced("task")}),
        "splits": list(SPLITS),
        "attacks": [NO_ATTACK, *sorted({*ATTACKS, *announced("attack")})],
        "defences": sorted({*DEFENCES, *announced("defence")}),
        "grids": list(GRIDS),
    }
