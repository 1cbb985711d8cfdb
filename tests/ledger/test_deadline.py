"""A deadline for work that knows none."""

import time
from threading import Event

import pytest

from ledger.deadline import within


class Killed(BaseException):
    """Not one of the ordinary errors."""


def test_work_gives_what_it_gives() -> None:
    assert within(10, lambda: 7) == 7
    assert within(10, lambda: None) is None


@pytest.mark.parametrize("error", [ValueError("mine"), Killed(), TimeoutError("mine, too")])
def test_an_error_of_the_work_is_raised_where_somebody_waits(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        within(10, fail)
    assert caught.value is error


def test_work_that_takes_too_long_is_left_alone_and_comes_to_its_end() -> None:
    may_end, is_done = Event(), Event()

    def wait() -> None:
        may_end.wait()
        is_done.set()

    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=r"not done after 0\.1 s"):
        within(0.1, wait)
    assert 0.1 <= time.monotonic() - begun < 20
    may_end.set()
    assert is_done.wait(10)
