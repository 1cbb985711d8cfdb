"""One run's ledger: what it says, and the transactions that move it on.

Contracts are checked before they are trusted: the code at the address must be
ours, of this version.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from typing import Any, cast

from eth_account.signers.local import LocalAccount
from eth_utils import keccak, to_checksum_address

from ledger import artifacts, digests
from ledger.asking import NodeAnswerError
from ledger.calldata import SignedCommitment, encode_batch
from ledger.cohort import GUARDS_MAX, MEMBERS_MAX
from ledger.contribution import Contribution, Domain
from ledger.errors import InputError
from ledger.history import Commitment, RoundHistory
from ledger.node import Node
from ledger.sending import Sent
from ledger.update import UpdateFacts

MEMBER_BYTES = 40

_SETTLE_WINDOW = 16  # its place in docs/spec/gate.md
# More than any of our transactions takes (bench/gas.py); what is left over is not paid.
_GAS_BASE = 500_000
_GAS_PER_MEMBER = 30_000


class NotOurContractError(InputError):
    """There is no Hallmark contract of this version at an address."""

    code = "not-our-contract"


class Stage(IntEnum):
    """Stage of a ledger's current round (docs/spec/ledger.md, "Stages")."""

    IDLE = 0
    OPEN = 1
    SEALED = 2
    SETTLED = 3


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the cohort.

    Attributes:
        identity: Checksummed address of the cold key; the member's name.
        signer: Checksummed address of the hot key at the time of sealing.
    """

    identity: str
    signer: str


@dataclass(frozen=True, slots=True)
class LedgerState:
    """The current round, as the contract has it.

    Attributes:
        round: Number of the current or last round, 0 before the first.
        stage: Where it stands.
        commit_deadline: Unix seconds of the chain.
        seal_block: Block of the seal, 0 before.
        settled_at: Unix seconds of the chain, 0 before.
        is_seed_fixed: Whether somebody has stored the seed.
        yardstick: 0 = none yet, else m + 1 (docs/spec/gate.md).
        presence: Bitmap of the members that have committed.
        parent_model: Model root of the last finalized round, or of the round that was rolled back to.
        sealed_at: Unix seconds of the chain, 0 before.
        is_unbonded: Whether some guard has too little in the vault to settle.
        is_paused: Whether the guardian lets no round open.
        tainted_from: First final round that was overturned since the last rollback, 0 if none was.
    """

    round: int
    stage: Stage
    commit_deadline: int
    seal_block: int
    settled_at: int
    is_seed_fixed: bool
    yardstick: int
    presence: int
    parent_model: bytes
    sealed_at: int = 0
    is_unbonded: bool = False
    is_paused: bool = False
    tainted_from: int = 0


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """What never changes in a run.

    Attributes:
        domain: Chain id and address, the EIP-712 domain.
        run: Run id.
        parameters: The gate's constants in the order of docs/spec/gate.md.
        spec_digest: Their digest, 32 bytes.
        members: Cohort in order, the guards last.
        aggregator: Who opens and finalizes.
        registry: Address of the WorkerRegistry.
        reputation: Address of the Reputation contract.
        data_requests: Address of the data-request contract, zero if none.
        shape_digest: 32 bytes.
        length: Number of parameters.
        challenge: Address of the contract that may overturn, zero if none.
        vault: Address of the StakeVault, zero if none.
        guardian: Who may pause, zero if nobody.
        initial_model: Model root that round 1 started from, 32 bytes.
        guards: How many of the last members are guards; odd, 1..15.
    """

    domain: Domain
    run: int
    parameters: tuple[int, ...]
    spec_digest: bytes
    members: tuple[Member, ...]
    aggregator: str
    registry: str
    reputation: str
    data_requests: str
    shape_digest: bytes
    length: int
    challenge: str
    vault: str
    guardian: str
    initial_model: bytes
    guards: int = 1

    @property
    def workers(self) -> int:
        """Number of workers, and cohort index of the first guard."""
        return len(self.members) - self.guards

    @property
    def guard_indices(self) -> range:
        """Cohort indices of the guards, by their numbers."""
        return range(self.workers, len(self.members))

    def is_guard(self, index: int) -> bool:
        """Tell whether a cohort index is a guard's."""
        return index in self.guard_indices

    @property
    def full(self) -> int:
        """Bitmap with every member's bit set."""
        return (1 << len(self.members)) - 1

    def update_facts(self, round_: int, index: int) -> UpdateFacts:
        """Give what the header of a member's update must say in a round."""
        return UpdateFacts(
            run=self.run,
            round=round_,
            worker=bytes.fromhex(self.members[index].identity[2:]),
            shape_digest=self.shape_digest,
            length=self.length,
        )

    def index_of(self, identity: str) -> int:
        """Give the cohort index of an identity.

        Raises:
            InputError: It is no member.
        """
        wanted = to_checksum_address(identity)
        for index, member in enumerate(self.members):
            if member.identity == wanted:
                return index
        raise InputError(
            f"{identity} is not in the cohort of this run", hint="`hallmark reputation` lists it"
        )


