"""One recorded run for all tests that only read it."""

from collections.abc import Iterator

import pytest

from tests.trainer.recorded import Recorded, record
from tests.trainer.toys import tiny_run


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Three rounds of four workers; the last one's updates are malformed."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    with record(tiny_run(out=str(folder), attack={"name": "malformed", "share": 0.25})) as run:
        yield run
