"""The signed contribution: what a worker commits to before anyone can see its update.

docs/spec/ledger.md, "Contribution (EIP-712)".
"""

from dataclasses import dataclass

from eth_account.messages import encode_typed_data
from eth_keys import keys
from eth_keys.exceptions import BadSignature, ValidationError
from eth_utils import keccak, to_checksum_address

from ledger.errors import InputError, ProofError

COMPACT_SIGNATURE_BYTES = 64

_HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2
_TYPES = {
    "Contribution": [
        {"name": "run", "type": "uint64"},
        {"name": "round", "type": "uint32"},
        {"name": "worker", "type": "address"},
        {"name": "specDigest", "type": "bytes32"},
        {"name": "parentModel", "type": "bytes32"},
        {"name": "updateRoot", "type": "bytes32"},
        {"name": "tokens", "type": "uint64"},
        {"name": "deadline", "type": "uint64"},
    ]
}


class SignatureFormError(ProofError):
    """A signature is not a valid EIP-2098 compact one; fault of its author."""

    code = "signature-form"


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a signature counts: one ledger contract on one chain.

    Attributes:
        chain_id: EIP-155 chain id.
        ledger: Checksummed address of the ContributionLedger.
    """

    chain_id: int
    ledger: str


@dataclass(frozen=True, slots=True)
class Contribution:
    """One worker's claim for one round, as it is signed and committed.

    Attributes:
        run: Run id, 0 <= run < 2**64.
        round: Round number, from 1.
        worker: Identity (cold owner address), checksummed.
        spec_digest: Digest of the run's gate constants, 32 bytes.
        parent_model: Model root that the round started from, 32 bytes.
        update_root: Merkle root of the update file, 32 bytes.
        tokens: Tokens or samples trained on; statistics only.
        deadline: Unix seconds after which the signature may not be used.
    """

    run: int
    round: int
    worker: str
    spec_digest: bytes
    parent_model: bytes
    update_root: bytes
    tokens: int
    deadline: int

    def digest(self, domain: Domain) -> bytes:
        """Give the EIP-712 digest that is signed and appended to the round's chain.

        Args:
            domain: Chain and ledger for which the digest counts.

        Returns:
            32 bytes.

        Raises:
            InputError: A field does not fit its Solidity type; fault of the caller.

        Source:
            EIP-712; docs/spec/ledger.md.
        """
        message = {
            "run": self.run,
            "round": self.round,
            "worker": self.worker,
            "specDigest": self.spec_digest,
            "parentModel": self.parent_model,
            "updateRoot": self.update_root,
            "tokens": self.tokens,
            "deadline": self.deadline,
        }
        separator = {
            "name": "Hallmark",
            "version": "1",
            "chainId": domain.chain_id,
            "verifyingContract": domain.ledger,
        }
        try:
            signable = encode_typed_data(separator, _TYPES, message)
        except Exception as error:
            raise InputError(f"contribution does not encode: {error}") from error
        return keccak(b"\x19" + signable.version + signable.header + signable.body)


def sign(digest: bytes, private_key: bytes) -> bytes:
    """Sign a digest; the result is deterministic (RFC 6979).

    Args:
        digest: 32 bytes from `Contribution.digest`.
        private_key: 32 bytes.

    Returns:
        64 bytes, EIP-2098: r, then s with the parity in its highest bit.
    """
    signature = keys.PrivateKey(private_key).sign_msg_hash(digest)
    parity_and_s = (signature.v << 255) | signature.s
    return bytes(signature.r.to_bytes(32, "big") + parity_and_s.to_bytes(32, "big"))


def recover(digest: bytes, signature: bytes) -> str:
    """Give the address whose key signed a digest.

    Args:
        digest: 32 bytes.
        signature: 64 bytes, EIP-2098.

    Returns:
        Checksummed address.

    Raises:
        SignatureFormError: Wrong length, s in the upper half, or no such curve
            point; fault of the signature's author.
    """
    if len(signature) != COMPACT_SIGNATURE_BYTES:
        raise SignatureFormError(f"a compact signature has 64 bytes, this one {len(signature)}")
    r = int.from_bytes(signature[:32], "big")
    parity_and_s = int.from_bytes(signature[32:], "big")
    s = parity_and_s & ((1 << 255) - 1)
    if s > _HALF_ORDER:
        raise SignatureFormError("signature is malleable: s is in the upper half of the order")
    try:
        public_key = keys.Signature(vrs=(parity_and_s >> 255, r, s)).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError, ValueError) as error:
        raise SignatureFormError(f"signature recovers no key: {error}") from error
    return to_checksum_address(public_key.to_canonical_address())