@dataclass(frozen=True, slots=True)
class ReputationView:
    """A member's reputation, as the contract gives it.

    Attributes:
        ema: Moving average of the score, in 1/64.
        llr: Evidence against the member, in 1/1024 nat.
        accepted: Accepted contributions; stops at 8191.
        refused: Refused contributions; stops at 2047.
        last_round: Last judged round, 0 if never.
        is_banned: Whether the evidence has reached the run's ban.
    """

    ema: int
    llr: int
    accepted: int
    refused: int
    last_round: int
    is_banned: bool


class LedgerClient:
    """A ContributionLedger on a node."""

    def __init__(self, node: Node, address: str) -> None:
        """Bind to a ledger and read its constants.

        Raises:
            InputError: It is no address.
            NotOurContractError: No code there, or not this version's.
            EnvironmentFault: The node failed.
        """
        self.node = node
        try:
            self.address = to_checksum_address(address)
        except (ValueError, TypeError) as error:
            raise InputError(f"not an address: {address!r}") from error
        self._functions = functions_at(node, self.address, "ContributionLedger")
        self.facts = self._read_facts()
        check_code(node, to_checksum_address(self._call("judge")), "Judge")
        self._reputation = functions_at(node, self.facts.reputation, "Reputation")

    def contribution(
        self, index: int, round_: int, parent_model: bytes, update_root: bytes, tokens: int, deadline: int
    ) -> Contribution:
        """Give the message that a member signs.

        Args:
            index: Cohort index.
            round_: The round.
            parent_model: Model root that the round starts from.
            update_root: 32 bytes.
            tokens: Statistics.
            deadline: Unix seconds.
        """
        return Contribution(
            run=self.facts.run,
            round=round_,
            worker=self.facts.members[index].identity,
            spec_digest=self.facts.spec_digest,
            parent_model=parent_model,
            update_root=update_root,
            tokens=tokens,
            deadline=deadline,
        )

    def state(self) -> LedgerState:
        """Read the current round."""
        raw = self._call("state")
        if not 0 <= int(raw[1]) < len(Stage):
            raise NodeAnswerError(f"the node says that the ledger is in stage {raw[1]}")
        return LedgerState(
            round=int(raw[0]),
            stage=Stage(int(raw[1])),
            commit_deadline=int(raw[2]),
            seal_block=int(raw[4]),
            settled_at=int(raw[5]),
            is_seed_fixed=bool(raw[6]),
            yardstick=int(raw[8]),
            presence=int(raw[9]),
            parent_model=bytes(raw[10]),
            sealed_at=int(raw[3]),
            is_unbonded=bool(raw[12]),
            is_paused=bool(raw[13]),
            tainted_from=int(raw[14]),
        )

    def record_of(self, round_: int) -> bytes:
        """Read a round's record digest; 32 zero bytes if it has none."""
        return bytes(self._call("recordOf", round_))

    def overturned_of(self, round_: int) -> int:
        """Read which members' contributions to a round were overturned, as a bitmap; all if the round was."""
        return int(self._call("overturnedOf", round_))

    def tainted_from(self) -> int:
        """Read the first final round that was overturned since the last rollback; 0 if none was."""
        return int(self._call("taintedFrom"))

    def lanes(self) -> list[int]:
        """Read all lane words of the run."""
        return [int(word) for word in self.node.call(self._reputation.lanes())]

    def reputations(self) -> list[ReputationView]:
        """Read every member's reputation from the Reputation contract, in cohort order."""
        return [self.reputation_at(index) for index in range(len(self.facts.members))]

    def reputation_at(self, index: int) -> ReputationView:
        """Read one member's reputation from the Reputation contract.

        Raises:
            RevertedError: There is no such member.
        """
        raw = self.node.call(self._reputation.reputationAt(index))
        ema, llr, accepted, refused, last_round, is_banned = raw
        return ReputationView(
            int(ema), int(llr), int(accepted), int(refused), int(last_round), bool(is_banned)
        )

    @property
    def settle_window_s(self) -> int:
        """Seconds after the seal from which anybody may void a round that is not settled."""
        return self.facts.parameters[_SETTLE_WINDOW]

    def is_seed_missed(self, state: LedgerState) -> bool:
        """Tell whether a sealed round can only be voided: its seed is out of reach and nobody has stored it.

        Args:
            state: The state now.
        """
        last = state.seal_block + 1 + digests.BLOCKHASH_REACH
        is_open = state.stage == Stage.SEALED and not state.is_seed_fixed
        return is_open and self.node.block_number() >= last

    def seed_of(self, state: LedgerState, accumulator: bytes) -> bytes:
        """Compute the seed of a sealed round, waiting for the block it needs and those that confirm it.

        What a guard posts under one seed is refused under another: a settlement is not sent before the seed's
        block is as good as final.

        Args:
            state: The state after the seal.
            accumulator: The round's accumulator at the seal.

        Raises:
            EnvironmentFault: The node failed, or there is no such block in time.
        """
        self.node.wait_for_block(state.seal_block + 1 + self.node.confirmations)
        block_hash = bytes(self.node.block(state.seal_block + 1)["hash"])
        self.node.build_on(state.seal_block + 1, block_hash)
        return digests.seed(self.facts.domain, self.facts.run, state.round, accumulator, block_hash)

    def chain_of(self, history: RoundHistory) -> tuple[list[bytes], list[bytes]]:
        """Compute the commitments' digests and the accumulator before each of them, and after the last.

        Args:
            history: The round, as read from the chain.

        Returns:
            n digests and n + 1 accumulators; the last is what the round was sealed with.
        """
        previous = self.record_of(history.round - 1) if history.round > 1 else digests.NO_DIGEST
        start = digests.round_start(
            self.facts.domain,
            self.facts.run,
            history.round,
            self.facts.spec_digest,
            previous,
            history.parent_model,
        )
        signed = [self.digest_of(history, commitment) for commitment in history.commitments]
        return signed, list(accumulate(signed, digests.append, initial=start))

    def digest_of(self, history: RoundHistory, commitment: Commitment) -> bytes:
        """Compute the EIP-712 digest of one commitment."""
        contribution = self.contribution(
            commitment.index,
            history.round,
            history.parent_model,
            commitment.update_root,
            commitment.tokens,
            commitment.deadline,
        )
        return contribution.digest(self.facts.domain)

    def approvals(self, history: RoundHistory, settlement: digests.Settlement) -> "Approvals":
        """Prepare to ask the contract which updates of a round it approved.

        Args:
            history: The round, settled or finalized.
            settlement: What its settled digest covers.
        """
        return Approvals(self, history, settlement)

    def ask_approval(self, round_: int, index: int, update_root: bytes, proof: tuple[object, ...]) -> bool:
        """Evaluate isApproved on the chain."""
        return bool(self._call("isApproved", round_, index, update_root, proof))

    def open_round(self, sender: LocalAccount, commit_deadline: int) -> Sent:
        """Open the next round (aggregator)."""
        return self._send(sender, "openRound", commit_deadline)

    def commit(self, sender: LocalAccount, index: int, contribution: Contribution) -> Sent:
        """Commit for oneself: sent by the member's own key."""
        c = contribution
        return self._send(
            sender, "commit", c.round, index, c.parent_model, c.update_root, c.tokens, c.deadline
        )

    def commit_batch(
        self, sender: LocalAccount, round_: int, deadline: int, items: Mapping[int, SignedCommitment]
    ) -> Sent:
        """Relay signed commitments (anybody)."""
        members, packed = encode_batch(items)
        return self._send(sender, "commitBatch", round_, deadline, members, packed)

    def seal(self, sender: LocalAccount, round_: int) -> Sent:
        """End the commit phase after its deadline (anybody)."""
        return self._send(sender, "seal", round_)

    def fix_seed(self, sender: LocalAccount, round_: int) -> Sent:
        """Store the seed (anybody)."""
        return self._send(sender, "fixSeed", round_)

    def settle(
        self,
        poster: LocalAccount,
        round_: int,
        payload: bytes,
        *,
        is_wanted: Callable[[], bool] | None = None,
    ) -> Sent:
        """Post words and norms; the contract computes the verdicts.

        Args:
            poster: Signer of the guard that the payload names.
            round_: The round, sealed.
            payload: As docs/spec/ledger.md has it.
            is_wanted: Whether the words are still those of the round's seed, see `Node.send`.
        """
        return self._send(poster, "settle", round_, payload, is_wanted=is_wanted)

    def finalize(
        self, sender: LocalAccount, round_: int, model_root: bytes, weights_digest: bytes, next_deadline: int
    ) -> Sent:
        """Record the merge and open the next round unless `next_deadline` is 0 (aggregator)."""
        return self._send(sender, "finalize", round_, model_root, weights_digest, next_deadline)

    def void_round(self, sender: LocalAccount, round_: int) -> Sent:
        """Give up a round that cannot be settled any more (anybody)."""
        return self._send(sender, "voidRound", round_)

    def rollback(
        self,
        sender: LocalAccount,
        to_round: int,
        settled_digest: bytes,
        model_root: bytes,
        weights_digest: bytes,
    ) -> Sent:
        """Set a tainted model back to that of an earlier round (aggregator, when idle).

        Args:
            sender: The aggregator.
            to_round: Final round before the overturned one; 0 for the initial model.
            settled_digest: Its D2; anything for round 0.
            model_root: Root of the model that it ended with.
            weights_digest: Of its merge; anything for round 0.
        """
        return self._send(sender, "rollback", to_round, settled_digest, model_root, weights_digest)

    def pause(self, guardian: LocalAccount, is_paused: bool) -> Sent:
        """Stop the opening of rounds, or let it go on (guardian)."""
        return self._send(guardian, "pause", is_paused)

    def _read_facts(self) -> LedgerFacts:
        cohort = self.node.code(self._call("cohort"))
        members, rest = divmod(len(cohort) - 1, MEMBER_BYTES)
        if not 2 <= members <= MEMBERS_MAX or rest:
            raise NodeAnswerError(f"the cohort of {self.address} has {len(cohort)} bytes of code")
        guards = int(self._call("guards"))
        if not 1 <= guards <= GUARDS_MAX or guards % 2 == 0 or guards >= members:
            raise NodeAnswerError(f"the node says that {guards} of {members} members are guards")
        spec = functions_at(self.node, to_checksum_address(self._call("spec")), "GateSpec")
        parameters = tuple(int(v) for v in self.node.call(spec.parameters()))
        return LedgerFacts(
            domain=Domain(self.node.chain_id, self.address),
            run=int(self._call("run")),
            parameters=parameters,
            spec_digest=bytes(self._call("specDigest")),
            members=_members(cohort),
            aggregator=to_checksum_address(self._call("aggregator")),
            registry=to_checksum_address(self._call("registry")),
            reputation=to_checksum_address(self._call("reputation")),
            data_requests=to_checksum_address(self._call("dataRequests")),
            shape_digest=bytes(self._call("shapeDigest")),
            length=int(self._call("length")),
            challenge=to_checksum_address(self._call("challenge")),
            vault=to_checksum_address(self._call("vault")),
            guardian=to_checksum_address(self._call("guardian")),
            initial_model=bytes(self._call("initialModel")),
            guards=guards,
        )

    def _call(self, name: str, *arguments: object) -> Any:
        return self.node.call(getattr(self._functions, name)(*arguments))

    def _send(
        self,
        sender: LocalAccount,
        name: str,
        *arguments: object,
        is_wanted: Callable[[], bool] | None = None,
    ) -> Sent:
        bound = _GAS_BASE + _GAS_PER_MEMBER * len(self.facts.members)
        function = getattr(self._functions, name)(*arguments)
        return self.node.send(sender, function, local_gas=bound, is_wanted=is_wanted)


