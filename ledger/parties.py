"""Who takes part in a run, and with which keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount

from ledger.chain.accounts import local_keys
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
        guard: Commits the anchor and settles.
        workers: In cohort order.
    """

    operator: LocalAccount
    guard: Party
    workers: tuple[Party, ...]


def local_parties(worker_count: int) -> Parties:
    """Give the parties of a local run, with the well-known test keys.

    Account 0 is the operator, 1 the guard, 2 and on are the workers; hot keys
    are on the second branch of the same mnemonic.

    Args:
        worker_count: 1 <= count <= 255.

    Returns:
        The parties. Everybody knows these keys: never use them off a local chain.

    Raises:
        InputError: The count is out of range.
    """
    if not 1 <= worker_count <= 255:
        raise InputError(f"a cohort has 1 to 255 workers, not {worker_count}")
    cold = [_account(key.to_bytes()) for key in local_keys(0, worker_count + 2)]
    hot = [_account(key.to_bytes()) for key in local_keys(1, worker_count + 2)]
    pairs = [Party(*pair) for pair in zip(cold, hot, strict=True)]
    return Parties(operator=cold[0], guard=pairs[1], workers=tuple(pairs[2:]))


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
