"""Small runs that train in milliseconds."""

import numpy as np
from numpy.typing import NDArray

from trainer.config import RunConfig, resolve_config


def tiny_run(**changes: object) -> RunConfig:
    """Give a run of the 5,410-parameter perceptron with 3 inner steps; changes are top-level keys."""
    table: dict[str, object] = {
        "task": "digits_mlp",
        "workers": 4,
        "rounds": 3,
        "inner": {"steps": 3, "batch_size": 16, "lr": 0.003},
        "attack": {"name": "none", "share": 0.5},
    }
    return resolve_config({**table, **changes})


def attacked(name: str, **changes: object) -> RunConfig:
    """Give a tiny run in which the last two of four workers cheat."""
    return tiny_run(attack={"name": name, "share": 0.5}, **changes)


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Give the cosine of two vectors."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