class Approvals:
    """Proofs of approval for one round, made from public data."""

    def __init__(self, client: LedgerClient, history: RoundHistory, settlement: digests.Settlement) -> None:
        self._client = client
        self._history = history
        self._settlement = settlement
        self._digests, self._accumulators = client.chain_of(history)
        self._places = {c.index: place for place, c in enumerate(history.commitments)}

    def is_approved(self, index: int, update_root: bytes) -> bool:
        """Ask the contract whether an update was approved.

        Args:
            index: Cohort index of the worker.
            update_root: Root of the update in question.

        Returns:
            The contract's answer; False also if the worker did not commit to that root.
        """
        place = self._places.get(index)
        if place is None:
            return False
        settlement, final = self._settlement, self._history.final
        commitment = self._history.commitments[place]
        proof = (
            self._history.parent_model,
            commitment.tokens,
            commitment.deadline,
            self._accumulators[place],
            self._digests[place + 1 :],
            settlement.presence,
            settlement.seed,
            keccak(settlement.payload),
            settlement.approved,
            settlement.yardstick_before,
            settlement.yardstick_after,
            digests.lanes_digest(settlement.lanes_before),
            digests.lanes_digest(settlement.lanes_after),
            final is not None,
            final.model_root if final else digests.NO_DIGEST,
            final.weights_digest if final else digests.NO_DIGEST,
        )
        return self._client.ask_approval(self._history.round, index, update_root, proof)


