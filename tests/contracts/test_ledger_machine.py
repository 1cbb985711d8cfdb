"""The whole ledger next to a book of what it should do: every call's refusal or effect, every state."""

import copy
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, TypeVar

import pytest
from eth_abi.abi import decode
from eth_utils import keccak
from eth_utils.abi import get_abi_output_types
from hypothesis import note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from web3.contract.contract import ContractFunction
from web3.logs import DISCARD
from web3.types import TxReceipt

from ledger import digests
from ledger.contribution import Contribution, Domain
from ledger.digests import Settlement, VoidReason
from tests.contracts.model import (
    Assay,
    Constants,
    Lane,
    Posting,
    gate,
    pack_lanes,
    present_guards,
    present_workers,
    quorum,
    reading,
    unpack_lanes,
)
from tests.contracts.support import (
    AGGREGATOR,
    GAS_LIMIT,
    OUTSIDER,
    RELAYER,
    Run,
    TestChain,
    address,
    near,
    random_posting,
    sign_compact,
    sign_full,
    spec_digest,
    update_root,
    with_median,
)

CHALLENGE, GUARDIAN = 6, 7
IDLE, OPEN, SEALED, SETTLED = range(4)
MINIMUM = 10**16
OPEN_S, WINDOW_S, SETTLE_S = 1000, 500, 900
UNBONDING_S = WINDOW_S + 1
REACH = 256
NOTHING = bytes(32)
# A member is banned by one fault, or by one round far below the others.
CONSTANTS = Constants(challenge_window_s=WINDOW_S, settle_window_s=SETTLE_S, ban_from=2500)

LEDGER, VAULT, VOTES = "ContributionLedger", "StakeVault", "GuardVotes"


def first(prefix: str, *causes: tuple[bool, str]) -> str:
    """Give the error of the first cause that holds, nothing if none does."""
    return next((prefix + name for holds, name in causes if holds), "")


@dataclass(slots=True)
class Commitment:
    """What one member committed to."""

    index: int
    signed: Contribution
    digest: bytes


@dataclass(slots=True)
class Round:
    """Everything that a round went through."""

    number: int
    parent: bytes
    start: bytes
    commit_deadline: int
    commitments: list[Commitment] = field(default_factory=list)
    presence: int = 0
    sealed_at: int = 0
    seal_block: int = 0
    settled_at: int = 0
    seed: bytes = b""
    any_approved: bool = False
    is_void: bool = False
    settlement: Settlement | None = None
    settled_digest: bytes = NOTHING
    lanes_before: list[Lane] = field(default_factory=list)
    final: tuple[bytes, bytes] = (NOTHING, NOTHING)
    is_final: bool = False

    @property
    def accumulator(self) -> bytes:
        """D0, or the chain of the commitments after it."""
        value = self.start
        for commitment in self.commitments:
            value = digests.append(value, commitment.digest)
        return value

    @property
    def last_seed_block(self) -> int:
        """The last block that knows the hash of the block after the seal."""
        return self.seal_block + 1 + REACH


@dataclass(slots=True)
class Book:
    """What the ledger should hold, by docs/spec; `now` and `block` are those of the call."""

    domain: Domain
    run_id: int
    members: int
    guards: int
    initial: bytes
    parent: bytes
    lanes: list[Lane]
    now: int = 0
    block: int = 0
    stage: int = OPEN
    rounds: list[Round] = field(default_factory=list)
    yardstick: int = 0
    records: dict[int, bytes] = field(default_factory=dict)
    overturned: dict[int, int] = field(default_factory=dict)
    tainted_from: int = 0
    undone: set[int] = field(default_factory=set)
    is_paused: bool = False
    stakes: dict[int, int] = field(default_factory=dict)
    leaving: dict[int, int] = field(default_factory=dict)
    votes: dict[tuple[int, int], int] = field(default_factory=dict)

    # What is there

    @property
    def workers(self) -> int:
        return self.members - self.guards

    @property
    def full(self) -> int:
        return (1 << self.members) - 1

    @property
    def current(self) -> Round:
        return self.rounds[-1]

    @property
    def bonded(self) -> int:
        """Bitmap of the guards that have enough in the vault."""
        return sum(
            (self.stakes.get(k, 0) >= MINIMUM and k not in self.leaving) << k for k in range(self.guards)
        )

    @property
    def granted(self) -> int:
        """Members on whom more than half of the guards have voted."""
        cast = [self.votes.get((self.current.number, k), 0) for k in range(self.guards)]
        return sum(
            (sum(bits >> i & 1 for bits in cast) >= quorum(self.guards)) << i for i in range(self.members)
        )

    @property
    def settled_rounds(self) -> list[Round]:
        return [r for r in self.rounds if r.settlement is not None]

    def is_seed_late(self) -> bool:
        return not self.current.seed and self.block > self.current.last_seed_block

    # Why a call is refused

    def wrong_stage(self, round_: int, stage: int, name: str) -> list[tuple[bool, str]]:
        return [(round_ != self.current.number, "WrongRound"), (self.stage != stage, name)]

    def taking(self, round_: int, deadline: int) -> list[tuple[bool, str]]:
        return [
            *self.wrong_stage(round_, OPEN, "NotOpen"),
            (self.now > self.current.commit_deadline, "WindowClosed"),
            (self.now > deadline, "SignatureExpired"),
        ]

    def opening(self, deadline: int) -> list[tuple[bool, str]]:
        return [
            (not self.now < deadline < 2**40, "DeadlineOutOfRange"),
            (self.tainted_from != 0, "Tainted"),
            (self.is_paused, "Paused"),
        ]

    def seeding(self) -> list[tuple[bool, str]]:
        return [
            (not self.current.seed and self.block <= self.current.seal_block + 1, "SeedTooEarly"),
            (self.is_seed_late(), "SeedMissed"),
        ]

    def overturning(self, round_: int, members: int) -> list[tuple[bool, str]]:
        last = self.current.number
        is_current_open = self.stage in (OPEN, SEALED) or self.current.is_void
        return [
            (not 0 < round_ <= last or (round_ == last and is_current_open), "NotOverturnable"),
            (self.overturned.get(round_, 0) & members != 0, "AlreadyOverturned"),
        ]

    # What a call does

    def open(self, deadline: int) -> None:
        number = len(self.rounds) + 1
        previous = self.records.get(number - 1, NOTHING)
        spec = spec_digest(CONSTANTS)
        start = digests.round_start(self.domain, self.run_id, number, spec, previous, self.parent)
        self.rounds.append(Round(number, self.parent, start, deadline))
        self.stage = OPEN

    def commit(self, commitments: Sequence[Commitment]) -> None:
        self.current.commitments += commitments
        self.current.presence |= sum(1 << c.index for c in commitments)
        self.records[self.current.number] = self.current.accumulator
        if self.current.presence == self.full:
            self.seal()

    def seal(self) -> None:
        if (self.current.presence >> self.workers).bit_count() < quorum(self.guards):
            self.void(VoidReason.NO_ANCHOR)
            return
        self.stage, self.current.sealed_at, self.current.seal_block = SEALED, self.now, self.block

    def void(self, reason: VoidReason) -> None:
        last = self.current.settled_digest if self.stage == SETTLED else self.current.accumulator
        self.records[self.current.number] = digests.void(last, reason)
        self.current.is_void = True
        self.stage = IDLE

    def settle(self, posting: Posting, seed: bytes) -> None:
        this, yardstick = self.current, self.yardstick
        this.lanes_before = self.lanes
        approved, self.yardstick, self.lanes = gate(
            CONSTANTS, this.number, self.lanes, this.presence, posting, yardstick, self.guards
        )
        words = pack_lanes(this.lanes_before), pack_lanes(self.lanes)
        this.settlement = Settlement(
            this.presence, seed, posting.encode(), approved, yardstick, self.yardstick, *words
        )
        this.settled_digest = digests.settled(this.accumulator, this.settlement)
        self.records[this.number] = this.settled_digest
        this.any_approved, this.settled_at = approved != 0, self.now
        self.stage = SETTLED

    def finalize(self, model: bytes, weights: bytes, next_deadline: int) -> None:
        this = self.current
        self.records[this.number] = digests.final(this.settled_digest, model, weights)
        this.final, this.is_final = (model, weights), True
        self.parent = model
        self.stage = IDLE
        if next_deadline:
            self.open(next_deadline)

    def taint(self, round_: int) -> None:
        if round_ not in self.undone:
            self.tainted_from = min(self.tainted_from or round_, round_)

    def overturn(self, this: Round, index: int) -> None:
        assert this.settlement is not None
        self.overturned[this.number] = self.overturned.get(this.number, 0) | 1 << index
        if this.is_final:
            self.taint(this.number)
            return
        self.lanes = [this.lanes_before[i] if i == index else lane for i, lane in enumerate(self.lanes)]
        this.any_approved = this.settlement.approved & ~self.overturned[this.number] != 0
        this.settled_at = self.now

    def overturn_round(self, this: Round) -> None:
        assert this.settlement is not None
        self.overturned[this.number] = self.full
        if this.is_final:
            self.taint(this.number)
            return
        self.lanes, self.yardstick = this.lanes_before, this.settlement.yardstick_before
        this.any_approved = False
        self.void(VoidReason.FALSE_ANCHOR)

    def roll_back(self, to: int, model: bytes) -> None:
        self.parent = model
        self.undone |= set(range(to + 1, self.current.number + 1))
        self.tainted_from = 0


