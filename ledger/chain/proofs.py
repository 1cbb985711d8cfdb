"""Merkle proofs of accounts and storage, as in EIP-1186."""

import rlp
from eth.abc import BlockHeaderAPI
from eth.constants import BLANK_ROOT_HASH, EMPTY_SHA3
from eth.rlp.accounts import Account
from eth_utils.crypto import keccak
from trie.hexary import HexaryTrie

from ledger.chain.chain import EmbeddedChain
from ledger.chain.params import Json
from ledger.chain.views import address_view, hex_data


def proof_view(
    chain: EmbeddedChain, header: BlockHeaderAPI, address: bytes, slots: tuple[int, ...]
) -> dict[str, Json]:
    """Give an account with its Merkle proofs against a block's state root.

    Args:
        chain: The chain.
        header: The block.
        address: The account, 20 bytes.
        slots: Storage slots to prove as well.

    Returns:
        The answer of eth_getProof; a missing account has a proof of its absence.

    Source:
        EIP-1186.
    """
    state_trie = HexaryTrie(chain.store, header.state_root)
    key = keccak(address)
    encoded = state_trie[key]
    account = rlp.decode(encoded, sedes=Account) if encoded else Account()
    storage_root = account.storage_root if encoded else BLANK_ROOT_HASH
    storage_trie = HexaryTrie(chain.store, storage_root)
    proofs: list[Json] = [_slot_view(storage_trie, slot) for slot in slots]
    return {
        "address": address_view(address),
        "accountProof": _nodes(state_trie, key),
        "balance": hex(account.balance),
        "codeHash": hex_data(account.code_hash if encoded else EMPTY_SHA3),
        "nonce": hex(account.nonce),
        "storageHash": hex_data(storage_root),
        "storageProof": proofs,
    }


def _slot_view(storage_trie: HexaryTrie, slot: int) -> dict[str, Json]:
    key = keccak(slot.to_bytes(32, "big"))
    encoded = storage_trie[key]
    value = rlp.decode(encoded, sedes=rlp.sedes.big_endian_int) if encoded else 0
    return {"key": hex(slot), "value": hex(value), "proof": _nodes(storage_trie, key)}


def _nodes(trie: HexaryTrie, key: bytes) -> list[Json]:
    nodes = trie.get_proof(key)  # type: ignore[no-untyped-call]
    return [hex_data(rlp.encode(node)) for node in nodes if node != b""]
