"""What a local chain starts from."""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256

from ledger.chain.accounts import BRANCHES, local_addresses


@dataclass(frozen=True, slots=True)
class Genesis:
    """The fixed parameters of a chain; two chains with equal ones have equal genesis hashes.

    Attributes:
        chain_id: EIP-155 chain id; 31337 marks a local chain by convention.
        gas_limit: Gas limit of every block, constant for the life of the chain.
        timestamp_s: Timestamp of block 0, fixed so that runs can be repeated.
        base_fee_wei: Base fee of block 0; later ones follow EIP-1559.
        accounts: Funded accounts on each branch of the well-known mnemonic.
        balance_wei: What each of them starts with.
    """

    chain_id: int = 31337
    gas_limit: int = 2_000_000_000
    timestamp_s: int = 1_735_689_600
    base_fee_wei: int = 1_000_000_000
    accounts: int = 300
    balance_wei: int = 10_000 * 10**18

    def digest(self) -> bytes:
        """Give the 32 bytes by which a data directory remembers its genesis."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).digest()

    def addresses(self) -> tuple[bytes, ...]:
        """Give the funded addresses, 20 bytes each, branch after branch."""
        return tuple(address for branch in BRANCHES for address in local_addresses(branch, self.accounts))
