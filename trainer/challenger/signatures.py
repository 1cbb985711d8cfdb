"""Signed commitments that were seen, also those that no branch of the chain has any more.

A member that signs two roots for one round and parent model loses its stake (docs/spec/challenge.md, kind 5).
What can be seen: batches and `commitFor` calls to the ledger, in blocks, reverted ones too; and what was seen
before a reorganisation took it away. What cannot: commitments that a member sends itself, which carry no
signature of the message; calls through another contract; transactions that no block has; signatures that were
never sent.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from eth_utils import to_checksum_address

from ledger.calldata import decode_batch
from ledger.challenges import SignedRoot, expand_signature, signer_of
from ledger.challenges.calls import find_calls
from ledger.client import LedgerClient
from ledger.errors import LedgerError
from ledger.history import RoundHistory

KEEP_ROUNDS = 8
_PARENTS = 4


@dataclass(frozen=True, slots=True)
class Seen:
    """A commitment whose signature is the member's.

    Attributes:
        round: The round.
        index: Cohort index.
        parent_model: Model root that the round started from, 32 bytes.
        signed: Root, statistics, deadline, and the signature of 65 bytes.
    """

    round: int
    index: int
    parent_model: bytes
    signed: SignedRoot


class SignedRoots:
    """What members have signed in the newest rounds: at most two roots for each round, member and parent."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int, bytes], list[SignedRoot]] = {}
        self._parents: dict[int, list[bytes]] = {}
        self._told: set[tuple[int, int]] = set()
        self.scanned_block = -1

    def add_parent(self, round_: int, parent_model: bytes) -> None:
        """Remember what a round started from, on this branch of the chain."""
        known = self._parents.setdefault(round_, [])
        if parent_model not in known:
            self._parents[round_] = [*known, parent_model][-_PARENTS:]

    def parents(self, round_: int) -> list[bytes]:
        """Give what a round started from, on all branches that were seen."""
        return list(self._parents.get(round_, ()))

    def add(self, seen: Seen) -> None:
        """Remember a signature that was checked."""
        known = self._found.setdefault((seen.round, seen.index, seen.parent_model), [])
        if len(known) < 2 and all(one.update_root != seen.signed.update_root for one in known):
            known.append(seen.signed)

    def pairs(self) -> Iterator[tuple[int, int, bytes, SignedRoot, SignedRoot]]:
        """Give round, member, parent model and the two contributions of each who was not told of yet."""
        for (round_, index, parent), known in sorted(self._found.items()):
            if len(known) == 2 and (round_, index) not in self._told:
                yield round_, index, parent, known[0], known[1]

    def set_told(self, round_: int, index: int) -> None:
        """Note that all that can be done about a member's two roots was done."""
        self._told.add((round_, index))

    def forget_before(self, newest_round: int) -> None:
        """Forget old rounds, but not two roots that nobody was told of."""
        oldest = newest_round - KEEP_ROUNDS + 1
        waiting = {(round_, index) for round_, index, *_ in self.pairs()}
        self._found = {k: v for k, v in self._found.items() if k[0] >= oldest or k[:2] in waiting}
        self._parents = {round_: known for round_, known in self._parents.items() if round_ >= oldest}
        self._told = {entry for entry in self._told if entry[0] >= oldest}

    def as_json(self) -> dict[str, Any]:
        """Give it for a file."""
        return {
            "scanned_block": self.scanned_block,
            "parents": {str(n): [parent.hex() for parent in known] for n, known in self._parents.items()},
            "told": sorted(map(list, self._told)),
            "found": [
                [
                    round_,
                    index,
                    parent.hex(),
                    one.update_root.hex(),
                    one.tokens,
                    one.deadline,
                    one.signature.hex(),
                ]
                for (round_, index, parent), known in self._found.items()
                for one in known
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what as_json() gave; nothing for an empty mapping.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It is something else.
        """
        roots = cls()
        if not content:
            return roots
        roots.scanned_block = int(content["scanned_block"])
        for number, known in content["parents"].items():
            roots._parents[int(number)] = [bytes.fromhex(parent) for parent in known]
        roots._told = {(int(round_), int(index)) for round_, index in content["told"]}
        for round_, index, parent, root, tokens, deadline, signature in content["found"]:
            signed = SignedRoot(bytes.fromhex(root), int(tokens), int(deadline), bytes.fromhex(signature))
            roots.add(Seen(int(round_), int(index), bytes.fromhex(parent), signed))
        return roots


def seen_in_round(client: LedgerClient, history: RoundHistory) -> Iterator[Seen]:
    """Give the commitments of a round that carry a signature of their member."""
    for commitment in history.commitments:
        if commitment.signature is not None:
            signed = SignedRoot(
                commitment.update_root,
                commitment.tokens,
                commitment.deadline,
                expand_signature(commitment.signature),
            )
            yield from _checked(client, history.round, commitment.index, [history.parent_model], signed)


def seen_in_block(client: LedgerClient, number: int, roots: SignedRoots) -> Iterator[Seen]:
    """Give the commitments in the transactions of a block, whether they took effect or not.

    Args:
        client: The ledger.
        number: The block; read with its transactions.
        roots: Knows what rounds started from.

    Raises:
        EnvironmentFault: The node failed.
    """
    block = client.node.request("eth_getBlockByNumber", hex(number), True)
    transactions = block.get("transactions") if isinstance(block, dict) else None
    for transaction in transactions if isinstance(transactions, list) else ():
        try:
            if to_checksum_address(transaction["to"] or "") != client.address:
                continue
            calldata = bytes.fromhex(transaction["input"].removeprefix("0x"))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # creates a contract, or is none at all
        for round_, index, signed in _commitments(calldata):
            yield from _checked(client, round_, index, roots.parents(round_), signed)


def _commitments(calldata: bytes) -> Iterator[tuple[int, int, SignedRoot]]:
    for round_, deadline, members, packed in find_calls("ContributionLedger", "commitBatch", calldata):
        try:
            items = decode_batch(members, packed)
        except LedgerError:
            continue
        for index, item in items.items():
            signature = expand_signature(item.signature)
            yield round_, index, SignedRoot(item.update_root, item.tokens, deadline, signature)
    for round_, index, root, tokens, deadline, signature in find_calls(
        "ContributionLedger", "commitFor", calldata
    ):
        yield round_, index, SignedRoot(bytes(root), tokens, deadline, bytes(signature))


def _checked(
    client: LedgerClient, round_: int, index: int, parents: Iterable[bytes], signed: SignedRoot
) -> Iterator[Seen]:
    """Give it if the member's key has signed it, for one of these parent models."""
    if not 0 <= index < len(client.facts.members) or len(signed.signature) != 65:
        return
    signer = client.facts.members[index].signer
    for parent in parents:
        try:
            contribution = client.contribution(
                index, round_, parent, signed.update_root, signed.tokens, signed.deadline
            )
            found = signer_of(contribution.digest(client.facts.domain), signed.signature)
        except LedgerError:
            continue  # numbers that no contribution has
        if found == signer:
            yield Seen(round_, index, parent, signed)
            return
