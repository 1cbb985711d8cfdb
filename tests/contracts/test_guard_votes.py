"""Votes of several guards: more than half of them make a member unavailable, fewer do nothing."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from web3.contract import Contract
from web3.logs import DISCARD
from web3.types import TxReceipt

from tests.contracts.model import Assay, Posting, quorum, reading
from tests.contracts.support import (
    NOBODY,
    OUTSIDER,
    Revert,
    Run,
    TestChain,
    address,
    with_median,
)

WORKERS = 4
OPEN, SETTLED = 1, 3


@dataclass(slots=True)
class Voting:
    """A run whose guards vote."""

    run: Run
    contract: Contract

    @property
    def full(self) -> int:
        """All members' bits."""
        return self.run.full

    def vote(self, guard: int, members: int, round_: int = 1) -> TxReceipt:
        """Send a vote."""
        call = self.contract.functions.vote(self.run.ledger.address, round_, members)
        return self.run.chain.send(call, self.run.guard_number(guard).signer_key)

    def error(self, sender: int, members: int, round_: int = 1) -> Revert:
        """Give the error in which a vote ends."""
        call = self.contract.functions.vote(self.run.ledger.address, round_, members)
        return self.run.chain.error(call, sender)

    def votes(self, index: int, round_: int = 1) -> int:
        """Give who voted on a member."""
        found: int = self.contract.functions.votesOf(self.run.ledger.address, round_, index).call()
        return found

    def posting(self, rng: random.Random, unavailable: int, poster: int = 0) -> Posting:
        """Give a well-formed posting in which members are unavailable."""
        run, base = self.run, self.run.posting(rng)
        workers = len(run.members) - run.guards
        assays = tuple(Assay() if unavailable >> i & 1 else a for i, a in enumerate(base.assays))
        voices = tuple(Assay() if unavailable >> workers + k & 1 else a for k, a in enumerate(base.guards))
        heard = [a for k, a in enumerate(voices) if not unavailable >> workers + k & 1]
        changed = replace(
            base,
            anchor=reading(heard) if run.guards > 1 else base.anchor,
            assays=assays,
            guards=voices,
            unavailable=unavailable,
            poster=poster,
        )
        return with_median(run.constants, run.lanes, self.full, changed, run.guards)

    def settle_error(self, posting: Posting) -> Revert:
        """Give the error in which a settlement ends."""
        key = self.run.guard_number(posting.poster).signer_key
        return self.run.chain.error(self.run.ledger.functions.settle(1, posting.encode()), key)


def refuse(error: Revert, name: str, *arguments: object) -> None:
    assert (error.name, error.arguments) == (name, arguments)


@pytest.fixture(scope="module", params=[1, 3, 15])
def _voting(request: pytest.FixtureRequest) -> Voting:
    guards: int = request.param
    chain = TestChain(members=WORKERS + guards + 1)
    votes = chain.deploy("GuardVotes")
    return Voting(Run.deploy(chain, WORKERS, data_requests=votes.address, guards=guards), votes)


@pytest.fixture
def voting(_voting: Voting) -> Iterator[Voting]:
    """A run of one, three and fifteen guards, its first round sealed."""
    run = _voting.run
    snapshot, lanes = run.chain.tester.take_snapshot(), list(run.lanes)
    run.reach_sealed(1)
    yield _voting
    run.chain.tester.revert_to_snapshot(snapshot)
    run.lanes, run.yardstick = lanes, 0


def test_a_minority_condemns_nobody(voting: Voting, rng: random.Random) -> None:
    guards = voting.run.guards
    for guard in range(quorum(guards) - 1):
        voting.vote(guard, 0b0010)
    assert voting.votes(1) == (1 << quorum(guards) - 1) - 1
    for poster in (0, guards - 1):
        posting = voting.posting(rng, unavailable=0b0010, poster=poster)
        refuse(voting.settle_error(posting), "ContributionLedgerNotRequested", 1)


def test_a_quorum_makes_a_worker_unavailable(voting: Voting, rng: random.Random) -> None:
    run = voting.run
    for guard in range(quorum(run.guards)):
        voting.vote(run.guards - 1 - guard, 0b0010)
    # Nobody votes for another member by it.
    refuse(voting.settle_error(voting.posting(rng, unavailable=0b0011)), "ContributionLedgerNotRequested", 0)
    run.settle(1, voting.posting(rng, unavailable=0b0010, poster=run.guards - 1))
    assert run.lane_words() == run.model_lane_words()
    assert run.lanes[1].refused == 1


