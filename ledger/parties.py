"""Who takes part in a run, and with which keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount

from ledger.chain.accounts import local_keys
from ledger.cohort import check_size
from ledger.errors import InputError
from ledger.node import LOCAL_CHAIN_ID


class KeyfileError(InputError):
    """A key file cannot be read or opened with this password."""

    code = "key"


@dataclass(frozen=True, slots=True)
class Party:
    """A worker or guard: a cold identity and the hot key that signs for it.

    Attributes:
        identity: Owner account; its address is the party's name for good.
        signer: Account whose key signs contributions.
    """

    identity: LocalAccount
    signer: LocalAccount


@dataclass(frozen=True, slots=True)
class Parties:
    """Everybody that one process plays in a local run.

    Attributes:
        operator: Deploys, relays batches, finalizes.
        guards: Commit their anchors, and one of them settles; by their numbers.
        workers: In cohort order.
    """

    operator: LocalAccount
    guards: tuple[Party, ...]
    workers: tuple[Party, ...]

    @property
    def guard(self) -> Party:
        """Guard number 0; the guard, where there is one."""
        return self.guards[0]

    @property
    def members(self) -> tuple[Party, ...]:
        """Everybody in the cohort, in its order: the workers, then the guards."""
        return self.workers + self.guards


def local_parties(worker_count: int, guard_count: int = 1) -> Parties:
    """Give the parties of a local run, with the well-known test keys.

    Account 0 is the operator, 1 the first guard, 2 and on are the workers, and after them the other guards;
    hot keys are on the second branch of the same mnemonic. A worker's keys do not depend on the guards.

    Args:
        worker_count: At least 1.
        guard_count: Odd, 1..15; with the workers at most 256.

    Returns:
        The parties. Everybody knows these keys: never use them off a local chain.

    Raises:
        InputError: A count is out of range.
    """
    check_size(worker_count, guard_count)
    everybody = 1 + worker_count + guard_count
    cold = [_account(key.to_bytes()) for key in local_keys(0, everybody)]
    hot = [_account(key.to_bytes()) for key in local_keys(1, everybody)]
    pairs = tuple(Party(*pair) for pair in zip(cold, hot, strict=True))
    first_other = 2 + worker_count
    return Parties(
        operator=cold[0],
        guards=(pairs[1], *pairs[first_other:]),
        workers=pairs[2:first_other],
    )


def local_operator(chain_id: int) -> LocalAccount:
    """Give the well-known operator account, on the local chain id only.

    Raises:
        InputError: The chain is not a local one; these keys are public.
    """
    if chain_id != LOCAL_CHAIN_ID:
        raise InputError(
            f"chain id {chain_id} is not the local one ({LOCAL_CHAIN_ID}): well-known test keys are refused",
            hint="give --keystore FILE; `hallmark run` plays everybody: local chains only",
        )
    return _account(local_keys(0, 1)[0].to_bytes())


def local_challenger(chain_id: int) -> LocalAccount:
    """Give the well-known account that challenges on a local chain, the hot key 0; no party of a run has it.

    Raises:
        InputError: The chain is not a local one; these keys are public.
    """
    local_operator(chain_id)
    return _account(local_keys(1, 1)[0].to_bytes())


def load_keystore(path: Path, password: str) -> LocalAccount:
    """Open a keystore v3 file.

    Raises:
        KeyfileError: No such file, not a keystore, or another password.
    """
    try:
        return _account(bytes(Account.decrypt(path.read_text(), password)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise KeyfileError(
            f"cannot open keystore {path}: {error}", hint="check the path and the password"
        ) from error


def joining_proof(party: Party, registry: str, chain_id: int) -> bytes:
    """Sign that a hot key agrees to sign for an identity (WorkerRegistry.join).

    Returns:
        65 bytes r || s || v.
    """
    domain: Mapping[str, object] = {
        "name": "Hallmark WorkerRegistry",
        "version": "1",
        "chainId": chain_id,
        "verifyingContract": registry,
    }
    types = {"Join": [{"name": "identity", "type": "address"}, {"name": "signer", "type": "address"}]}
    message = {"identity": party.identity.address, "signer": party.signer.address}
    signable = encode_typed_data(dict(domain), types, message)
    return bytes(party.signer.sign_message(signable).signature)


def _account(private_key: bytes) -> LocalAccount:
    account: LocalAccount = Account.from_key(private_key)
    return account
