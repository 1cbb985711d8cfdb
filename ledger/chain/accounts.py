"""The funded accounts of the local-chain convention."""

import hmac
from functools import lru_cache
from typing import Final

from eth_account.hdaccount.deterministic import HardNode, SoftNode, derive_child_key
from eth_account.hdaccount.mnemonic import Mnemonic
from eth_keys.datatypes import PrivateKey

MNEMONIC: Final = "test test test test test test test test test test test junk"
"""The phrase that local Ethereum chains share. Everybody knows these keys."""

BRANCHES: Final = (0, 1)
"""The two branches of m/44'/60'/0'/BRANCH/INDEX that are funded."""


@lru_cache(maxsize=8)
def local_keys(branch: int, count: int) -> tuple[PrivateKey, ...]:
    """Derive the first private keys of one branch of the well-known mnemonic.

    The path is m/44'/60'/0'/branch/index. The parent is derived once, which
    makes 300 keys about 0.1 s instead of several seconds.

    Args:
        branch: Fourth element of the path, >= 0.
        count: How many keys, >= 0.

    Returns:
        The keys with index 0 to count - 1.

    Source:
        BIP-32, BIP-39, BIP-44.
    """
    # The master key of BIP-32 is the child step without a parent.
    parent, chain_code = _master(Mnemonic.to_seed(MNEMONIC, ""))
    for node in (HardNode(44), HardNode(60), HardNode(0), SoftNode(branch)):
        parent, chain_code = derive_child_key(parent, chain_code, node)
    return tuple(PrivateKey(derive_child_key(parent, chain_code, SoftNode(i))[0]) for i in range(count))


@lru_cache(maxsize=8)
def local_addresses(branch: int, count: int) -> tuple[bytes, ...]:
    """Give the 20-byte addresses that belong to :func:`local_keys`."""
    return tuple(key.public_key.to_canonical_address() for key in local_keys(branch, count))


def _master(seed: bytes) -> tuple[bytes, bytes]:
    node = hmac.digest(b"Bitcoin seed", seed, "sha512")
    return node[:32], node[32:]
