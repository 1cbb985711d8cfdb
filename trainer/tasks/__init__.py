"""Tasks by name, or by "module:factory" for a user's own."""

from typing import cast

import torch

from trainer.errors import TaskError
from trainer.plugins import PluginError, find
from trainer.tasks.base import ROOT, Batch, Metric, PoisonTest, Task, TaskFactory, TaskSetup, root_of
from trainer.tasks.byte_lm import ByteLm
from trainer.tasks.digits import DigitsCnn, DigitsMlp, DigitsMlpBiasedRoot

__all__ = [
    "ROOT",
    "TASKS",
    "Batch",
    "Metric",
    "PoisonTest",
    "Task",
    "TaskFactory",
    "TaskSetup",
    "load_task",
    "root_of",
]

TASKS: dict[str, TaskFactory] = {
    "byte_lm": ByteLm,
    "digits_cnn": DigitsCnn,
    "digits_mlp": DigitsMlp,
    "digits_mlp_biased_root": DigitsMlpBiasedRoot,
}


def load_task(name: str, setup: TaskSetup) -> Task:
    """Build the task of this name.

    Args:
        name: A key of TASKS, the name of an installed plug-in, or "package.module:factory": an importable
            callable from TaskSetup to Task.
        setup: How to divide its data.

    Returns:
        The task.

    Raises:
        TaskError: No such task, module or factory, or the task cannot be set up like this, for instance
            because it has trusted samples for one guard only.
    """
    task = task_factory(name)(setup)
    for guard in range(1, setup.guards):
        try:
            task.sample(root_of(guard), 1, torch.Generator().manual_seed(0))
        except (LookupError, ValueError) as error:
            owner = root_of(guard)
            raise TaskError(
                f"the task {name} has no trusted samples for guard {guard} (owner {owner}): {error!r}",
                hint="divide as many disjoint sets as setup.guards says (docs/tasks.md), or have one guard",
            ) from error
    return task


def task_factory(name: str) -> TaskFactory:
    """Find the factory of a task without building it.

    Raises:
        TaskError: No such task, module or factory.
    """
    try:
        checked = cast(TaskFactory, find("task", name, TASKS))
    except PluginError as error:
        raise TaskError(str(error), hint=error.hint) from error
    return checked
