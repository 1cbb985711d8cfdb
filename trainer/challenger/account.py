"""Who challenges on a local chain."""

from eth_account.signers.local import LocalAccount

from ledger.deployment import FUNDS_WEI
from ledger.node import Node
from ledger.parties import local_challenger, local_operator

_ENOUGH_WEI = FUNDS_WEI // 10


def funded_local_account(node: Node) -> LocalAccount:
    """Give the well-known challenger account of a local chain, with ether for gas and bonds.

    It is nobody else's in a run, so that its transactions and a running training's do not get in each other's
    way.

    Args:
        node: The chain.

    Raises:
        InputError: The chain is not a local one; these keys are public.
        EnvironmentFault: The node failed.
    """
    account = local_challenger(node.chain_id)
    if node.balance_wei(account.address) < _ENOUGH_WEI:
        node.transfer(local_operator(node.chain_id), account.address, FUNDS_WEI)
    return account
