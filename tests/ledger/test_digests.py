"""Digests against docs/spec/ledger.md, written out with nothing but keccak."""

import json
from pathlib import Path

from eth_utils import keccak

from guard.gate import GateParameters
from ledger import digests
from ledger.contribution import Domain

DOMAIN = Domain(31337, "0x5FbDB2315678afecb367f032d93F642f64180aa3")
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "hallmark_v1.json").read_text())


def word(value: int | bytes | str) -> bytes:
    if isinstance(value, str):
        value = bytes.fromhex(value[2:])
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\x00")


def joined(*values: int | bytes | str) -> bytes:
    return keccak(b"".join(map(word, values)))


def tag(name: str) -> bytes:
    return keccak(text=f"hallmark.{name}.v1")


def test_round_start_is_written_as_the_page_says() -> None:
    found = digests.round_start(DOMAIN, 7, 3, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32)
    assert found == joined(tag("round"), 31337, DOMAIN.ledger, 7, 3, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32)


def test_append_hashes_the_two_words() -> None:
    assert digests.append(b"\x01" * 32, b"\x02" * 32) == keccak(b"\x01" * 32 + b"\x02" * 32)


def test_seed_is_written_as_the_page_says() -> None:
    found = digests.seed(DOMAIN, 7, 3, b"\x01" * 32, b"\x02" * 32)
    assert found == joined(tag("seed"), 31337, DOMAIN.ledger, 7, 3, b"\x01" * 32, b"\x02" * 32)


def test_settled_is_written_as_the_page_says() -> None:
    settlement = digests.Settlement(0b1011, b"\x04" * 32, b"payload", 0b10, 5, 6, [1, 2], [3, 4])
    expected = joined(
        tag("settled"),
        b"\x01" * 32,
        0b1011,
        b"\x04" * 32,
        keccak(b"payload"),
        0b10,
        5,
        6,
        joined(1, 2),
        joined(3, 4),
    )
    assert digests.settled(b"\x01" * 32, settlement) == expected


def test_final_and_void_are_written_as_the_page_says() -> None:
    assert digests.final(b"\x01" * 32, b"\x02" * 32, b"\x03" * 32) == joined(
        tag("final"), b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
    )
    for reason in digests.VoidReason:
        assert digests.void(b"\x01" * 32, reason) == joined(tag("void"), b"\x01" * 32, int(reason))
    assert [int(reason) for reason in digests.VoidReason] == [1, 2, 3, 4]


def test_spec_digest_is_that_of_the_vectors_and_of_the_guard() -> None:
    default = GateParameters()
    assert digests.spec_digest(default.as_tuple()) == keccak(default.preimage())
    accepted = [vector for vector in VECTORS["specs"] if vector["accepted"]]
    assert accepted
    for vector in accepted:
        digest = "0x" + keccak(bytes.fromhex(vector["preimage"][2:])).hex()
        assert digest == vector["digest"]


def test_tags_are_all_different() -> None:
    tags = {
        digests.ROUND_TAG, digests.SEED_TAG, digests.SETTLED_TAG,
        digests.FINAL_TAG, digests.VOID_TAG, digests.SPEC_TAG,
    }  # fmt: skip
    assert len(tags) == 6
