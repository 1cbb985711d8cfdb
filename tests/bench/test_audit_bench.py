"""The benchmark of the audit: its chain is one that every reading of the rules accepts."""

from pathlib import Path

import pytest

from bench.audit import bench_audit
from bench.errors import BenchInputError
from bench.toy_chain import WORKERS, ToyChain
from ledger.blobs import BlobStore
from tests.literal_verifier import LiteralVerifier, asking
from trainer.audit import AuditOptions, audit
from trainer.audit.source import SourceProvider, reading


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> ToyChain:
    made = ToyChain(tmp_path_factory.mktemp("toy") / "run")
    made.play_to(6, lambda _: None)
    return ToyChain(made.folder)  # as another process sees it


@pytest.mark.parametrize("replay", [True, False])
def test_a_toy_chain_passes_the_audit(chain: ToyChain, replay: bool) -> None:
    report = audit(reading(chain), chain.ledger, BlobStore(chain.blobs), AuditOptions(replay=replay))
    assert report.ok, report.differences
    assert (report.checked.rounds, report.checked.verdicts, report.unfinished) == (7, 6 * WORKERS, "open")
    assert report.checked.words == 6 * (WORKERS + 1)
    assert report.checked.models == (7 if replay else 1)


def test_a_toy_chain_goes_on(tmp_path: Path) -> None:
    chain = ToyChain(tmp_path / "run")
    for rounds in (2, 5):
        chain.play_to(rounds, lambda _: None)
        again = ToyChain(chain.folder)
        report = audit(reading(again), again.ledger, BlobStore(again.blobs))
        assert report.ok, report.differences
        assert report.checked.rounds == rounds + 1


def test_the_literal_verifier_accepts_a_toy_chain(chain: ToyChain) -> None:
    verifier = LiteralVerifier(asking(SourceProvider(chain).make_request), chain.ledger, chain.blobs)
    assert verifier.verify() == set()


def test_a_spoilt_file_of_a_toy_chain_is_found(tmp_path: Path) -> None:
    chain = ToyChain(tmp_path / "run")
    chain.play_to(2, lambda _: None)
    path = next(chain.blobs.glob("*.hmrk"))
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert not audit(reading(chain), chain.ledger, BlobStore(chain.blobs)).ok


def test_lengths_below_one_are_refused() -> None:
    for rounds in ((), (0,)):
        with pytest.raises(BenchInputError):
            bench_audit(rounds)
