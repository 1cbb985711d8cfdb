"""Tasks by name, or by "module:factory" for a user's own."""

import importlib

from trainer.errors import TaskError
from trainer.tasks.base import ROOT, Batch, Metric, Task, TaskFactory, TaskSetup
from trainer.tasks.byte_lm import ByteLm
from trainer.tasks.digits import DigitsCnn, DigitsMlp

__all__ = ["ROOT", "TASKS", "Batch", "Metric", "Task", "TaskFactory", "TaskSetup", "load_task"]

TASKS: dict[str, TaskFactory] = {"byte_lm": ByteLm, "digits_cnn": DigitsCnn, "digits_mlp": DigitsMlp}


def load_task(name: str, setup: TaskSetup) -> Task:
    """Build the task of this name.

    Args:
        name: A key of TASKS, or "package.module:factory": an importable callable from TaskSetup to Task.
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
    if name in TASKS:
        return TASKS[name]
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise TaskError(f"unknown task {name!r}", hint=f'one of {", ".join(TASKS)}, or "module:factory"')
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise TaskError(
            f"task {name!r}: cannot import {module_name}: {error}", hint="is it on PYTHONPATH?"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise TaskError(f"task {name!r}: module {module_name} has no callable {attribute!r}")
    checked: TaskFactory = factory
    return checked
