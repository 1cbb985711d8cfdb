"""A deadline for work that knows none of its own."""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def within(timeout_s: float, work: Callable[[], T]) -> T:
    """Do something in a thread of its own, and wait for it no longer than this.

    Args:
        timeout_s: Most seconds to wait.
        work: What to do. Nothing can end it: when the time is over it is left alone, and nobody hears of what
            it comes to, so it must do no harm then.

    Returns:
        What the work gives.

    Raises:
        TimeoutError: It was not done in time.
        Exception: Whatever the work raises.
    """
    outcome: SimpleQueue[T | _Failure] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except BaseException as error:  # noqa: BLE001 it is raised where somebody waits
            outcome.put(_Failure(error))

    Thread(target=run, name="within", daemon=True).start()
    try:
        found = outcome.get(timeout=timeout_s)
    except Empty:
        raise TimeoutError(f"not done after {timeout_s:g} s") from None
    if isinstance(found, _Failure):
        raise found.error
    return found


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error