@dataclass(slots=True)
class Start:
    """A deployed run, and a book for each of some places on its chain."""

    run: Run
    places: list[tuple[int, Book]] = field(default_factory=list)


def deploy(workers: int, guards: int) -> Start:
    """Deploy a run whose guards have stakes."""
    chain = TestChain(members=workers + guards)
    vault = chain.deploy(VAULT, MINIMUM, UNBONDING_S)
    run = Run.deploy(
        chain,
        workers,
        CONSTANTS,
        data_requests=chain.deploy(VOTES).address,
        challenge=address(CHALLENGE),
        vault=vault.address,
        guardian=address(GUARDIAN),
        guards=guards,
    )
    for k in range(guards):
        identity = run.guard_number(k).identity
        chain.send(vault.functions.deposit(run.ledger.address, identity), OUTSIDER, MINIMUM)
    state = run.state()
    book = Book(
        domain=Domain(chain.chain_id, run.ledger.address),
        run_id=run.run_id,
        members=len(run.members),
        guards=guards,
        initial=state["parentModel"],
        parent=state["parentModel"],
        lanes=[Lane() for _ in run.members],
        stakes=dict.fromkeys(range(guards), MINIMUM),
    )
    book.open(state["commitDeadline"])
    return Start(run, [(chain.tester.take_snapshot(), book)])


SEEDS = st.integers(0, 2**32 - 1)
# Mostly the right round.
ROUND_OFFSETS = st.sampled_from([0, 0, 0, 0, 0, -1, 1])
LIES = (
    "median",
    "seed",
    "no such guard",
    "short",
    "long",
    "exponent",
    "ungranted",
    "overlap",
    "word of the undelivered",
    "code",
    "norm",
    "trace",
)


F = TypeVar("F", bound=Callable[..., None])
STEPS: list[tuple[str, int, tuple[int, ...], dict[str, st.SearchStrategy[Any]]]] = []


def step(weight: int, *stages: int, **arguments: st.SearchStrategy[Any]) -> Callable[[F], F]:
    """Make a method a step of the machine, taken as often as its weight says, in these stages or in all.

    Not a Hypothesis rule each: of those a random part is switched off in every example, and the few
    examples of the quick test would come to little.
    """

    def register(method: F) -> F:
        STEPS.append((method.__name__, weight, stages or (IDLE, OPEN, SEALED, SETTLED), arguments))
        return method

    return register


