"""The benchmark of the assay measures what it says it measures."""

import pytest

import bench.assay
from bench.assay import BenchError, bench_assay
from guard.gate import Status
from guard.sketch import Engine
from ledger.update import HEADER_BYTES, UpdateInputError
from trainer.assay import Assay

VALUES = 3 * 8192 + 5


@pytest.mark.parametrize("engine", list(Engine))
def test_every_part_is_timed_and_the_ratios_are_theirs(engine: Engine) -> None:
    found = bench_assay(VALUES, 2, engine)
    assert (found.values, found.repeats, found.engine) == (VALUES, 2, engine)
    assert min(found.seconds.assay, found.seconds.sha256, found.seconds.copy, found.traced_s) > 0
    assert found.ratio_to_sha256 == found.seconds.assay / found.seconds.sha256
    assert found.trace == found.traced_s / found.seconds.assay
    assert found.update_bytes == HEADER_BYTES + 4 * 8192  # whole segments
    if found.extra_bytes is not None:
        assert found.peak_bytes == found.update_bytes + found.extra_bytes


def test_length_out_of_range_is_refused() -> None:
    with pytest.raises(UpdateInputError):
        bench_assay(0, 1)


def test_assay_that_refuses_its_update_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.assay, "assay", lambda *_, **__: Assay(None, Status.MALFORMED))
    with pytest.raises(BenchError, match="refused a sound update"):
        bench_assay(100, 1)
