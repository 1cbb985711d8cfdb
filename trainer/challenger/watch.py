"""The watch: look at every settled round, show what is false, and go on where a crash left it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address

from ledger import artifacts
from ledger.blobs import BlobStore
from ledger.challenges import (
    ClaimRefusedError,
    OnChain,
    SignedRoot,
    TwoRootsClaim,
    UnfoundedClaim,
    WithheldClaim,
)
from ledger.client import LedgerClient, check_code
from ledger.deployment import NO_ADDRESS
from ledger.errors import EnvironmentFault, LedgerError, ProofError
from ledger.history import decode_log
from ledger.request_book import RequestStatus, request_book
from ledger.reverts import RevertedError
from ledger.sending import Sent
from ledger.stakes import VaultClient
from trainer.challenger.errors import NoChallengesError
from trainer.challenger.examine import Claim, Examiner, Falsehood, Field
from trainer.challenger.journal import ChallengeJournal, record_of
from trainer.challenger.rounds import (
    Position,
    SettledRound,
    judged_rounds,
    settled_round,
    settled_rounds,
)
from trainer.challenger.signatures import seen_in_block, seen_in_round
from trainer.judged import JudgedRound

MAX_ATTEMPTS = 5
"""Passes after which a round whose bytes do not come, or whose claims are refused, is left."""

MAX_FAULTS = 3
"""Failures of node or store, one after the other, that end a pass; the next one goes on."""

SCAN_BLOCKS = 256
"""Newest blocks that a pass looks through for transactions with second signatures, also reverted ones."""

# More than any claim takes (docs/benchmarks.md); what is left over is not paid.
_CLAIM_GAS = 3_000_000
_SCAN_AGAIN = 12


class State(StrEnum):
    """What became of something false."""

    OVERTURNED = "overturned"
    PLANNED = "planned"
    WAITING = "waiting"
    UNPROVEN = "unproven"
    REFUSED = "refused"
    SLASHED = "slashed"
    UNSTAKED = "unstaked"


@dataclass(frozen=True, slots=True)
class Price:
    """What a transaction costs, or would cost.

    Attributes:
        gas: Gas of the whole transaction.
        wei_per_gas: Price of one when it was sent, or now.
    """

    gas: int
    wei_per_gas: int

    @property
    def wei(self) -> int:
        """The product."""
        return self.gas * self.wei_per_gas


@dataclass(frozen=True, slots=True)
class Outcome:
    """Something false, and what was done about it.

    Attributes:
        falsehood: What is false.
        state: OVERTURNED; PLANNED in a dry run; WAITING for the answer to a request; UNPROVEN; REFUSED by the
            contract or by our own check; SLASHED, or UNSTAKED where there is nothing to slash, for two signed
            roots, which change nothing in the round.
        transaction: Of the challenge, 32 bytes; None unless overturned.
        price: What it cost or would cost; None without a transaction.
        slashed_wei: What the guard that had posted it lost.
        answer_by: Until when an answer counts, Unix seconds of the chain; 0 unless waiting.
        detail: Why there is no claim, or what the contract said; "" otherwise.
    """

    falsehood: Falsehood
    state: State
    transaction: bytes | None = None
    price: Price | None = None
    slashed_wei: int = 0
    answer_by: int = 0
    detail: str = ""

    @property
    def kind(self) -> str:
        """Name of the claim: "segment", "boundary", ..; "" if there is none."""
        claim = self.falsehood.claim
        return "" if claim is None else claim.kind.name.lower()

    @property
    def is_standing(self) -> bool:
        """Whether something that is false, or that nobody can check, still counts."""
        return self.state not in (State.OVERTURNED, State.SLASHED, State.UNSTAKED)

    def as_json(self) -> dict[str, object]:
        """Give it for programs; the claim itself is left out."""
        false, price = self.falsehood, self.price
        return {
            "round": false.round,
            "index": false.index,
            "worker": false.worker,
            "poster": false.poster,
            "field": false.field.value,
            "expected": false.expected,
            "posted": false.posted,
            "state": self.state.value,
            "challenge": self.kind or None,
            "transaction": None if self.transaction is None else "0x" + self.transaction.hex(),
            "gas": None if price is None else price.gas,
            "cost_wei": None if price is None else price.wei,
            "slashed_wei": self.slashed_wei,
            "answer_by": self.answer_by or None,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Trouble:
    """A round that could not be looked at; the next pass does it again.

    Attributes:
        round: The round; 0 for the search for second signatures.
        error: What went wrong: node, store, or the chain's record.
    """

    round: int
    error: LedgerError


@dataclass(slots=True)
class PassReport:
    """One pass over the rounds.

    Attributes:
        rounds: Rounds that were looked at.
        outcomes: What was false in them.
        troubles: Rounds that could not be looked at.
        pending: Rounds that are not finished: the next pass looks at them again.
        standing: Rounds of this and earlier passes that were left although something in them is false, or
            could not be checked; without its journal a challenger looks at them again.
    """

    rounds: list[int] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    standing: list[int] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing false is left standing, as far as it was looked at."""
        return not self.standing and not any(outcome.is_standing for outcome in self.outcomes)

    def as_json(self) -> dict[str, object]:
        """Give it for programs."""
        return {
            "rounds": self.rounds,
            "outcomes": [outcome.as_json() for outcome in self.outcomes],
            "troubles": [{"round": t.round, "error": str(t.error)} for t in self.troubles],
            "pending": self.pending,
            "standing": self.standing,
        }


