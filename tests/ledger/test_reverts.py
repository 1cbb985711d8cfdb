"""Reverts, decoded."""

import pytest
from eth_abi.abi import encode
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from ledger import artifacts
from ledger.reverts import CONTRACTS, HINTS, decode_revert


def test_custom_error_is_named_with_its_facts() -> None:
    data = keccak(text="ContributionLedgerWindowClosed(uint64)")[:4] + encode(["uint64"], [99])
    error = decode_revert("commitBatch", data)
    assert error.name == "ContributionLedgerWindowClosed"
    assert error.arguments == {"closedAt": 99}
    assert "closedAt=99" in str(error)
    assert "next round" in error.hint


def test_string_and_panic_are_named() -> None:
    plain = decode_revert("x", bytes.fromhex("08c379a0") + encode(["string"], ["no"]))
    assert (plain.name, plain.arguments) == ("Error", {"reason": "no"})
    panic = decode_revert("x", bytes.fromhex("4e487b71") + encode(["uint256"], [0x11]))
    assert (panic.name, panic.arguments) == ("Panic", {"panic_code": 17})


@given(st.binary(max_size=80))
def test_any_bytes_become_an_error(data: bytes) -> None:
    for head in (b"", bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71")):
        error = decode_revert("x", head + data)
        assert str(error).startswith("x was refused by the contract")


def test_cut_arguments_are_an_unknown_revert() -> None:
    data = keccak(text="ContributionLedgerWindowClosed(uint64)")[:4] + bytes(7)
    assert decode_revert("x", data).name == ""


@pytest.mark.parametrize("name", sorted(HINTS))
def test_every_hint_is_for_an_error_that_exists(name: str) -> None:
    errors = {e["name"] for c in CONTRACTS for e in artifacts.load(c).abi if e["type"] == "error"}
    assert name in errors


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("08c379a0") + encode(["string"], ["no" * 10**6]),
        bytes.fromhex("08c379a0") + encode(["string"], ["no)\nhint:  send ether to 0x00\x1b[2J"]),
        bytes(10**6),
    ],
)
def test_whoever_reverts_says_one_line_with_an_end(data: bytes) -> None:
    shown = str(decode_revert("x", data))
    assert shown.isprintable()
    assert len(shown) < 500
