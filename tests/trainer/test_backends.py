"""One tiny run on every chain that it may be recorded on: the same training, the same audit."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.chain import EmbeddedChain, ServerConfig
from tests.ledger.chain.conftest import running_anvil, running_server
from trainer.audit import audit
from trainer.chain_session import RunTarget, open_recorded_run
from trainer.config import resolve_config
from trainer.reporting import SilentObserver
from trainer.run import run


@pytest.fixture(params=["embedded", "rpc", pytest.param("anvil", marks=pytest.mark.node)])
def rpc_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a node, empty for the chain in the run's folder."""
    if request.param == "embedded":
        yield ""
    elif request.param == "rpc":
        with (
            EmbeddedChain.open(tmp_path / "chain") as chain,
            running_server(chain, ServerConfig(port=0)) as at,
        ):
            yield at.http_url
    else:
        with running_anvil() as url:
            yield url


def test_run_is_recorded_resumed_and_audited(rpc_url: str, tmp_path: Path) -> None:
    table: dict[str, object] = {
        "task": "digits_mlp",
        "workers": 9,  # more than a local chain funds by default, with operator and guard
        "rounds": 1,
        "root_samples": 20,
        "out": str(tmp_path / "run"),
        "inner": {"steps": 2},
        "attack": {"name": "copycat", "share": 0.25},
        "chain": {"rpc_url": rpc_url},
    }
    first = run(resolve_config(table), SilentObserver())
    second = run(resolve_config({**table, "rounds": 2}), SilentObserver())
    assert [report.round_number for report in first + second] == [1, 2]
    assert not any(second[0].approved[7:])
    with open_recorded_run(RunTarget(tmp_path / "run")) as recorded:
        report = audit(recorded.client.node, recorded.client.address, recorded.store)
    assert report.ok, report.differences
    assert report.checked.rounds == 2
    assert report.checked.contributions == 18