class Ledgers(RuleBasedStateMachine):
    """One ledger, everybody who may call it, and strangers."""

    WORKERS = 0
    GUARDS = 0
    reached: ClassVar[Counter[tuple[str, str]]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.start = started(self.WORKERS, self.GUARDS)
        self.run = self.start.run
        self.chain = self.run.chain
        self.f = self.run.ledger.functions
        self.vault = self.chain.at(VAULT, self.f.vault().call()).functions
        self.votes = self.chain.at(VOTES, self.f.dataRequests().call()).functions
        self.banned: set[int] = set()
        self.given_back: set[int] = set()

    @initialize(place=st.integers(0, 2))
    def begin(self, place: int) -> None:
        """Go to a fresh run, or to one with one or two final rounds."""
        self.go_to(0)
        while len(self.start.places) <= place:
            self.go_to(len(self.start.places) - 1)
            self.whole_round(len(self.start.places), 0)
            self.start.places.append((self.chain.tester.take_snapshot(), copy.deepcopy(self.book)))
        self.go_to(place)

    def go_to(self, place: int) -> None:
        snapshot, book = self.start.places[place]
        self.chain.tester.revert_to_snapshot(snapshot)
        self.book = copy.deepcopy(book)
        self.look_at_the_clock()

    # ------------------------------------------------------------------------------------------- plumbing

    def look_at_the_clock(self) -> None:
        block = self.chain.tester.get_block_by_number("pending")
        self.book.now, self.book.block = block["timestamp"], block["number"]

    def wait_until(self, when: int) -> None:
        if when > self.book.now:
            self.chain.travel(when - self.book.now)
            self.look_at_the_clock()
            assert self.book.now == when

    def attempt(self, refusal: str, call: ContractFunction, sender: int, value: int = 0) -> TxReceipt | None:
        """Send a call that should succeed, or see that it ends in the refusal that the book names."""
        self.reached[call.fn_name, refusal] += 1
        if refusal:
            error = self.chain.error(call, sender, value)
            assert error.name == refusal, f"{call.fn_name}: {error} instead of {refusal}"
            return None
        return self.chain.send(call, sender, value)

    def contribution(self, index: int, round_: int, deadline: int) -> Commitment:
        signed = Contribution(
            run=self.book.run_id,
            round=round_,
            worker=self.run.members[index].identity,
            spec_digest=spec_digest(CONSTANTS),
            parent_model=self.book.parent,
            update_root=update_root(round_, index),
            tokens=4096 + index,
            deadline=deadline,
        )
        return Commitment(index, signed, signed.digest(self.book.domain))

    def view(self, call: ContractFunction) -> Any:
        """Read from the ledger; as web3 does it, this would be most of the machine's time."""
        data = call._encode_transaction_data()
        fields = {"from": address(OUTSIDER), "to": call.address, "data": data, "gas": GAS_LIMIT}
        answer = bytes.fromhex(self.chain.tester.call(fields, "pending")[2:])
        [value] = decode(get_abi_output_types(call.abi), answer)
        return value

    @rule(data=st.data())
    def take_a_step(self, data: st.DataObject) -> None:
        enabled = [
            (name, arguments)
            for name, weight, stages, arguments in STEPS
            if self.book.stage in stages
            for _ in range(weight)
        ]
        # From the end: the simplest step, of which the first example is made, is then one that only reads.
        name, arguments = enabled[-1 - data.draw(st.integers(0, len(enabled) - 1))]
        chosen = {key: data.draw(strategy) for key, strategy in arguments.items()}
        note(f"{name}({', '.join(f'{key}={value!r}' for key, value in chosen.items())})")
        getattr(self, name)(**chosen)

    @step(10, seed=SEEDS)
    def go_on(self, seed: int) -> None:
        """What comes next when everybody does what they should."""
        book = self.book
        if book.stage == IDLE and book.tainted_from:
            self.roll_back_to_what_is_sound()
        elif book.stage == IDLE:
            if book.is_paused:
                self.open_round("", OPEN_S)
                self.pause(False, GUARDIAN)
            self.open_round("", OPEN_S)
        elif book.stage == OPEN and book.now <= book.current.commit_deadline:
            self.commit_the_rest(0)
        elif book.stage == OPEN:
            self.seal(0)
        elif book.stage == SEALED and (book.bonded >> seed % book.guards & 1) == 0:
            self.guards_come_back()
        elif book.stage == SEALED and book.is_seed_late():
            self.void_round(0)
        elif book.stage == SEALED:
            self.settle_truly(seed, seed)
        else:
            self.finalize_in_time(None if book.is_paused or book.tainted_from else OPEN_S)

    # ----------------------------------------------------------------------------------------- commitments

    @step(
        2,
        index=st.integers(0, 8),
        vice=st.sampled_from(["", "", "", "identity", "stranger", "another", "parent", "expired", "last"]),
        offset=ROUND_OFFSETS,
    )
    def commit_alone(self, index: int, vice: str, offset: int) -> None:
        book = self.book
        round_ = book.current.number + offset
        deadline = book.now + {"expired": -1, "last": 0}.get(vice, 500)
        known = min(index, book.members - 1)
        member = self.run.members[known]
        sender = {
            "identity": member.identity_key,
            "stranger": OUTSIDER,
            "another": self.run.members[known - 1].signer_key,
        }.get(vice, member.signer_key)
        mine = self.contribution(known, round_, deadline)
        parent = NOTHING if vice == "parent" else book.parent
        refusal = first(
            LEDGER,
            (index >= book.members, "UnknownMember"),
            (vice in ("stranger", "another"), "NotMember"),
            (vice == "parent", "WrongParent"),
            *book.taking(round_, deadline),
            (book.current.presence >> known & 1 == 1, "AlreadyCommitted"),
        )
        call = self.f.commit(round_, index, parent, mine.signed.update_root, mine.signed.tokens, deadline)
        if self.attempt(refusal, call, sender):
            book.commit([mine])
            self.look_at_the_clock()

    @step(
        2,
        index=st.integers(0, 8),
        vice=st.sampled_from(["", "", "", "key", "bytes", "expired"]),
        offset=ROUND_OFFSETS,
    )
    def commit_for_another(self, index: int, vice: str, offset: int) -> None:
        book = self.book
        round_ = book.current.number + offset
        deadline = book.now + (-1 if vice == "expired" else 500)
        known = min(index, book.members - 1)
        mine = self.contribution(known, round_, deadline)
        key = self.run.members[known].signer_key
        signature = sign_full(mine.digest, OUTSIDER if vice == "key" else key)
        if vice == "bytes":
            signature = signature[:-1]
        refusal = first(
            LEDGER,
            (index >= book.members, "UnknownMember"),
            *book.taking(round_, deadline),
            (book.current.presence >> known & 1 == 1, "AlreadyCommitted"),
            (vice in ("key", "bytes"), "WrongSigner"),
        )
        call = self.f.commitFor(
            round_, index, mine.signed.update_root, mine.signed.tokens, deadline, signature
        )
        if self.attempt(refusal, call, RELAYER):
            book.commit([mine])
            self.look_at_the_clock()

    @step(
        2,
        members=st.integers(0, 63),
        vice=st.sampled_from(["", "", "", "key", "unknown", "short", "expired", "stale"]),
        offset=ROUND_OFFSETS,
    )
    def commit_batch(self, members: int, vice: str, offset: int) -> None:
        self.send_batch(members & self.book.full, vice, offset)

    @step(
        1,
        OPEN,
        absent=st.sampled_from([0, 0, 0, 1, 2, 1 << 3, 1 << 4, 1 << 5]),
    )
    def commit_the_rest(self, absent: int) -> None:
        self.send_batch(self.book.full & ~self.book.current.presence & ~absent)

    def send_batch(self, members: int, vice: str = "", offset: int = 0) -> None:
        book = self.book
        round_ = book.current.number + offset
        deadline = book.now + (-1 if vice == "expired" else 500)
        batch = [self.contribution(i, round_, deadline) for i in range(book.members) if members >> i & 1]
        keys = [self.run.members[c.index].signer_key for c in batch]
        if vice == "key" and keys:
            keys[-1] = OUTSIDER
        # The signature is over another round's message.
        signed = [
            self.contribution(c.index, round_ - 1, deadline).digest if vice == "stale" else c.digest
            for c in batch
        ]
        items = b"".join(
            c.signed.update_root + c.signed.tokens.to_bytes(8, "big") + sign_compact(digest, key)
            for c, digest, key in zip(batch, signed, keys, strict=True)
        )
        if vice == "short":
            items = items[:-1]
        posted = members | (1 << book.members if vice == "unknown" else 0)
        refusal = first(
            LEDGER,
            *book.taking(round_, deadline),
            (posted == 0, "EmptyBatch"),
            (vice == "unknown", "UnknownMember"),
            (book.current.presence & members != 0, "AlreadyCommitted"),
            (vice == "short", "WrongItemsLength"),
            (vice in ("key", "stale"), "WrongSigner"),
        )
        if self.attempt(refusal, self.f.commitBatch(round_, deadline, posted, items), RELAYER):
            book.commit(batch)
            self.look_at_the_clock()

    # ------------------------------------------------------------------------------------- time and blocks

    @step(1, seconds=st.sampled_from([1, 13, 200]))
    def wait(self, seconds: int) -> None:
        self.wait_until(self.book.now + seconds)

    @step(3, OPEN, SEALED, SETTLED, offset=st.sampled_from([-1, 0, 1]))
    def wait_for_the_edge(self, offset: int) -> None:
        """To the second before, at or after which the stage's time is over, and call what depends on it."""
        this = self.book.current
        if self.book.stage == OPEN:
            self.wait_until(this.commit_deadline + offset)
            self.commit_alone(offset + 1, "", 0)
            self.seal(0)
        elif self.book.stage == SEALED:
            self.wait_until(this.sealed_at + SETTLE_S + offset)
            self.void_round(0)
        else:
            self.wait_until(this.settled_at + WINDOW_S + offset)
            self.finalize("", 0, None)

    @step(1, blocks=st.integers(1, 3))
    def mine(self, blocks: int) -> None:
        self.chain.mine(blocks)
        self.look_at_the_clock()

    @step(1, SEALED, offset=st.sampled_from([0, 1]))
    def mine_to_the_end_of_the_seed(self, offset: int) -> None:
        left = self.book.current.last_seed_block + offset - self.book.block
        if left > 0:
            self.chain.mine(left)
            self.look_at_the_clock()
        self.void_round(0)
        if self.book.stage == SEALED:
            self.fix_seed(0)

    # ---------------------------------------------------------------------------------------- seal and seed

    @step(1, offset=ROUND_OFFSETS)
    def seal(self, offset: int) -> None:
        book = self.book
        round_ = book.current.number + offset
        refusal = first(
            LEDGER,
            *book.wrong_stage(round_, OPEN, "NotOpen"),
            (book.now <= book.current.commit_deadline, "WindowOpen"),
        )
        if self.attempt(refusal, self.f.seal(round_), OUTSIDER):
            book.seal()
            self.look_at_the_clock()

    def seal_in_time(self) -> None:
        self.wait_until(self.book.current.commit_deadline + 1)
        self.seal(0)

    @step(2, offset=ROUND_OFFSETS)
    def fix_seed(self, offset: int) -> None:
        book = self.book
        round_ = book.current.number + offset
        refusal = first(
            LEDGER,
            *book.wrong_stage(round_, SEALED, "NotSealed"),
            (book.current.seed != b"", "SeedAlreadyFixed"),
            *book.seeding(),
        )
        seed = self.seed()
        if self.attempt(refusal, self.f.fixSeed(round_), OUTSIDER):
            book.current.seed = seed
            self.look_at_the_clock()

    def seed(self) -> bytes:
        """Give the seed as far as there is one."""
        book, this = self.book, self.book.current
        if this.seed:
            return this.seed
        if book.stage != SEALED or book.block <= this.seal_block + 1 or book.is_seed_late():
            return NOTHING
        after = self.chain.block_hash(this.seal_block + 1)
        return digests.seed(book.domain, book.run_id, this.number, this.accumulator, after)

    # ------------------------------------------------------------------------------------------- settlement

    @step(1, who=st.integers(0, 3), members=st.integers(0, 63), offset=ROUND_OFFSETS)
    def vote(self, who: int, members: int, offset: int) -> None:
        """A guard's vote that members' bytes did not arrive, or a stranger's."""
        book = self.book
        round_ = book.current.number + offset
        sender = self.run.guard_number(who).signer_key if who < book.guards else OUTSIDER
        before = book.votes.get((round_, who), 0)
        refusal = first(
            VOTES,
            (who >= book.guards, "NotGuard"),
            *book.wrong_stage(round_, SEALED, "NotSealed"),
            (members == 0, "Empty"),
            (members & ~book.current.presence != 0, "Absent"),
            (members & before != 0, "AlreadyCast"),
        )
        if self.attempt(refusal, self.votes.vote(self.run.ledger.address, round_, members), sender):
            book.votes[round_, who] = before | members
            self.look_at_the_clock()

    @step(3, SEALED, bit=st.integers(0, 5))
    def vote_together(self, bit: int) -> None:
        """As many guards as it takes vote on one member."""
        for who in range(quorum(self.book.guards)):
            self.vote(who, 1 << bit, 0)

    def settle_truly(self, seed: int, poster: int) -> None:
        if self.book.block <= self.book.current.seal_block + 1:
            self.mine(1)
        self.post(seed, poster % self.book.guards)

    @step(
        1,
        seed=SEEDS,
        poster=st.integers(0, 2),
        sender=st.sampled_from([None, OUTSIDER]),
        offset=ROUND_OFFSETS,
    )
    def settle_anyhow(self, seed: int, poster: int, sender: int | None, offset: int) -> None:
        self.post(seed, poster % self.book.guards, sender=sender, offset=offset)

    @step(
        10,
        SEALED,
        seed=SEEDS,
        poster=st.integers(0, 2),
        lies=st.lists(st.sampled_from(LIES), min_size=2, max_size=4, unique=True),
    )
    def settle_falsely(self, seed: int, poster: int, lies: list[str]) -> None:
        if self.book.block <= self.book.current.seal_block + 1:
            self.mine(1)
        for lie in lies:
            self.post(seed, poster % self.book.guards, lie)

    def posting(self, rng: random.Random, poster: int) -> Posting:
        """Give a true posting: workers near and far, and some of those that were voted on left out."""
        book = self.book
        presence, guards = book.current.presence, book.guards
        if guards > 1 and not present_guards(presence, book.members, guards):
            return Posting(Assay(), 0, (), trace_root=rng.randbytes(32), poster=poster)
        base = random_posting(rng, CONSTANTS, book.lanes, presence, 0.3, guards)
        flips = [0.1, 0.2, 0.3, 0.3, 0.42, 0.5, 0.7]
        anchor = base.anchor
        workers = present_workers(presence, book.members, guards)
        voters = present_guards(presence, book.members, guards)
        lost = book.granted & (2**book.workers - 1 if guards == 1 else book.full)
        statuses = {i: rng.randrange(3) for i in range(book.members) if lost >> i & 1}
        left_out = {i for i, status in statuses.items() if status}
        if voters and guards > 1:
            heard = [a for i, a in zip(voters, base.guards, strict=True) if i not in left_out]
            anchor = reading(heard) if heard else anchor
        posting = replace(
            base,
            anchor=anchor,
            assays=tuple(Assay() if i in left_out else near(rng, anchor, rng.choice(flips)) for i in workers),
            guards=tuple(
                Assay() if i in left_out else a
                for i, a in zip(voters if guards > 1 else (), base.guards, strict=True)
            ),
            unavailable=sum(1 << i for i, status in statuses.items() if status == 1),
            malformed=sum(1 << i for i, status in statuses.items() if status == 2),
            poster=poster,
        )
        return with_median(CONSTANTS, book.lanes, presence, posting, guards)

    def post(self, seed: int, poster: int, lie: str = "", sender: int | None = None, offset: int = 0) -> None:
        book, this = self.book, self.book.current
        round_ = this.number + offset
        rng = random.Random(seed)
        draw = self.seed()
        true = replace(self.posting(rng, poster), seed=draw or bytes(32))
        posting, payload, early, late = self.falsified(true, lie)
        undelivered = posting.unavailable | posting.malformed
        heard = (this.presence & ~undelivered) >> book.workers
        is_unknown = book.guards > 1 and posting.poster >= book.guards
        key = self.run.guard_number(poster).signer_key
        refusal = first(
            "",
            (is_unknown, LEDGER + "UnknownMember"),
            (sender is not None, LEDGER + "NotGuard"),
            *((cause, LEDGER + name) for cause, name in book.wrong_stage(round_, SEALED, "NotSealed")),
            (book.bonded >> poster & 1 == 0, LEDGER + "GuardUnbonded"),
            *((cause, LEDGER + name) for cause, name in book.seeding()),
            (undelivered & ~book.granted != 0, LEDGER + "NotGranted"),
            (early != "", early),
            (book.guards > 1 and heard.bit_count() < quorum(book.guards), "CommitteeNoQuorum"),
            (late != "", late),
        )
        receipt = self.attempt(refusal, self.f.settle(round_, payload), key if sender is None else sender)
        if receipt is None:
            return
        is_banned = {i for i, lane in enumerate(book.lanes) if lane.llr >= CONSTANTS.ban_from}
        book.settle(posting, draw)
        self.look_at_the_clock()
        [event] = self.run.ledger.events.RoundSettled().process_receipt(receipt, errors=DISCARD)
        assert this.settlement is not None
        assert event["args"]["approved"] == this.settlement.approved
        assert event["args"]["seed"] == draw
        # Nothing approved was judged absent, undelivered, banned or a guard's.
        never = ~this.presence | undelivered | sum(1 << i for i in is_banned) | -1 << book.workers
        assert event["args"]["approved"] & never == 0

    def falsified(self, true: Posting, lie: str) -> tuple[Posting, bytes, str, str]:
        """Give the posting with a lie, its bytes, and its error before or after the committee counts."""
        book, payload = self.book, true.encode()
        granted = [i for i in range(book.members) if book.granted >> i & 1]
        ungranted = next(i for i in range(book.members + 1) if i not in granted)
        workers = present_workers(book.current.presence, book.members, book.guards)
        if lie in ("code", "norm") and book.guards == 1:
            lie = "median"  # A single guard's anchor is what it posts.
        sound = [i for i in granted if i in workers and not (true.unavailable | true.malformed) >> i & 1]
        if (lie == "overlap" and not granted) or (lie == "word of the undelivered" and not sound):
            lie = "ungranted"
        changed, early, late = true, "", ""
        if lie == "median":
            changed, early = replace(true, x=true.x + 2), "GateWrongMedian"
        elif lie == "no such guard":
            changed, early = replace(true, poster=book.guards), "GateNoSuchPoster"
        elif lie == "exponent":
            changed = replace(true, anchor=replace(true.anchor, exponent=64))
            early = "GateExponentOutOfRange"
        elif lie == "ungranted":
            changed = replace(true, unavailable=true.unavailable | 1 << ungranted)
        elif lie == "overlap":
            bit = 1 << granted[0]
            changed = replace(true, unavailable=true.unavailable | bit, malformed=true.malformed | bit)
            early = "GateWrongStatuses"
        elif lie == "word of the undelivered":
            changed = replace(true, malformed=true.malformed | 1 << sound[0])
            early = "GateUndeliveredNotZero"
        elif lie == "code":
            other = replace(true, anchor=replace(true.anchor, code=true.anchor.code ^ 1 << 200))
            if len(true.assays) == len(workers):
                other = with_median(CONSTANTS, book.lanes, book.current.presence, other, book.guards)
            changed, late = other, "CommitteeWrongCode"
        elif lie == "norm":
            changed = replace(true, anchor=replace(true.anchor, norm2=true.anchor.norm2 + 1))
            late = "CommitteeWrongNorm"
        elif lie == "seed":
            wrong = true.seed[:19] + bytes([true.seed[19] ^ 1]) + bytes(12)
            changed, late = replace(true, seed=wrong), LEDGER + "WrongSeed"
        elif lie == "trace":
            changed, late = replace(true, trace_root=NOTHING), LEDGER + "NoTraceRoot"
        payload = changed.encode()
        if lie in ("short", "long"):
            payload = payload[:-1] if lie == "short" else payload + b"\0"
            early = "GateWrongPayloadLength"
        return changed, payload, early, late

    # ---------------------------------------------------------------------------- final, void, next, paused

    @step(
        2,
        vice=st.sampled_from(["", "", "", "caller", "model"]),
        offset=ROUND_OFFSETS,
        next_s=st.sampled_from([None, OPEN_S, 0, 2**41]),
    )
    def finalize(self, vice: str, offset: int, next_s: int | None) -> None:
        book, this = self.book, self.book.current
        round_ = this.number + offset
        sender = GUARDIAN if vice == "caller" else AGGREGATOR
        moves = this.any_approved or vice == "model"
        model = digests.append(book.parent, this.start) if moves else book.parent
        deadline = 0 if next_s is None else book.now + next_s
        refusal = first(
            LEDGER,
            (vice == "caller", "NotAggregator"),
            *book.wrong_stage(round_, SETTLED, "NotSettled"),
            (book.now < this.settled_at + WINDOW_S, "WindowRunning"),
            (not this.any_approved and vice == "model", "ModelMoved"),
            *(book.opening(deadline) if deadline else []),
        )
        weights = digests.append(model, NOTHING)
        if self.attempt(refusal, self.f.finalize(round_, model, weights, deadline), sender):
            book.finalize(model, weights, deadline)
            self.look_at_the_clock()

    def finalize_in_time(self, next_s: int | None) -> None:
        self.wait_until(self.book.current.settled_at + WINDOW_S)
        self.finalize("", 0, next_s)

    @step(
        2,
        vice=st.sampled_from(["", "", "", "caller"]),
        seconds=st.sampled_from([OPEN_S, OPEN_S, 1, 0, 2**41]),
    )
    def open_round(self, vice: str, seconds: int) -> None:
        book = self.book
        deadline = book.now + seconds
        refusal = first(
            LEDGER,
            (vice == "caller", "NotAggregator"),
            (book.stage != IDLE, "NotIdle"),
            *book.opening(deadline),
        )
        if self.attempt(refusal, self.f.openRound(deadline), OUTSIDER if vice else AGGREGATOR):
            book.open(deadline)
            self.look_at_the_clock()

    @step(1, offset=ROUND_OFFSETS)
    def void_round(self, offset: int) -> None:
        book = self.book
        round_ = book.current.number + offset
        is_late = book.is_seed_late()
        is_overdue = book.now > book.current.sealed_at + SETTLE_S
        refusal = first(
            LEDGER,
            *book.wrong_stage(round_, SEALED, "NotSealed"),
            (not is_late and not is_overdue, "NotOverdue"),
        )
        if self.attempt(refusal, self.f.voidRound(round_), OUTSIDER):
            book.void(VoidReason.SEED_MISSED if is_late else VoidReason.SETTLE_OVERDUE)
            self.look_at_the_clock()

    @step(2, is_paused=st.sampled_from([False, True]), sender=st.sampled_from([GUARDIAN, AGGREGATOR]))
    def pause(self, is_paused: bool, sender: int) -> None:
        refusal = first(LEDGER, (sender != GUARDIAN, "NotGuardian"))
        if self.attempt(refusal, self.f.pause(is_paused), sender):
            self.book.is_paused = is_paused
            self.look_at_the_clock()

    @step(
        1,
        IDLE,
        OPEN,
        seed=SEEDS,
        absent=st.sampled_from([0, 0, 1, 2, 1 << 4]),
    )
    def whole_round(self, seed: int, absent: int, next_s: int | None = OPEN_S) -> None:
        """Play a round to its end, as far as the run lets it."""
        if self.book.stage == IDLE:
            self.open_round("", OPEN_S)
        if self.book.stage == OPEN:
            self.commit_the_rest(absent)
        if self.book.stage == OPEN:
            self.seal_in_time()
        if self.book.stage == SEALED:
            self.settle_truly(seed, seed)
        if self.book.stage == SETTLED:
            self.finalize_in_time(next_s)

    # ----------------------------------------------------------------------------------------- overturned

    def target(self, choice: int) -> int:
        """Give a round that a challenge can open, or one that the ledger itself knows to be none."""
        now = self.book.current.number
        numbers = [r.number for r in reversed(self.book.settled_rounds)]
        numbers += [now, now + 1, 0]
        return numbers[choice % len(numbers)]

    @step(
        5,
        choice=st.integers(0, 5),
        place=st.integers(0, 7),
        vice=st.sampled_from(["", "", "", "", "caller", "guard"]),
    )
    def overturn(self, choice: int, place: int, vice: str) -> None:
        self.overturn_at(self.target(choice), place, vice)

    def overturn_at(self, round_: int, place: int, vice: str = "") -> None:
        """The test stands for `Challenge`, which names members of settled rounds, and what was posted."""
        book = self.book
        index, approved, word = place % book.workers, 0, 0
        settled = next((r for r in book.settled_rounds if r.number == round_), None)
        if settled is not None and settled.settlement is not None:
            present = present_workers(settled.presence, book.members, book.guards)
            if not present:
                return
            index = present[place % len(present)]
            approved = settled.settlement.approved
            word = settled.settlement.lanes_before[index // 4]
        if vice == "guard":
            index = book.workers + place % book.guards
        refusal = first(
            LEDGER,
            (vice == "caller", "NotChallenge"),
            (vice == "guard", "UnknownMember"),
            *book.overturning(round_, 1 << index),
        )
        call = self.f.overturn(round_, index, approved, word)
        if self.attempt(refusal, call, OUTSIDER if vice == "caller" else CHALLENGE):
            assert settled is not None
            self.given_back |= set() if settled.is_final else {index}
            book.overturn(settled, index)
            self.look_at_the_clock()

    @step(6, choice=st.integers(0, 3), place=st.integers(0, 7))
    def overturn_what_is_final(self, choice: int, place: int) -> None:
        """Mostly the newest of the rounds that a rollback has undone, or else of all."""
        final = [r.number for r in reversed(self.book.rounds) if r.is_final]
        undone = [number for number in final if number in self.book.undone]
        for number in (undone or final)[max(0, choice - 2) :][:1]:
            self.overturn_at(number, place)

    @step(5, SETTLED, place=st.integers(0, 7), is_everybody=st.sampled_from([False, False, True]))
    def overturn_in_time(self, place: int, is_everybody: bool) -> None:
        """One or all of the round that is settled."""
        for i in range(self.book.workers if is_everybody else 1):
            self.overturn(0, place + i, "")

    @step(2, choice=st.integers(0, 5), vice=st.sampled_from(["", "", "", "caller"]))
    def overturn_round(self, choice: int, vice: str) -> None:
        book, round_ = self.book, self.target(choice)
        settled = next((r for r in book.settled_rounds if r.number == round_), None)
        before, yardstick = pack_lanes(book.lanes), 0
        if settled is not None and settled.settlement is not None:
            before, yardstick = list(settled.settlement.lanes_before), settled.settlement.yardstick_before
        refusal = first(
            LEDGER,
            (vice == "caller", "NotChallenge"),
            *book.overturning(round_, 1 << book.members - 1),
        )
        call = self.f.overturnRound(round_, before, yardstick)
        if self.attempt(refusal, call, OUTSIDER if vice else CHALLENGE):
            assert settled is not None
            self.given_back |= set() if settled.is_final else set(range(book.members))
            book.overturn_round(settled)
            self.look_at_the_clock()

    @step(
        2,
        back=st.integers(-1, 5),
        vice=st.sampled_from(["", "", "", "caller", "model", "weights", "digest"]),
    )
    def rollback(self, back: int, vice: str) -> None:
        book = self.book
        to = max(0, book.current.number - back)
        known = book.rounds[to - 1] if 0 < to <= len(book.rounds) else None
        model, weights = known.final if known else (book.initial, NOTHING)
        digest = known.settled_digest if known else NOTHING
        wrong = b"\1" * 32
        model = wrong if vice == "model" else model
        weights = wrong if vice == "weights" else weights
        digest = wrong if vice == "digest" else digest
        if to:
            is_there = book.records.get(to, NOTHING) == digests.final(digest, model, weights)
        else:
            is_there = model == book.initial
        refusal = first(
            LEDGER,
            (vice == "caller", "NotAggregator"),
            (book.stage != IDLE, "NotIdle"),
            (to >= book.tainted_from or to in book.undone or not is_there, "WrongRollback"),
        )
        sender = OUTSIDER if vice == "caller" else AGGREGATOR
        if self.attempt(refusal, self.f.rollback(to, digest, model, weights), sender):
            book.roll_back(to, model)
            self.look_at_the_clock()

    def roll_back_to_what_is_sound(self) -> None:
        """To the newest round that is sound."""
        book = self.book
        sound = [r.number for r in book.rounds if r.is_final and r.number not in book.undone]
        to = max((n for n in sound if n < book.tainted_from), default=0)
        self.rollback(book.current.number - to, "")
        assert book.tainted_from == 0
        if book.current.is_final:  # Undone just now: it taints nothing.
            for place in range(2):
                self.overturn_at(book.current.number, place)

    @step(3, IDLE, OPEN, seed=SEEDS, place=st.integers(0, 7))
    def taint_and_roll_back(self, seed: int, place: int) -> None:
        """The newest round is overturned as soon as it is final."""
        self.whole_round(seed, 0, None)
        if self.book.current.is_final and self.book.stage == IDLE:
            self.overturn_at(self.book.current.number, place)
        if self.book.tainted_from and self.book.stage == IDLE:
            self.roll_back_to_what_is_sound()

    # --------------------------------------------------------------------------------------------- stakes

    @step(1, who=st.integers(0, 2), wei=st.sampled_from([MINIMUM, MINIMUM - 1, 1, 0]))
    def deposit(self, who: int, wei: int) -> None:
        who %= self.book.guards
        refusal = first(VAULT, (wei == 0, "ZeroDeposit"), (who in self.book.leaving, "Unbonding"))
        call = self.vault.deposit(self.run.ledger.address, self.run.guard_number(who).identity)
        if self.attempt(refusal, call, OUTSIDER, wei):
            self.book.stakes[who] = self.book.stakes.get(who, 0) + wei
            self.look_at_the_clock()

    @step(1, who=st.integers(0, 2))
    def start_unbonding(self, who: int) -> None:
        who %= self.book.guards
        refusal = first(
            VAULT, (who not in self.book.stakes, "NoStake"), (who in self.book.leaving, "Unbonding")
        )
        call = self.vault.startUnbonding(self.run.ledger.address)
        if self.attempt(refusal, call, self.run.guard_number(who).identity_key):
            self.book.leaving[who] = self.book.now + UNBONDING_S
            self.look_at_the_clock()

    @step(1, who=st.integers(0, 2))
    def cancel_unbonding(self, who: int) -> None:
        who %= self.book.guards
        refusal = first(VAULT, (who not in self.book.leaving, "NotUnbonding"))
        call = self.vault.cancelUnbonding(self.run.ledger.address)
        if self.attempt(refusal, call, self.run.guard_number(who).identity_key):
            del self.book.leaving[who]
            self.look_at_the_clock()

    @step(1, who=st.integers(0, 2), waits=st.booleans())
    def withdraw(self, who: int, waits: bool) -> None:
        who %= self.book.guards
        if waits and who not in self.book.leaving and who in self.book.stakes:
            self.start_unbonding(who)
        if waits and who in self.book.leaving:
            self.wait_until(self.book.leaving[who])
        refusal = first(
            VAULT,
            (who not in self.book.leaving, "NotUnbonding"),
            (self.book.now < self.book.leaving.get(who, 0), "StillBonded"),
        )
        call = self.vault.withdraw(self.run.ledger.address)
        if self.attempt(refusal, call, self.run.guard_number(who).identity_key):
            del self.book.leaving[who], self.book.stakes[who]
            self.look_at_the_clock()

    @step(1, who=st.integers(0, 2), sender=st.sampled_from([CHALLENGE, OUTSIDER]))
    def slash(self, who: int, sender: int) -> None:
        who %= self.book.guards
        call = self.vault.slash(
            self.run.ledger.address, self.run.guard_number(who).identity, address(OUTSIDER)
        )
        if self.attempt(first(VAULT, (sender != CHALLENGE, "NotChallenge")), call, sender):
            self.book.stakes.pop(who, None)
            self.book.leaving.pop(who, None)
            self.look_at_the_clock()

    def guards_come_back(self) -> None:
        for who in range(self.book.guards):
            if who in self.book.leaving:
                self.cancel_unbonding(who)
            self.deposit(who, MINIMUM)

    @step(2, who=st.integers(0, 2), wei=st.sampled_from([MINIMUM, MINIMUM - 1]))
    def lose_a_stake_and_return(self, who: int, wei: int) -> None:
        self.slash(who, CHALLENGE)
        self.deposit(who, wei)

    @step(1, who=st.integers(0, 2), wei=st.sampled_from([0, MINIMUM]))
    def claim_a_stake_at_the_ledger(self, who: int, wei: int) -> None:
        """Only the vault tells the ledger who is bonded."""
        who %= self.book.guards
        call = self.f.stakeChanged(self.run.guard_number(who).identity, wei)
        self.attempt(LEDGER + "NotVault", call, self.run.guard_number(who).identity_key)

    # ------------------------------------------------------------------------------------------ approvals

    @step(3, choice=st.integers(0, 5), place=st.integers(0, 5))
    def ask_for_an_approval(self, choice: int, place: int) -> None:
        """Open a settled round's record: approved, and not overturned, and the record still stands."""
        book = self.book
        if not book.settled_rounds:
            return
        this = book.settled_rounds[choice % len(book.settled_rounds)]
        assert this.settlement is not None
        place %= len(this.commitments)
        mine, s = this.commitments[place], this.settlement
        before = this.start
        for commitment in this.commitments[:place]:
            before = digests.append(before, commitment.digest)
        proof = (
            this.parent,
            mine.signed.tokens,
            mine.signed.deadline,
            before,
            [c.digest for c in this.commitments[place + 1 :]],
            s.presence,
            s.seed,
            keccak(s.payload),
            s.approved,
            s.yardstick_before,
            s.yardstick_after,
            digests.lanes_digest(s.lanes_before),
            digests.lanes_digest(s.lanes_after),
            this.is_final,
            *this.final,
        )
        is_approved = s.approved & ~book.overturned.get(this.number, 0) & 1 << mine.index != 0
        call = self.f.isApproved(this.number, mine.index, mine.signed.update_root, proof)
        assert self.view(call) == is_approved

    # ----------------------------------------------------------------------------------------- sentences

    @invariant()
    def ledger_and_book_agree(self) -> None:
        book, this = self.book, self.book.current
        everybody = (1 << book.guards) - 1
        assert self.view(self.f.state()) == (
            this.number,
            book.stage,
            this.commit_deadline,
            this.sealed_at,
            this.seal_block,
            this.settled_at,
            this.seed != b"",
            this.any_approved,
            book.yardstick,
            this.presence,
            book.parent,
            book.records.get(this.number, NOTHING),
            book.bonded != everybody,
            book.is_paused,
            book.tainted_from,
        )
        assert self.view(self.f.bondedGuards()) == book.bonded
        assert self.view(self.f.currentSeed()) == self.seed()

    @invariant()
    def nobody_banned_comes_back_but_by_overturning(self) -> None:
        words = list(self.view(self.run.reputation.functions.lanes()))
        assert words == pack_lanes(self.book.lanes)
        lanes = unpack_lanes(words, self.book.members)
        banned = {i for i, lane in enumerate(lanes) if lane.llr >= CONSTANTS.ban_from}
        assert self.banned - banned <= self.given_back
        assert all(i < self.book.workers for i in banned)
        self.banned, self.given_back = banned, set()

    def teardown(self) -> None:
        """Nothing is rewritten: every record and every bitmap of overturned members is still the book's."""
        for number in range(self.book.current.number + 2):
            assert self.view(self.f.recordOf(number)) == self.book.records.get(number, NOTHING)
            assert self.view(self.f.overturnedOf(number)) == self.book.overturned.get(number, 0)


@cache
def started(workers: int, guards: int) -> Start:
    """Deploy once for each cohort."""
    return deploy(workers, guards)


class OneGuard(Ledgers):
    """The guard's lane is alone in the last word, which stays zero."""

    WORKERS, GUARDS = 4, 1


class ThreeGuards(Ledgers):
    """Workers and a guard share a word; two guards have the next."""

    WORKERS, GUARDS = 3, 3


QUICK = settings(max_examples=9, stateful_step_count=36, deadline=None, derandomize=True)
MANY = settings(QUICK, max_examples=10, stateful_step_count=40, derandomize=False, database=None)

# What a long run that is worth anything has come to; "" is success.
WAYS = {
    "commit": ("", "WindowClosed"),
    "commitBatch": ("", "WrongSigner"),
    "fixSeed": ("", "SeedTooEarly"),
    "settle": ("", "GuardUnbonded", "NotGranted", "NoTraceRoot"),
    "finalize": ("", "WindowRunning"),
    "voidRound": ("", "NotOverdue"),
    "openRound": ("", "Tainted", "Paused"),
    "overturn": ("", "AlreadyOverturned", "NotOverturnable"),
    "overturnRound": ("", "NotOverturnable"),
    "rollback": ("", "WrongRollback"),
    "withdraw": ("",),
    "slash": ("",),
}


@pytest.mark.parametrize("cohort", [OneGuard, ThreeGuards])
def test_every_call_and_every_state_is_the_book_s(cohort: type[Ledgers]) -> None:
    run_state_machine_as_test(cohort, settings=QUICK)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cohort", [OneGuard, ThreeGuards])
def test_many_calls_and_states_are_the_book_s(cohort: type[Ledgers]) -> None:
    cohort.reached = Counter()
    # Many short runs: after about ten examples Hypothesis mostly varies those that it has.
    for number in range(10):
        run_state_machine_as_test(seed(number)(cohort), settings=MANY)
    reached = {(name, refusal.removeprefix(LEDGER)) for name, refusal in cohort.reached}
    assert {(name, way) for name, ways in WAYS.items() for way in ways} <= reached
