"""The signed contribution against an independent writing of EIP-712 and EIP-2098."""

import contextlib
from dataclasses import fields, replace

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.contribution import Contribution, Domain, SignatureFormError, recover, sign
from ledger.errors import InputError

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
LEDGER = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
WORKER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
KEY = bytes(31) + b"\x07"
TYPE = (
    "Contribution(uint64 run,uint32 round,address worker,bytes32 specDigest,bytes32 parentModel,"
    "bytes32 updateRoot,uint64 tokens,uint64 deadline)"
)
SAMPLE = Contribution(7, 3, WORKER, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, 1000, 1_800_000_000)
DOMAIN = Domain(31337, LEDGER)


def written_out(c: Contribution, domain: Domain) -> bytes:
    """Write EIP-712 out, as docs/spec/ledger.md has it."""
    head = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    separator = keccak(
        encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [keccak(head), keccak(b"Hallmark"), keccak(b"1"), domain.chain_id, domain.ledger],
        )
    )
    types = ["bytes32", "uint64", "uint32", "address", "bytes32", "bytes32", "bytes32", "uint64", "uint64"]
    values = [keccak(text=TYPE), *(getattr(c, field.name) for field in fields(c))]
    return keccak(b"\x19\x01" + separator + keccak(encode(types, values)))


words = st.binary(min_size=32, max_size=32)


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        Contribution,
        run=st.integers(0, 2**64 - 1),
        round=st.integers(0, 2**32 - 1),
        worker=st.just(WORKER),
        spec_digest=words,
        parent_model=words,
        update_root=words,
        tokens=st.integers(0, 2**64 - 1),
        deadline=st.integers(0, 2**64 - 1),
    ),
    st.integers(1, 2**64 - 1),
)
def test_digest_is_that_of_the_standard(contribution: Contribution, chain_id: int) -> None:
    domain = Domain(chain_id, LEDGER)
    assert contribution.digest(domain) == written_out(contribution, domain)


def test_digest_depends_on_every_field_and_on_the_domain() -> None:
    others = [
        replace(SAMPLE, run=8),
        replace(SAMPLE, round=4),
        replace(SAMPLE, worker=LEDGER),
        replace(SAMPLE, spec_digest=bytes(32)),
        replace(SAMPLE, parent_model=bytes(32)),
        replace(SAMPLE, update_root=bytes(32)),
        replace(SAMPLE, tokens=1001),
        replace(SAMPLE, deadline=1),
    ]
    digests = {other.digest(DOMAIN) for other in (SAMPLE, *others)}
    digests |= {SAMPLE.digest(Domain(1, LEDGER)), SAMPLE.digest(Domain(31337, WORKER))}
    assert len(digests) == len(others) + 3


@pytest.mark.parametrize(
    "change", [{"run": 2**64}, {"round": -1}, {"worker": "0x12"}, {"update_root": b"\x01" * 33}]
)
def test_digest_of_a_field_out_of_range_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="does not encode"):
        replace(SAMPLE, **change).digest(DOMAIN)  # type: ignore[arg-type]


def test_signature_recovers_its_author_and_is_deterministic() -> None:
    digest = SAMPLE.digest(DOMAIN)
    signature = sign(digest, KEY)
    assert len(signature) == 64
    assert signature == sign(digest, KEY)
    assert recover(digest, signature) == Account.from_key(KEY).address
    assert int.from_bytes(signature[32:], "big") & (1 << 255) - 1 <= ORDER // 2


def test_signature_is_the_one_that_a_wallet_makes() -> None:
    names = [field.name for field in fields(SAMPLE)]
    camel = ["run", "round", "worker", "specDigest", "parentModel", "updateRoot", "tokens", "deadline"]
    parts = [part.split(" ") for part in TYPE[len("Contribution(") : -1].split(",")]
    typed = encode_typed_data(
        {"name": "Hallmark", "version": "1", "chainId": 31337, "verifyingContract": LEDGER},
        {"Contribution": [{"name": name, "type": kind} for kind, name in parts]},
        {new: getattr(SAMPLE, old) for new, old in zip(camel, names, strict=True)},
    )
    wallet = Account.sign_message(typed, KEY)
    ours = sign(SAMPLE.digest(DOMAIN), KEY)
    assert ours[:32] == wallet.r.to_bytes(32, "big")
    assert int.from_bytes(ours[32:], "big") == wallet.s | (wallet.v - 27) << 255


def test_signature_of_another_message_recovers_another_address() -> None:
    signature = sign(SAMPLE.digest(DOMAIN), KEY)
    other = replace(SAMPLE, tokens=1).digest(DOMAIN)
    assert recover(other, signature) != Account.from_key(KEY).address


def test_signature_with_a_high_s_is_refused() -> None:
    signature = sign(SAMPLE.digest(DOMAIN), KEY)
    for high in (ORDER // 2 + 1, (1 << 255) - 1):
        with pytest.raises(SignatureFormError, match="malleable"):
            recover(SAMPLE.digest(DOMAIN), signature[:32] + high.to_bytes(32, "big"))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(63),
        bytes(65),
        bytes(64),
        b"\xff" * 32 + bytes(31) + b"\x01",
        bytes(31) + b"\x01" + bytes(32),
        ORDER.to_bytes(32, "big") + bytes(31) + b"\x01",
        bytes(31) + b"\x05" + bytes(31) + b"\x01",
    ],
)
def test_what_is_no_signature_is_a_proof_error(signature: bytes) -> None:
    with pytest.raises(SignatureFormError):
        recover(SAMPLE.digest(DOMAIN), signature)


@settings(max_examples=100, deadline=None)
@given(words, st.binary(min_size=64, max_size=64))
def test_recover_of_random_bytes_gives_an_address_or_a_proof_error(digest: bytes, signature: bytes) -> None:
    with contextlib.suppress(SignatureFormError):
        assert recover(digest, signature).startswith("0x")
