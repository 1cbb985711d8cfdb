"""Recorded runs for all tests that only read them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainer.eventful import ROUNDS, make_eventful
from tests.trainer.lying import code_bit, exponent_by, tell_lies
from tests.trainer.recorded import Recorded, record, reopen
from tests.trainer.toys import tiny_run
from trainer.folder import RunFolder
from trainer.reporting import RoundReport, SilentObserver
from trainer.run import run


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Three rounds of four workers; the last one's updates are malformed."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    with record(tiny_run(out=str(folder), attack={"name": "malformed", "share": 0.25})) as found:
        yield found


@pytest.fixture(scope="session")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorded, list[RoundReport]]]:
    """Five rounds of tests.trainer.eventful, with what they reported."""
    config = tiny_run(out=str(tmp_path_factory.mktemp("eventful") / "run"), workers=3, rounds=ROUNDS)
    with pytest.MonkeyPatch.context() as patch:
        make_eventful(patch)
        reports = run(config, SilentObserver())
    with reopen(RunFolder(Path(config.out))) as recorded:
        yield recorded, reports


@pytest.fixture
def lied(tmp_path: Path) -> Path:
    """A finished run of three rounds; false are a word in round 1 and an exponent in round 3."""
    config = tiny_run(out=str(tmp_path / "run"))
    with pytest.MonkeyPatch.context() as patch:
        tell_lies(patch, {1: code_bit(1, 3), 3: exponent_by(2, -1)})
        run(config, SilentObserver())
    return Path(config.out)
