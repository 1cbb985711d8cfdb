"""Tasks by name, or by "module:factory" for a user's own."""

from typing import cast

from trainer.errors import TaskError
from trainer.plugins import PluginError, find
from trainer.tasks.base import ROOT, Batch, Metric, PoisonTest, Task, TaskFactory, TaskSetup
from trainer.tasks.byte_lm import ByteLm
from trainer.tasks.digits import DigitsCnn, DigitsMlp, DigitsMlpBiasedRoot

__all__ = ["ROOT", "TASKS", "Batch", "Metric", "PoisonTest", "Task", "TaskFactory", "TaskSetup", "load_task"]

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
        TaskError: No such task, module or factory, or the task cannot be set up like this.
    """
    return task_factory(name)(setup)


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