def test_a_poster_alone_cannot_drop_an_honest_guard(voting: Voting, rng: random.Random) -> None:
    run = voting.run
    if run.guards == 1:
        pytest.skip("a single guard has no entry")
    victim = WORKERS + 1
    posting = voting.posting(rng, unavailable=1 << victim)
    refuse(voting.settle_error(posting), "ContributionLedgerNotRequested", victim)
    for guard in range(quorum(run.guards) - 1):
        voting.vote(guard if guard == 0 else guard + 1, 1 << victim)
    refuse(voting.settle_error(posting), "ContributionLedgerNotRequested", victim)
    voting.vote(run.guards - 1, 1 << victim)
    run.settle(1, posting)
    assert run.lane_words() == run.model_lane_words()
    assert run.lanes[victim].refused == 1


def test_one_vote_for_many_and_more_later(voting: Voting) -> None:
    run = voting.run
    last = run.guards - 1
    receipt = voting.vote(last, 0b1001)
    [event] = voting.contract.events.UnavailableVoted().process_receipt(receipt, errors=DISCARD)
    assert dict(event["args"]) == {
        "ledger": run.ledger.address,
        "round": 1,
        "guard": last,
        "members": 0b1001,
    }
    voting.vote(last, 0b0010)
    cast = voting.contract.functions.castBy(run.ledger.address, 1, last).call()
    assert cast == 0b1011
    assert [voting.votes(i) for i in range(5)] == [1 << last, 1 << last, 0, 1 << last, 0]
    assert voting.votes(300) == 0
    assert voting.votes(0, round_=2) == 0


def test_a_vote_counts_once(voting: Voting) -> None:
    voting.vote(0, 0b0110)
    key = voting.run.guard_number(0).signer_key
    refuse(voting.error(key, 0b0010), "GuardVotesAlreadyCast", 0b0010)
    refuse(voting.error(key, 0b1111), "GuardVotesAlreadyCast", 0b0110)
    assert voting.votes(1) == 1


def test_only_guards_vote_and_only_by_their_signers(voting: Voting) -> None:
    run = voting.run
    keys = [OUTSIDER]
    keys += [m.signer_key for m in run.members[:WORKERS]]
    keys += [m.identity_key for m in run.members]
    for key in keys:
        refuse(voting.error(key, 1), "GuardVotesNotGuard", address(key).lower())


def test_a_vote_is_for_the_current_round_while_it_is_sealed(voting: Voting, rng: random.Random) -> None:
    run = voting.run
    key = run.guard.signer_key
    for round_ in (0, 2):
        refuse(voting.error(key, 1, round_), "GuardVotesWrongRound", round_, 1)
    run.settle(1, run.posting(rng))
    refuse(voting.error(key, 1), "GuardVotesNotSealed", 1, SETTLED)
    run.finalize(1, model=None if run.state()["anyApproved"] else run.state()["parentModel"])
    refuse(voting.error(key, 1), "GuardVotesWrongRound", 1, 2)
    refuse(voting.error(key, 1, 2), "GuardVotesNotSealed", 2, OPEN)


def test_a_vote_is_about_present_members(voting: Voting) -> None:
    run = voting.run
    key = run.guard.signer_key
    refuse(voting.error(key, 0), "GuardVotesEmpty")
    refuse(voting.error(key, 1 << len(run.members)), "GuardVotesAbsent", 1 << len(run.members))
    refuse(voting.error(key, 2**256 - 1), "GuardVotesAbsent", 2**256 - 1 - voting.full)


def test_nobody_votes_on_who_has_not_committed(voting: Voting, rng: random.Random) -> None:
    run = voting.run
    run.settle(1, run.posting(rng))
    run.finalize(1, model=None if run.state()["anyApproved"] else run.state()["parentModel"])
    run.reach_sealed(2, absent=(2,))
    refuse(voting.error(run.guard.signer_key, 0b0111, 2), "GuardVotesAbsent", 0b0100)
    voting.vote(0, 0b0011, 2)
    assert (voting.votes(0, 2), voting.votes(2, 2)) == (1, 0)


def test_votes_belong_to_one_ledger(voting: Voting, rng: random.Random) -> None:
    run = voting.run
    other = Run.deploy(
        run.chain,
        WORKERS,
        data_requests=voting.contract.address,
        registry=run.registry,
        members=run.members,
        guards=run.guards,
        run=8,
    )
    other.reach_sealed(1)
    for guard in range(run.guards):
        voting.vote(guard, 0b0010)
    beside = Voting(other, voting.contract)
    assert (voting.votes(1), beside.votes(1)) == ((1 << run.guards) - 1, 0)
    refuse(beside.settle_error(beside.posting(rng, 0b0010)), "ContributionLedgerNotRequested", 1)
    run.settle(1, voting.posting(rng, 0b0010))


def test_there_is_no_time_to_answer(voting: Voting) -> None:
    assert voting.contract.functions.answerWindowS().call() == 0
    assert voting.run.ledger.functions.dataRequests().call() != NOBODY