def has_code(node: Node, address: str, name: str) -> bool:
    """Tell whether one of our contracts, of this version, is at an address.

    Raises:
        EnvironmentFault: The node failed.
    """
    return artifacts.load(name).matches(node.code(address))


def check_code(node: Node, address: str, name: str) -> None:
    """Check that one of our contracts, of this version, is at an address.

    Raises:
        NotOurContractError: It is not.
    """
    code = node.code(address)
    if not code:
        raise NotOurContractError(
            f"there is no contract at {address} on chain {node.chain_id}",
            hint="check the address and --rpc-url; a chain without its data folder has forgotten everything",
        )
    if not artifacts.load(name).matches(code):
        raise NotOurContractError(
            f"the contract at {address} is not this version's {name}",
            hint="use the version of Hallmark that deployed it",
        )


def functions_at(node: Node, address: str, name: str) -> Any:
    """Give the functions of one of our contracts, after a look at its code.

    Args:
        node: The chain.
        address: Checksummed address.
        name: Name of the contract.

    Raises:
        NotOurContractError: No code there, or not this version's.
        EnvironmentFault: The node failed.
    """
    check_code(node, address, name)
    return node.web3.eth.contract(address=cast(Any, address), abi=artifacts.load(name).abi).functions


def _members(cohort: bytes) -> tuple[Member, ...]:
    entries: Sequence[bytes] = [
        cohort[start : start + MEMBER_BYTES] for start in range(1, len(cohort), MEMBER_BYTES)
    ]
    return tuple(Member(to_checksum_address(e[:20]), to_checksum_address(e[20:])) for e in entries)
