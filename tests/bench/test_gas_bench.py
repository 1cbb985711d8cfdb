"""The gas of rounds with several guards."""

import pytest

from bench.gas import bench_gas
from ledger.errors import InputError


def test_more_guards_cost_more_to_commit_and_to_settle_and_no_more_to_finalize() -> None:
    one, three = (bench_gas((4,), guards=guards)[0] for guards in (1, 3))
    assert three.commit > one.commit
    assert three.settle > one.settle
    assert abs(three.finalize - one.finalize) < 100
    assert three.per_contribution()["total"] == (three.commit + three.settle + three.finalize) / 4


def test_even_number_of_guards_is_refused() -> None:
    with pytest.raises(InputError, match="odd number of guards"):
        bench_gas((4,), guards=2)
