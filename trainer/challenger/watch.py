"""The watch: look at every settled round, show what is false, and go on where a crash left it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from eth_account.signers.local import LocalAccount

from ledger.blobs import BlobStore
from ledger.challenges import ClaimRefusedError, UnfoundedClaim, WithheldClaim
from ledger.client import LedgerClient, check_code
from ledger.deployment import NO_ADDRESS
from ledger.errors import EnvironmentFault, LedgerError
from ledger.history import decode_log
from ledger.node import Sent
from ledger.request_book import RequestStatus, request_book
from ledger.reverts import RevertedError
from trainer.challenger.errors import NoChallengesError
from trainer.challenger.examine import Claim, Examiner, Falsehood
from trainer.challenger.journal import ChallengeJournal
from trainer.challenger.rounds import SettledRound, settled_rounds

MAX_ATTEMPTS = 5
"""Passes after which a round whose bytes do not come, or whose claims are refused, is left."""

MAX_FAULTS = 3
"""Failures of node or store, one after the other, that end a pass; the next one goes on."""

# More than any claim takes (docs/benchmarks.md); what is left over is not paid.
_CLAIM_GAS = 3_000_000


class State(StrEnum):
    """What became of something false."""

    OVERTURNED = "overturned"
    PLANNED = "planned"
    WAITING = "waiting"
    UNPROVEN = "unproven"
    REFUSED = "refused"


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
            contract or by our own check.
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
        return self.state != State.OVERTURNED

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
        round: The round.
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
    ) -> None:
        """Bind to a run.

        Args:
            client: Its ledger.
            store: Its update and trace files.
            account: Who sends, pays, and gets half of a slashed stake; None for a dry run.
            journal: How far it is; None looks at every round.

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
        for round_ in self._todo():
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
        if round_ is None or index not in round_.roots:
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
        pairs = list(settled_rounds(self._client))
        self._journal.follow({history.round: history for history, _ in pairs})
        for history, _ in pairs:
            if history.voided is not None and not self._journal.is_done(history.round):
                self._journal.add_done(history)
        todo = [r for _, r in pairs if r is not None and not self._journal.is_done(r.number)]
        return sorted(todo, key=lambda one: (one.history.final is not None, one.number))

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
        if book is None or key is None:
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
