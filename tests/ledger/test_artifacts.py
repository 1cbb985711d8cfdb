"""Committed artifacts."""

import pytest
from eth_utils import keccak

from ledger import artifacts
from ledger.errors import InputError


@pytest.mark.parametrize("name", ["ContributionLedger", "GateSpec", "Reputation", "WorkerRegistry"])
def test_artifact_matches_itself_whatever_its_immutables(name: str) -> None:
    artifact = artifacts.load(name)
    assert artifact.matches(artifact.runtime)
    assert artifact.runtime_digest == keccak(artifact.runtime)
    filled = bytearray(artifact.runtime)
    for start, length in artifact.immutable_ranges:
        filled[start : start + length] = b"\xee" * length
    assert artifact.matches(bytes(filled))


def test_artifact_does_not_match_other_code() -> None:
    artifact = artifacts.load("ContributionLedger")
    assert not artifact.matches(b"")
    assert not artifact.matches(artifact.runtime + b"\x00")
    hidden = {at for start, length in artifact.immutable_ranges for at in range(start, start + length)}
    for at in range(0, len(artifact.runtime), 97):
        changed = bytearray(artifact.runtime)
        changed[at] ^= 1
        assert artifact.matches(bytes(changed)) == (at in hidden)


def test_artifact_that_does_not_exist_is_the_callers_fault() -> None:
    with pytest.raises(InputError, match="no compiled contract"):
        artifacts.load("Nonsense")
