"""Who takes part, and keys."""

import json
from pathlib import Path

import pytest
from eth_account import Account

from ledger.errors import InputError
from ledger.parties import KeyfileError, joining_proof, load_keystore, local_operator, local_parties


def test_local_parties_are_the_well_known_accounts() -> None:
    parties = local_parties(2)
    assert parties.operator.address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert parties.guard.identity.address == "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    assert parties.workers[0].identity.address == "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


def test_nobody_is_counted_twice() -> None:
    parties = local_parties(255)
    everybody = [p for party in (parties.guard, *parties.workers) for p in (party.identity, party.signer)]
    assert len({account.address for account in (*everybody, parties.operator)}) == 2 * 256 + 1


@pytest.mark.parametrize("count", [0, 256, -1])
def test_cohort_of_the_wrong_size_is_refused(count: int) -> None:
    with pytest.raises(InputError, match="1 to 255"):
        local_parties(count)


def test_other_guards_come_after_the_workers_and_change_no_worker() -> None:
    one, three = local_parties(4), local_parties(4, 3)
    assert (three.operator, three.workers, three.guards[0]) == (one.operator, one.workers, one.guards[0])
    assert one.guards == (one.guard,)
    assert three.members == (*three.workers, *three.guards)
    assert len(three.members) == 7
    # Accounts 6 and 7 of the well-known mnemonic.
    assert [guard.identity.address for guard in three.guards[1:]] == [
        "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
        "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
    ]
    largest = local_parties(241, 15)
    accounts = {key.address for party in largest.members for key in (party.identity, party.signer)}
    assert len(accounts | {largest.operator.address}) == 2 * 256 + 1


@pytest.mark.parametrize("guards", [-1, 0, 2, 4, 16, 17])
def test_number_of_guards_that_no_cohort_has_is_refused(guards: int) -> None:
    with pytest.raises(InputError, match="odd number of guards"):
        local_parties(3, guards)


def test_guards_and_workers_together_are_256_at_most() -> None:
    with pytest.raises(InputError, match="3 guards has 1 to 253 workers, not 254"):
        local_parties(254, 3)
    with pytest.raises(InputError, match="not 0"):
        local_parties(0, 3)


def test_well_known_keys_are_refused_off_a_local_chain() -> None:
    assert local_operator(31337).address == local_parties(1).operator.address
    with pytest.raises(InputError, match="well-known test keys are refused"):
        local_operator(1)


def test_keystore_opens_with_its_password_only(tmp_path: Path) -> None:
    account = Account.create()
    path = tmp_path / "key.json"
    path.write_text(json.dumps(Account.encrypt(account.key, "secret", kdf="pbkdf2", iterations=2)))
    assert load_keystore(path, "secret").address == account.address
    with pytest.raises(KeyfileError, match="cannot open keystore"):
        load_keystore(path, "wrong")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "not json"])
def test_what_is_no_keystore_is_a_key_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    with pytest.raises(KeyfileError):
        load_keystore(path, "secret")
    with pytest.raises(KeyfileError):
        load_keystore(tmp_path / "missing.json", "secret")


def test_joining_proof_depends_on_registry_and_chain() -> None:
    party = local_parties(1).workers[0]
    registry = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
    proofs = {joining_proof(party, registry, 1), joining_proof(party, registry, 2)}
    proofs.add(joining_proof(party, party.identity.address, 1))
    assert len(proofs) == 3
    assert {len(proof) for proof in proofs} == {65}
