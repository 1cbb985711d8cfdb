"""Rounds of three guards on a chain: what the contract makes of them is what the guard package does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from eth_abi.abi import encode

from guard.committee import committee_reading
from guard.gate import ABSENT, MALFORMED, UNAVAILABLE, GateParameters, Reading, Status, WorkerEvidence
from guard.lanes import unpack_lanes
from guard.settlement import Settlement, decode_settlement, encode_settlement
from guard.spec import gate as gate_spec
from guard.state import Decision, GateState
from ledger import digests
from ledger.asking import NodeAnswerError
from ledger.challenges import ChallengeFacts, OnChain, PostedStatus, Target, open_commitment, open_settlement
from ledger.client import LedgerClient, NotOurContractError, Stage
from ledger.cohort import read_cohorts
from ledger.deployment import Deployer, Journal
from ledger.digests import VoidReason
from ledger.errors import InputError
from ledger.guard_votes import GuardVotes, Vote, guard_votes
from ledger.history import HistoryError, read_round
from ledger.node import Node
from ledger.request_book import RequestBook, request_book
from ledger.reverts import RevertedError
from ledger.stakes import VaultClient
from tests.guard import strategies
from tests.ledger.played import FACTS, Played, played
from tests.trainer.recorded import Forge, ForgingProvider, call, code, logs

WORKERS, GUARDS = 3, 3
PARAMETERS = GateParameters()
WINDOW_S = 600


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Played]:
    with played(tmp_path, WORKERS, GUARDS, has_votes=True) as run_:
        yield run_


@dataclass
class Game:
    """A run played by hand; nothing is trained, the words are drawn."""

    run: Played
    rng: Random
    gate: GateState
    workers: int = WORKERS
    guards: int = GUARDS

    def near(self, code: int, bits: int) -> WorkerEvidence:
        for bit in self.rng.sample(range(256), bits):
            code ^= 1 << bit
        return WorkerEvidence(Status.COMMITTED, Reading(code, 10**9 + self.rng.getrandbits(20), -10))

    def drawn(self) -> Settlement:
        truth = self.rng.getrandbits(256)
        guards = tuple(self.near(truth, 30) for _ in range(self.guards))
        workers = tuple(self.near(truth, 60) for _ in range(self.workers))
        return Settlement(committee_reading(guards), 0, workers, self.rng.randbytes(32), guards=guards)

    def seal(self, present: int | None = None) -> None:
        """Let members commit, all of them if none are named, and end the commit phase."""
        client, state = self.run.client, self.run.client.state()
        present = client.facts.full if present is None else present
        for index, party in enumerate(self.run.parties.members):
            if present >> index & 1:
                root = bytes([state.round, index]) * 16
                message = client.contribution(
                    index, state.round, state.parent_model, root, 1, state.commit_deadline
                )
                client.commit(party.signer, index, message)
        if present != client.facts.full:
            self.run.node.wait_until(state.commit_deadline + 1)
            client.seal(self.run.parties.operator, state.round)
        self.run.node.wait_for_block(self.run.node.block_number() + 2)

    def vote(self, members: int) -> None:
        """Let a majority of the guards say that they have no sound bytes of members."""
        votes, client = guard_votes(self.run.client), self.run.client
        assert votes is not None
        for guard in self.run.parties.guards[: self.guards // 2 + 1]:
            votes.vote(guard.signer, client.address, client.state().round, members)

    def judged(self, settlement: Settlement) -> Settlement:
        client = self.run.client
        state = client.state()
        seed = client.seed_of(state, client.record_of(state.round))
        return replace(settlement, median=self.gate.median(PARAMETERS, settlement), seed_prefix=seed[:20])

    def settle(self, settlement: Settlement) -> Decision:
        """Post it by its poster, and compare everything that the contract keeps."""
        client = self.run.client
        number = client.state().round
        signer = self.run.parties.guards[settlement.poster].signer
        client.settle(signer, number, encode_settlement(settlement))
        decision = self.gate.decide(PARAMETERS, number, settlement)
        history = read_round(self.run.node, client.address, number)
        assert history.verdicts is not None
        assert history.verdicts.sender == signer.address
        assert history.verdicts.approved == decision.verdict.approved
        assert history.verdicts.yardstick == decision.after.yardstick
        assert client.lanes() == list(decision.after.lane_words)
        posted = decode_settlement(
            history.verdicts.payload, client.state().presence, client.facts.workers, client.facts.guards
        )
        assert posted == settlement
        self.gate = decision.after
        return decision

    def finalize(self) -> None:
        client = self.run.client
        deadline = self.run.node.next_timestamp() + WINDOW_S
        client.finalize(
            self.run.parties.operator, client.state().round, bytes([7]) * 32, bytes([8]) * 32, deadline
        )


@pytest.fixture
def game(run: Played) -> Game:
    return Game(run, Random(5), GateState.start(WORKERS, GUARDS))


def test_rounds_of_three_guards_are_those_of_the_guard_package(game: Game) -> None:
    """Every guard posts once; one lies, one is away."""
    client = game.run.client
    for number in range(1, 5):
        drawn = game.drawn()
        liar = drawn.guards[1].reading
        assert liar is not None
        guards = list(drawn.guards)
        if number == 2:
            guards[1] = replace(drawn.guards[1], reading=replace(liar, code=liar.code ^ 2**256 - 1))
        if number == 3:
            guards[0] = ABSENT
        if number == 4:
            guards[2] = MALFORMED
        settlement = replace(
            drawn, anchor=committee_reading(guards), guards=tuple(guards), poster=number % GUARDS
        )
        game.seal(settlement.presence)
        if number == 4:
            game.vote(1 << WORKERS + 2)
        decision = game.settle(game.judged(settlement))
        assert decision.verdict.approved == 0b111
        game.finalize()
    views = client.reputations()
    assert [(v.accepted, v.refused) for v in views] == [(4, 0)] * 3 + [(3, 0), (3, 1), (3, 1)]
    assert [view.last_round for view in views] == [4, 4, 4, 4, 4, 4]
    assert all(view.llr == 0 and not view.is_banned for view in views[WORKERS:])
    lanes = unpack_lanes(client.lanes(), WORKERS + GUARDS)
    assert [lane.ema for lane in lanes] == [view.ema for view in views]


def test_guard_settles_for_itself_alone(game: Game) -> None:
    client, parties = game.run.client, game.run.parties
    game.seal()
    payload = encode_settlement(game.judged(replace(game.drawn(), poster=1)))
    for account in (parties.guards[0].signer, parties.guards[1].identity, parties.workers[0].signer):
        with pytest.raises(RevertedError, match="NotGuard") as caught:
            client.settle(account, 1, payload)
        assert caught.value.arguments["guardSigner"] == parties.guards[1].signer.address.lower()
    client.settle(parties.guards[1].signer, 1, payload)
    assert client.state().stage == Stage.SETTLED
    with pytest.raises(RevertedError):
        client.settle(parties.guards[0].signer, 1, payload[:139] + b"\0" + payload[140:])


def test_poster_cannot_bend_the_header(game: Game) -> None:
    client, parties = game.run.client, game.run.parties
    game.seal()
    settlement = game.drawn()
    members = [strategies.posted(member) for member in settlement.entries]
    true = strategies.posted(settlement.anchor)

    def refusal(header: gate_spec.Posted) -> RevertedError:
        """Post under a header, with the median that goes with it."""
        median = gate_spec.upper_median([gate_spec.score(p.code, header.code) for p in members[:WORKERS]])
        payload = gate_spec.encode_payload(header, median, members, settlement.trace_root)
        with pytest.raises(RevertedError) as caught:
            client.settle(parties.guards[0].signer, 1, payload)
        return caught.value

    bent = refusal(true._replace(code=true.code ^ 1))
    assert (bent.name, bent.arguments["majority"]) == ("CommitteeWrongCode", true.code)
    for other in (true._replace(norm2=true.norm2 + 1), true._replace(exponent=true.exponent + 1)):
        bent = refusal(other)
        assert (bent.name, bent.arguments["norm2"]) == ("CommitteeWrongNorm", true.norm2)
    # Dropping the other two as malformed takes votes, and leaves no committee even then.
    members[WORKERS : WORKERS + 2] = [gate_spec.Posted(3)] * 2
    alone = refusal(members[-1])
    assert (alone.name, alone.arguments) == ("ContributionLedgerNotGranted", {"members": 0b011000})
    game.vote(0b011000)
    alone = refusal(members[-1])
    assert (alone.name, alone.arguments) == ("CommitteeNoQuorum", {"delivered": 0b100, "needed": 2})
    assert "voided" in alone.hint


def test_round_without_a_majority_of_guards_is_void(game: Game) -> None:
    game.seal(0b100111)
    history = read_round(game.run.node, game.run.client.address, 1)
    assert history.voided is not None
    assert history.voided.reason == VoidReason.NO_ANCHOR
    assert history.seal is None


def test_two_of_three_guards_are_enough_to_seal(game: Game) -> None:
    game.seal(0b101111)
    state = game.run.client.state()
    assert (state.stage, state.presence) == (Stage.SEALED, 0b101111)


def test_fifteen_guards_of_one_worker(tmp_path: Path) -> None:
    with played(tmp_path, workers=1, guards=15) as run:
        game = Game(run, Random(6), GateState.start(1, 15), workers=1, guards=15)
        game.seal()
        decision = game.settle(game.judged(replace(game.drawn(), poster=14)))
        assert decision.verdict.approved == 1
        assert [view.accepted for view in run.client.reputations()] == [1] * 16


# ---- votes


def test_poster_alone_makes_nobody_unavailable(game: Game) -> None:
    """Two of three guards must have said so; then it stands, for a guard as for a worker."""
    run, client, parties = game.run, game.run.client, game.run.parties
    votes = guard_votes(client)
    assert isinstance(votes, GuardVotes)
    assert request_book(client) is None
    game.seal()
    drawn = game.drawn()
    guards = (drawn.guards[0], UNAVAILABLE, drawn.guards[2])
    settlement = game.judged(
        replace(
            drawn,
            anchor=committee_reading(guards),
            guards=guards,
            workers=(drawn.workers[0], UNAVAILABLE, drawn.workers[2]),
        )
    )
    missing = 1 << 1 | 1 << WORKERS + 1
    payload = encode_settlement(settlement)
    for number in (0, 2):
        with pytest.raises(RevertedError):
            client.settle(parties.guards[0].signer, 1, payload)
        votes.vote(parties.guards[number].signer, client.address, 1, missing)
    assert votes.votes_of(client.address, 1, 1) == votes.votes_of(client.address, 1, WORKERS + 1) == 0b101
    assert votes.votes_of(client.address, 1, 0) == votes.votes_of(client.address, 2, 1) == 0
    assert [votes.cast_by(client.address, 1, number) for number in range(3)] == [missing, 0, missing]
    cast = votes.votes_in(client.address, 1)
    assert [(v.guard, v.members) for v in cast] == [(0, missing), (2, missing)]
    assert isinstance(cast[0], Vote)
    assert cast[0].block < cast[1].block
    assert cast[0].transaction != cast[1].transaction
    assert votes.votes_in(client.address, 2) == []
    assert votes.votes_in(client.address, 1, first_block=cast[1].block) == cast[1:]
    assert votes.votes_in(run.parties.operator.address, 1) == []
    decision = game.settle(settlement)
    assert decision.verdict.approved == 0b101
    views = client.reputations()
    assert (views[WORKERS + 1].accepted, views[WORKERS + 1].refused) == (0, 1)


def test_votes_that_count_for_nothing_are_refused(game: Game) -> None:
    client, parties = game.run.client, game.run.parties
    votes = GuardVotes(client.node, client.facts.data_requests)
    first = parties.guards[0].signer
    with pytest.raises(RevertedError, match="NotSealed"):
        votes.vote(first, client.address, 1, 1)
    game.seal(0b111101)
    for account in (parties.workers[0].signer, parties.guards[0].identity, parties.operator):
        with pytest.raises(RevertedError, match="NotGuard"):
            votes.vote(account, client.address, 1, 1)
    with pytest.raises(RevertedError, match="WrongRound"):
        votes.vote(first, client.address, 2, 1)
    with pytest.raises(RevertedError, match="Absent"):
        votes.vote(first, client.address, 1, 0b11)
    votes.vote(first, client.address, 1, 0b1)
    with pytest.raises(RevertedError, match="AlreadyCast") as caught:
        votes.vote(first, client.address, 1, 0b101)
    assert "cannot be taken back" in caught.value.hint
    votes.vote(first, client.address, 1, 0b100)
    assert votes.cast_by(client.address, 1, 0) == 0b101
    for members in (0, -1, 1 << 256):
        with pytest.raises(InputError):
            votes.vote(first, client.address, 1, members)


def forged_topics(change: Callable[[list[str]], list[str]]) -> Forge:
    return logs(lambda found: [{**one, "topics": change(one["topics"])} for one in found])


def test_node_that_lies_about_votes_is_caught(game: Game) -> None:
    """Votes of guards that cannot be, of other ledgers and rounds, and logs that do not decode."""
    run, client = game.run, game.run.client
    address = client.facts.data_requests
    game.seal()
    sent = GuardVotes(client.node, address).vote(run.parties.guards[1].signer, client.address, 1, 1)

    def through(*forges: Forge) -> GuardVotes:
        return GuardVotes(Node(ForgingProvider(run.provider, *forges)), address)

    with pytest.raises(NodeAnswerError, match="there are 15"):
        through(call("GuardVotes", "votesOf", lambda _: 1 << 15)).votes_of(client.address, 1, 0)
    with pytest.raises(NotOurContractError):
        through(code(address, lambda data: data[:-1]))
    beyond = forged_topics(lambda topics: [*topics[:3], "0x" + f"{15:064x}"])
    with pytest.raises(HistoryError, match="guard 15"):
        through(beyond).votes_in(client.address, 1)
    cut = forged_topics(lambda topics: topics[:3])
    with pytest.raises(HistoryError, match="does not decode"):
        through(cut).votes_in(client.address, 1)
    stranger = "0x" + "00" * 12 + address[2:].lower()
    for forge in (
        forged_topics(lambda topics: [topics[0], stranger, *topics[2:]]),
        forged_topics(lambda topics: [*topics[:2], "0x" + f"{2:064x}", topics[3]]),
        forged_topics(lambda topics: ["0x" + "ab" * 32, *topics[1:]]),
    ):
        assert through(forge).votes_in(client.address, 1) == []
    (vote,) = through().votes_in(client.address.lower(), 1)
    assert vote == Vote(1, 1, 1, sent.hash, sent.block)


def test_cohorts_that_cannot_be_are_refused(game: Game) -> None:
    registry = game.run.client.facts.registry
    (true,) = read_cohorts(game.run.node, registry)
    assert (true.workers, true.guards) == (WORKERS, GUARDS)
    for workers, guards in ((0, 3), (3, 0), (254, 3), (2**255, 1)):

        def change(
            found: list[dict[str, Any]], size: bytes = encode(["uint256"] * 2, [workers, guards])
        ) -> Any:
            return [
                {**one, "data": "0x" + size.hex() + one["data"][-64:]} if len(one["data"]) == 194 else one
                for one in found
            ]

        with pytest.raises(HistoryError, match="are no cohort"):
            read_cohorts(Node(ForgingProvider(game.run.provider, logs(change))), registry)


# ---- stakes


def test_guard_without_a_stake_cannot_settle_but_another_can(tmp_path: Path) -> None:
    with played(tmp_path, WORKERS, GUARDS) as first:
        parties, challenge = first.parties, first.parties.workers[0].identity
        facts = replace(FACTS, run=9, challenge=challenge.address)
        deployer = Deployer(first.node, parties.operator, Journal(tmp_path / "two.json", 31337))
        client = LedgerClient(first.node, deployer.run(PARAMETERS.as_tuple(), parties, facts))
        run = replace(first, client=client)
        vault, holder = VaultClient(run.node, client.facts.vault), parties.guards[1].identity
        vault.start_unbonding(holder, client.address)
        assert client.state().is_unbonded
        game = Game(run, Random(7), GateState.start(WORKERS, GUARDS))
        game.seal()
        settlement = game.judged(replace(game.drawn(), poster=1))
        with pytest.raises(RevertedError, match="GuardUnbonded") as caught:
            client.settle(parties.guards[1].signer, 1, encode_settlement(settlement))
        assert "another one can settle" in caught.value.hint
        game.settle(replace(settlement, poster=2))


def test_ledger_without_votes_has_no_such_contract(tmp_path: Path) -> None:
    with played(tmp_path) as run:
        assert guard_votes(run.client) is None
        assert request_book(run.client) is None


# ---- challenges


def test_opening_of_a_guard_s_anchor_is_under_the_record(game: Game) -> None:
    """A claim's own check against the contract's record, for every worker and every guard."""
    run, client = game.run, game.run.client
    game.seal()
    before = game.gate
    settlement = game.judged(replace(game.drawn(), poster=2))
    decision = game.settle(settlement)
    history = read_round(run.node, client.address, 1)
    assert history.verdicts is not None
    facts = ChallengeFacts(
        domain=client.facts.domain,
        run=client.facts.run,
        spec_digest=client.facts.spec_digest,
        shape_digest=client.facts.shape_digest,
        length=client.facts.length,
        identities=tuple(member.identity for member in client.facts.members),
        guards=client.facts.guards,
    )
    settled = digests.Settlement(
        presence=client.facts.full,
        seed=history.verdicts.seed,
        payload=history.verdicts.payload,
        approved=decision.verdict.approved,
        yardstick_before=before.yardstick,
        yardstick_after=decision.after.yardstick,
        lanes_before=before.lane_words,
        lanes_after=decision.after.lane_words,
    )
    signed, accumulators = client.chain_of(history)
    for place, commitment in enumerate(history.commitments):
        message = client.contribution(
            commitment.index,
            1,
            history.parent_model,
            commitment.update_root,
            commitment.tokens,
            commitment.deadline,
        )
        opening = open_settlement(open_commitment(accumulators[0], signed, place, message), settled)
        posted = Target(1, commitment.index, opening).check(
            facts, OnChain(client.record_of(1)), PostedStatus.SOUND
        )
        reading = settlement.entries[commitment.index].reading
        assert reading is not None
        assert (posted.code, posted.norm2, posted.exponent) == (
            reading.code,
            reading.norm2,
            reading.exponent,
        )
        assert opening.poster == 2
    approvals = client.approvals(history, settled)
    for commitment in history.commitments:
        is_approved = approvals.is_approved(commitment.index, commitment.update_root)
        assert is_approved == (not client.facts.is_guard(commitment.index))


def test_request_book_is_given_where_a_ledger_names_one(tmp_path: Path) -> None:
    with played(tmp_path) as run:
        deployer = Deployer(run.node, run.parties.operator, Journal(tmp_path / "two.json", 31337))
        facts = replace(FACTS, run=8, data_requests=deployer.data_requests())
        client = LedgerClient(run.node, deployer.run(PARAMETERS.as_tuple(), run.parties, facts))
        book = request_book(client)
        assert isinstance(book, RequestBook)
        assert book.address == client.facts.data_requests
        assert guard_votes(client) is None
