"""Stakes by domain and holder, and what the vault owes to whom."""

from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address

from ledger.client import functions_at
from ledger.node import Node
from ledger.sending import Sent

_GAS = 500_000


@dataclass(frozen=True, slots=True)
class Stake:
    """One stake.

    Attributes:
        amount_wei: What is staked, unbonding or not.
        withdrawable_at: Unix seconds of the chain; 0 unless unbonding.
    """

    amount_wei: int
    withdrawable_at: int

    @property
    def bonded_wei(self) -> int:
        """What is staked and not unbonding."""
        return 0 if self.withdrawable_at else self.amount_wei


class VaultClient:
    """A StakeVault on a node."""

    def __init__(self, node: Node, address: str) -> None:
        """Bind to a vault and read its constants.

        Raises:
            NotOurContractError: No code there, or not this version's.
            EnvironmentFault: The node failed.
        """
        self.node = node
        self.address = to_checksum_address(address)
        self._functions = functions_at(node, self.address, "StakeVault")
        self.min_stake_wei = int(self._call("minStakeWei"))
        self.unbonding_delay_s = int(self._call("unbondingDelayS"))

    def stake_of(self, domain: str, holder: str) -> Stake:
        """Read a stake; `domain` is the address of a ledger."""
        amount, withdrawable_at = self._call("stakeOf", domain, holder)
        return Stake(int(amount), int(withdrawable_at))

    def credit_of(self, owner: str) -> int:
        """Read what is owed to somebody, wei."""
        return int(self._call("creditOf", owner))

    def deposit(self, payer: LocalAccount, domain: str, holder: str, amount_wei: int) -> Sent:
        """Add to a stake (anybody)."""
        return self._send(payer, "deposit", domain, holder, value_wei=amount_wei)

    def start_unbonding(self, holder: LocalAccount, domain: str) -> Sent:
        """Start the delay after which a stake can be withdrawn (holder)."""
        return self._send(holder, "startUnbonding", domain)

    def cancel_unbonding(self, holder: LocalAccount, domain: str) -> Sent:
        """Bond a stake again (holder)."""
        return self._send(holder, "cancelUnbonding", domain)

    def withdraw(self, holder: LocalAccount, domain: str) -> Sent:
        """Turn a stake into credit after the delay (holder)."""
        return self._send(holder, "withdraw", domain)

    def claim(self, owner: LocalAccount, recipient: str) -> Sent:
        """Pay out all that is owed to the sender (anybody)."""
        return self._send(owner, "claim", recipient)

    def _call(self, name: str, *arguments: object) -> Any:
        return self.node.call(getattr(self._functions, name)(*arguments))

    def _send(self, sender: LocalAccount, name: str, *arguments: object, value_wei: int = 0) -> Sent:
        function = getattr(self._functions, name)(*arguments)
        return self.node.send(sender, function, local_gas=_GAS, value_wei=value_wei)