class Challenger:
    """Watches one run. Sends nothing about honest data, and nothing twice."""

    def __init__(
        self,
        client: LedgerClient,
        store: BlobStore,
        account: LocalAccount | None,
        journal: ChallengeJournal | None = None,
        *,
        scan_blocks: int = SCAN_BLOCKS,
    ) -> None:
        """Bind to a run.

        Args:
            client: Its ledger.
            store: Its update and trace files.
            account: Who sends, pays, and gets half of a slashed stake; None for a dry run.
            journal: How far it is; None looks at every round.
            scan_blocks: Most blocks of a pass in which all transactions are looked at, for second signatures.

        Raises:
            NoChallengesError: The ledger names no challenge contract.
            NotOurContractError: What it names is not this version's.
            EnvironmentFault: The node failed.
        """
        facts = client.facts
        if facts.challenge == NO_ADDRESS:
            raise NoChallengesError(
                f"the ledger {client.address} names no challenge contract: nothing can be overturned",
                hint="`hallmark audit` still says what is false",
            )
        check_code(client.node, facts.challenge, "Challenge")
        self._client = client
        self._account = account
        # In a dry run gas is estimated for anybody that is not the zero address.
        self._sender = facts.aggregator if account is None else account.address
        self._journal = journal or ChallengeJournal(None, client.node.chain_id, client.address)
        self._book = request_book(client)
        self._examiner = Examiner(client, store, has_requests=self._book is not None)
        self._scan_blocks = scan_blocks
        self._head: tuple[int, bytes | None] = (-1, None)
        self._judged: list[JudgedRound] = []

    def run_pass(
        self,
        *,
        on_round: Callable[[int], None] | None = None,
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> PassReport:
        """Look at every settled round that is not done, those that are not final first.

        Args:
            on_round: Told each round before it is looked at.
            on_outcome: Told everything false as soon as something was done about it.

        Returns:
            What was found. Nodes and stores that fail while a round is looked at are in it.

        Raises:
            ProofError: The chain's record does not decode.
            EnvironmentFault: The node failed before any round could be looked at.
            JournalError: The journal cannot be written.
        """
        self._take_up()
        report, faults = PassReport(), 0
        todo = self._todo()
        try:
            for outcome in self._look_at_signatures():
                report.outcomes.append(outcome)
                if on_outcome is not None:
                    on_outcome(outcome)
        except (EnvironmentFault, RevertedError) as error:
            report.troubles.append(Trouble(0, error))  # rounds matter more; the next pass tries again
        for round_ in todo:
            if on_round is not None:
                on_round(round_.number)
            try:
                outcomes = self._look(round_, on_outcome)
            except (EnvironmentFault, RevertedError) as error:
                report.troubles.append(Trouble(round_.number, error))
                report.pending.append(round_.number)
                faults += 1
                if faults == MAX_FAULTS:
                    break
                continue
            faults = 0
            report.rounds.append(round_.number)
            report.outcomes += outcomes
            if not self._finish(round_, outcomes):
                report.pending.append(round_.number)
        self._note_position()
        report.standing = self._journal.standing
        return report

    def challenge(self, round_number: int, index: int) -> Outcome | None:
        """Look at one contribution, and challenge it if something posted about it is false.

        Args:
            round_number: Its round.
            index: Its cohort index.

        Returns:
            What was done; None if nothing is false, or it was overturned before.

        Raises:
            EnvironmentFault: The node or the store failed.
            ChallengerError: The round is not settled, or the member did not commit to it.
        """
        self._take_up()
        round_ = next(
            (settled for history, settled in settled_rounds(self._client) if history.round == round_number),
            None,
        )
        if round_ is None or index not in round_.history.roots:
            raise NoChallengesError(
                f"round {round_number} is void or not settled, or member {index} did not commit to it",
                hint="only what was posted can be false; `hallmark history` shows the rounds",
            )
        found = next(self._examiner.examine(round_, only=index), None)
        return None if found is None else self._act(round_, found)

    def _take_up(self) -> None:
        """Before the chain is read: what a killed process has sent must be on it, or out of the way."""
        if self._account is not None:
            self._client.node.take_up(self._account)

    def _todo(self) -> list[SettledRound]:
        """Give the rounds to look at; those that cannot be challenged any more are done."""
        self._head = self._hash_and_number()
        after = self._journal.newest(self._hash_at, self._client.facts.workers, self._client.facts.guards)
        try:
            self._judged = list(judged_rounds(self._client, after))
        except ProofError:
            if after is None:
                raise
            # An event about rounds that were over: read all of it.
            self._journal.forget_positions()
            after = None
            self._judged = list(judged_rounds(self._client))
        pairs = [(judged.history, settled_round(judged)) for judged in self._judged]
        self._journal.follow({history.round: history for history, _ in pairs}, after)
        for history, _ in pairs:
            if history.voided is not None and not self._journal.is_done(history.round):
                self._journal.add_done(history)
        todo = [r for _, r in pairs if r is not None and not self._journal.is_done(r.number)]
        return sorted(todo, key=lambda one: (one.history.final is not None, one.number))

    def _note_position(self) -> None:
        """Keep how far the rounds are over and done, so that the next pass reads on from there."""
        last: JudgedRound | None = None
        for judged in self._judged:
            is_over = judged.history.final is not None or judged.history.voided is not None
            if not is_over or not self._journal.is_done(judged.history.round):
                break
            last = judged
        end = None if last is None else last.history.final or last.history.voided
        if last is None or end is None:
            return
        block_hash = self._hash_at(end.block)
        # Only of one chain: what was read must still be there.
        if block_hash is not None and self._hash_at(self._head[0]) == self._head[1]:
            record = record_of(last.history)
            self._journal.add_position(Position(last.history.round, end.block, block_hash, record, last.gate))

    def _hash_and_number(self) -> tuple[int, bytes | None]:
        number = self._client.node.block_number()
        return number, self._hash_at(number)

    def _hash_at(self, number: int) -> bytes | None:
        node = self._client.node
        found = node.block(number).get("hash") if number <= node.block_number() else None
        return None if found is None else bytes(found)

    # Two signed roots

    def _look_at_signatures(self) -> list[Outcome]:
        """Remember what members have signed, and challenge whoever has signed two roots."""
        client, roots = self._client, self._journal.signed
        for judged in self._judged:
            roots.add_parent(judged.history.round, judged.history.parent_model)
            for seen in seen_in_round(client, judged.history):
                roots.add(seen)
        head = self._head[0]
        first = max(0, roots.scanned_block + 1, head - self._scan_blocks + 1)
        # The newest may be replaced by a reorganisation with the same numbers: they are read again.
        for number in range(max(0, min(first, head - _SCAN_AGAIN)), head + 1) if self._scan_blocks else ():
            for seen in seen_in_block(client, number, roots):
                roots.add(seen)
        if self._scan_blocks:
            roots.scanned_block = head
        outcomes = [self._two_roots(*pair) for pair in roots.pairs()]
        roots.forget_before(max((judged.history.round for judged in self._judged), default=0))
        self._journal.keep()
        return outcomes

    def _two_roots(
        self, round_: int, index: int, parent: bytes, first: SignedRoot, second: SignedRoot
    ) -> Outcome:
        facts, roots = self._client.facts, self._journal.signed
        member = facts.members[index]
        claim = TwoRootsClaim(round_, index, parent, first, second)
        falsehood = Falsehood(
            round_,
            index,
            member.identity,
            Field.SIGNATURE,
            "0x" + first.update_root.hex(),
            "0x" + second.update_root.hex(),
            claim,
        )
        before = self._two_roots_of(round_)
        if before >> index & 1:
            roots.set_told(round_, index)
            return Outcome(falsehood, State.SLASHED, detail="somebody has shown it before")
        vault = VaultClient(self._client.node, facts.vault)
        if not vault.stake_of(self._client.address, member.identity).amount_wei:
            roots.set_told(round_, index)
            return Outcome(falsehood, State.UNSTAKED, detail="the member has nothing in the vault")
        try:
            claim.check(self._examiner.facts, OnChain(b"", two_roots=before), member.signer)
        except ClaimRefusedError as error:
            return Outcome(falsehood, State.REFUSED, detail=str(error))
        outcome = self._show(falsehood, claim)
        if outcome.state == State.OVERTURNED:
            roots.set_told(round_, index)
            return replace(outcome, state=State.SLASHED)
        return outcome

    def _two_roots_of(self, round_: int) -> int:
        node, facts = self._client.node, self._client.facts
        contract = node.web3.eth.contract(
            address=to_checksum_address(facts.challenge), abi=artifacts.load("Challenge").abi
        )
        return int(node.call(contract.functions.twoRootsOf(self._client.address, round_)))

    def _look(self, round_: SettledRound, on_outcome: Callable[[Outcome], None] | None) -> list[Outcome]:
        outcomes = []
        for falsehood in self._examiner.examine(round_):
            outcome = self._act(round_, falsehood)
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
        return outcomes

    def _finish(self, round_: SettledRound, outcomes: list[Outcome]) -> bool:
        """Note that a round is done; False if the next pass has to look at it again."""
        if any(one.state in (State.WAITING, State.PLANNED) for one in outcomes):
            return False
        again = any(
            one.state == State.REFUSED or (one.state == State.UNPROVEN and one.falsehood.may_change)
            for one in outcomes
        )
        if again and self._journal.add_attempt(round_.number) < MAX_ATTEMPTS:
            return False
        is_clean = not any(one.is_standing for one in outcomes)
        self._journal.add_done(round_.history, is_clean=is_clean)
        return True

    # What to do about one thing

    def _act(self, round_: SettledRound, falsehood: Falsehood) -> Outcome:
        claim = falsehood.claim
        if claim is None:
            return Outcome(falsehood, State.UNPROVEN, detail=falsehood.why)
        if falsehood.request is not None:
            return self._act_on_request(round_, falsehood, claim)
        return self._show(falsehood, claim)

    def _act_on_request(self, round_: SettledRound, falsehood: Falsehood, claim: Claim) -> Outcome:
        """Ask; wait; close; show that nobody answered. The chain says which of these is next."""
        book, key = self._book, falsehood.request
        if book is None or key is None or isinstance(claim, TwoRootsClaim):
            return Outcome(falsehood, State.UNPROVEN, detail="the run names no data-request contract")
        if book.unanswered_of(key.ledger, key.round)[key.kind] >> key.index & 1:
            return self._show_unanswered(round_, falsehood, claim)
        asked = book.request_of(key)
        if asked.status == RequestStatus.ANSWERED:
            detail = f"the {key.kind.name.lower()} request was answered: read the answer on the chain"
            return Outcome(replace(falsehood, may_change=False), State.UNPROVEN, detail=detail)
        if asked.status == RequestStatus.OPEN and self._client.node.next_timestamp() <= asked.answer_by:
            return Outcome(falsehood, State.WAITING, answer_by=asked.answer_by)
        if self._account is None:
            return Outcome(falsehood, State.PLANNED, detail="it has to be asked for first, with a bond")
        if asked.status == RequestStatus.OPEN:
            book.close(self._account, key)
            return self._show_unanswered(round_, falsehood, claim)
        book.ask(self._account, key, claim.target.opening)
        return Outcome(falsehood, State.WAITING, answer_by=book.request_of(key).answer_by)

    def _show_unanswered(self, round_: SettledRound, falsehood: Falsehood, claim: Claim) -> Outcome:
        book = self._book
        if book is None or not isinstance(claim, WithheldClaim | UnfoundedClaim):
            return Outcome(falsehood, State.UNPROVEN)
        on_chain = self._examiner.on_chain(round_)
        unanswered = book.unanswered_of(self._client.address, round_.number)
        try:
            claim.check(self._examiner.facts, replace(on_chain, unanswered=unanswered))
        except ClaimRefusedError as error:
            return Outcome(falsehood, State.REFUSED, detail=str(error))
        return self._show(falsehood, claim)

    def _show(self, falsehood: Falsehood, claim: Claim) -> Outcome:
        """Send the challenge, or say what it would cost."""
        client = self._client
        data = claim.calldata(self._examiner.facts)
        to, action = client.facts.challenge, f"challenge round {falsehood.round}, member {falsehood.index}"
        try:
            if self._account is None:
                gas, wei_per_gas = client.node.estimate(self._sender, to, data)
                return Outcome(falsehood, State.PLANNED, price=Price(gas, wei_per_gas))
            wei_per_gas = client.node.gas_price_wei()
            sent = client.node.send_data(self._account, to, data, action, local_gas=_CLAIM_GAS)
        except RevertedError as error:
            # Somebody may have been quicker; the next look at the round says so.
            return Outcome(falsehood, State.REFUSED, detail=str(error))
        return Outcome(
            falsehood,
            State.OVERTURNED,
            sent.hash,
            Price(sent.gas, wei_per_gas),
            slashed_wei=_slashed_wei(sent),
        )


def _slashed_wei(sent: Sent) -> int:
    for log in sent.logs:
        event = decode_log(log, "Challenge")
        if event is not None and event.name == "ContributionChallenged":
            return int(event.arguments["slashedWei"])
    return 0
