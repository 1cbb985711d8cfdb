"""A GuardVotes contract on a node: what the guards of a run say did not arrive, or not sound.

docs/spec/ledger.md, "Settle": in a run that names such a contract, "unavailable" and "malformed" stand if a
majority of its guards has voted so in the sealed round.
"""

from dataclasses import dataclass

from eth_account.signers.local import LocalAccount
from eth_utils import to_canonical_address, to_checksum_address

from ledger.asking import NodeAnswerError
from ledger.client import LedgerClient, functions_at, has_code
from ledger.cohort import GUARDS_MAX, MEMBERS_MAX
from ledger.errors import InputError
from ledger.history import HistoryError, decode_log, event_topic
from ledger.node import Node
from ledger.sending import Sent

CONTRACT = "GuardVotes"

_GAS = 500_000


@dataclass(frozen=True, slots=True)
class Vote:
    """One vote: UndeliveredVoted.

    Attributes:
        round: Round of the updates.
        guard: Number of the guard, from 0.
        members: Bitmap of the members of whom no sound bytes arrived.
        transaction: Hash of the transaction, 32 bytes.
        block: Block number.
    """

    round: int
    guard: int
    members: int
    transaction: bytes
    block: int


class GuardVotes:
    """A GuardVotes contract; it serves any number of ledgers."""

    def __init__(self, node: Node, address: str) -> None:
        """Bind to a contract.

        Raises:
            NotOurContractError: No code there, or not this version's.
            EnvironmentFault: The node failed.
        """
        self.node = node
        self.address = to_checksum_address(address)
        self._functions = functions_at(node, self.address, CONTRACT)

    def votes_of(self, ledger: str, round_: int, index: int) -> int:
        """Read which guards have voted on a member, as a bitmap by their numbers.

        Args:
            ledger: Address of the ContributionLedger.
            round_: The round.
            index: Cohort index, 0..255.

        Raises:
            NodeAnswerError: The answer names guards that there cannot be.
        """
        votes = int(self.node.call(self._functions.votesOf(ledger, round_, index)))
        if votes >> GUARDS_MAX:
            raise NodeAnswerError(f"the node says that guards {votes:#x} have voted, there are {GUARDS_MAX}")
        return votes

    def cast_by(self, ledger: str, round_: int, guard: int) -> int:
        """Read which members a guard has voted on, as a bitmap by cohort index.

        Args:
            ledger: Address of the ContributionLedger.
            round_: The round.
            guard: Number of the guard, from 0.
        """
        return int(self.node.call(self._functions.castBy(ledger, round_, guard)))

    def votes_in(self, ledger: str, round_: int, first_block: int = 0) -> list[Vote]:
        """Read the votes of a round from the chain's logs, in the order in which they were cast.

        Args:
            ledger: Address of the ContributionLedger.
            round_: The round.
            first_block: A block not after the one in which the round was sealed.

        Raises:
            HistoryError: A log of the contract does not decode, or names a guard that there cannot be.
            EnvironmentFault: The node failed.
        """
        votes = []
        # Anybody's ledger may name this contract: what is not of this one is not even asked for.
        topics = [
            event_topic(CONTRACT, "UndeliveredVoted"),
            bytes(12) + to_canonical_address(ledger),
            round_.to_bytes(32, "big"),
        ]
        for log in self.node.logs(self.address, first_block, topics=topics):
            event = decode_log(log, CONTRACT)
            if event is None or event.name != "UndeliveredVoted":
                continue
            arguments = event.arguments
            named = to_checksum_address(arguments["ledger"]), int(arguments["round"])
            if named != (to_checksum_address(ledger), round_):
                continue
            guard = int(arguments["guard"])
            if guard >= GUARDS_MAX:
                raise HistoryError(round_, event.name, f"guard {guard}, there are {GUARDS_MAX} at most")
            votes.append(Vote(round_, guard, int(arguments["members"]), event.transaction, event.block))
        return votes

    def vote(self, guard: LocalAccount, ledger: str, round_: int, members: int) -> Sent:
        """Say that no sound bytes of members arrived; it cannot be taken back (a guard's signer).

        Args:
            guard: The guard's hot key.
            ledger: Address of the ContributionLedger, whose current round is sealed.
            round_: That round.
            members: Bitmap of the members by cohort index; the guard has voted on none of them before.

        Raises:
            InputError: The bitmap does not fit; fault of the caller.
            RevertedError: The contract refused.
            EnvironmentFault: The node failed.
        """
        if not 0 < members < 1 << MEMBERS_MAX:
            raise InputError(f"a vote is about members of a cohort, not {members:#x}")
        return self.node.send(guard, self._functions.vote(ledger, round_, members), local_gas=_GAS)


def guard_votes(client: LedgerClient) -> GuardVotes | None:
    """Give the GuardVotes contract that a ledger names; None if it names none, or another one.

    Raises:
        EnvironmentFault: The node failed.
    """
    address = client.facts.data_requests
    return GuardVotes(client.node, address) if has_code(client.node, address, CONTRACT) else None
