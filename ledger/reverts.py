"""Reverts, decoded to the custom error that a contract threw."""

from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils import keccak

from ledger import artifacts
from ledger.errors import ContractError, one_line

CONTRACTS = (
    "Challenge",
    "ContributionLedger",
    "DataRequests",
    "GateSpec",
    "GuardVotes",
    "Judge",
    "Reputation",
    "StakeVault",
    "WorkerRegistry",
)

_ERROR_STRING = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")


class RevertedError(ContractError):
    """A contract refused a call or transaction.

    Attributes:
        name: Name of the custom error, "Error", "Panic", or "" if unknown.
        arguments: Its arguments by name.
        data: The raw revert data.
    """

    code = "reverted"

    def __init__(
        self,
        action: str,
        name: str,
        arguments: dict[str, Any],
        data: bytes,
        *,
        message: str = "",
        hint: str = "",
    ) -> None:
        facts = ", ".join(f"{key}={_show(value)}" for key, value in arguments.items())
        unknown = f"unknown revert {_show(data)}" if data else "it gave no reason"
        what = f"{name}({facts})" if name else unknown
        super().__init__(
            message or f"{action} was refused by the contract: {what}", hint=hint or HINTS.get(name, "")
        )
        self.name = name
        self.arguments = arguments
        self.data = data


HINTS = {
    "ContributionLedgerWindowClosed": "the commit window is over; commit to the next round",
    "ContributionLedgerAlreadyCommitted": "the first commitment of a round counts; nothing was changed",
    "ContributionLedgerWrongSigner": (
        "the signature is for another round, chain, ledger or parent model, or by another key; sign again"
    ),
    "ContributionLedgerGuardUnbonded": (
        "the guard's stake was slashed or is unbonding; `hallmark run` stakes anew when it starts, and of "
        "several guards another one can settle"
    ),
    "ContributionLedgerWrongSeed": (
        "the words were made under another seed: the chain was reorganised; run the same command again"
    ),
    "CommitteeNoQuorum": "more than half of the guards need a sound anchor; the round can only be voided",
    "GuardVotesAlreadyCast": "a vote cannot be taken back; leave out the members that were voted on",
    "GuardVotesNotGuard": "only the hot keys of the run's guards vote",
    "GuardVotesNotSealed": "guards vote after the seal and before the settlement",
    "ContributionLedgerPaused": "only the run's guardian can let rounds open again",
    "ContributionLedgerTainted": "`hallmark rollback RUN` sets the model back to before the overturned round",
    "ContributionLedgerUnbondingTooShort": "choose shorter challenge and answer windows or another vault",
    "StakeVaultStillBonded": "wait until then; a stake can be slashed until it is withdrawn",
    "ContributionLedgerUnknownMember": "only members of the cohort that was sealed for this run may commit",
}


def decode_revert(action: str, data: bytes) -> RevertedError:
    """Turn revert data into an error that names what happened.

    Args:
        action: What was tried, for the message.
        data: Revert data as the node returned it; may be anything.

    Returns:
        The error, to be raised by the caller.
    """
    selector, payload = data[:4], data[4:]
    if selector == _ERROR_STRING:
        name, types, names = "Error", ["string"], ["reason"]
    elif selector == _PANIC:
        name, types, names = "Panic", ["uint256"], ["panic_code"]
    elif selector in _selectors():
        name, types, names = _selectors()[selector]
    else:
        return RevertedError(action, "", {}, data)
    try:
        values = decode(types, payload)
    except (DecodingError, UnicodeDecodeError, OverflowError):
        return RevertedError(action, "", {}, data)
    return RevertedError(action, name, dict(zip(names, values, strict=True)), data)


@cache
def _selectors() -> dict[bytes, tuple[str, list[str], list[str]]]:
    known: dict[bytes, tuple[str, list[str], list[str]]] = {}
    for contract in CONTRACTS:
        for entry in artifacts.load(contract).abi:
            if entry["type"] != "error":
                continue
            types = [item["type"] for item in entry["inputs"]]
            names = [item["name"] for item in entry["inputs"]]
            known[keccak(text=f"{entry['name']}({','.join(types)})")[:4]] = (entry["name"], types, names)
    return known


def _show(value: object) -> str:
    # The node, or whoever wrote the contract, has chosen it.
    return one_line(f"0x{value.hex()}" if isinstance(value, bytes) else value)
