"""Rounds that a guard posted, truly or not, against a ledger whose record a test sets."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from eth_tester.exceptions import TransactionFailed
from eth_utils import keccak
from web3.contract import Contract

from ledger.challenges import (
    BoundaryClaim,
    ChallengeFacts,
    ClaimRefusedError,
    DigestTree,
    ExponentClaim,
    MalformedClaim,
    OnChain,
    RequestKind,
    SegmentClaim,
    Target,
    TraceTree,
    UpdateTree,
    find_fault,
    open_commitment,
    open_settlement,
)
from ledger.contribution import Contribution, Domain
from ledger.digests import Settlement
from ledger.update import UpdateFacts, encode_update
from tests.contracts.model import Assay, Posting, present_guards, present_workers, project, reading
from tests.contracts.support import (
    GAS_LIMIT,
    OUTSIDER,
    Actor,
    Registry,
    Revert,
    TestChain,
    actor,
    address,
    decode_error,
)

SEALED, SETTLED, IDLE = 2, 3, 0
STAKE_WEI = 10**17
BOND_WEI = 10**15
ANSWER_S = 600
ZERO_STATE = bytes(1544)

Claim = SegmentClaim | BoundaryClaim | ExponentClaim | MalformedClaim


@dataclass(slots=True)
class Scene:
    """A ledger with a cohort, and the contracts that watch over it."""

    chain: TestChain
    members: tuple[Actor, ...]
    cohort: str
    ledger: Contract
    challenge: Contract
    requests: Contract
    vault: Contract
    facts: ChallengeFacts
    guards: int = 1

    @classmethod
    def deploy(cls, chain: TestChain, workers: int, length: int, guards: int = 1) -> "Scene":
        """Deploy everything for some workers and guards, with stakes."""
        registry = Registry.deploy(chain)
        members = tuple(actor(number) for number in range(workers + guards))
        for member in members:
            registry.join(member)
        return cls.beside(chain, members, registry.seal_cohort(members, guards), length, guards=guards)

    @classmethod
    def beside(
        cls,
        chain: TestChain,
        members: tuple[Actor, ...],
        cohort: str,
        length: int,
        other: "Scene | None" = None,
        guards: int = 1,
    ) -> "Scene":
        """Deploy a ledger, with contracts of its own or those of another scene."""
        challenge = other.challenge if other else chain.deploy("Challenge")
        requests = other.requests if other else chain.deploy("DataRequests", BOND_WEI, ANSWER_S)
        vault = other.vault if other else chain.deploy("TestVault")
        spec, shape = keccak(text="spec"), keccak(text="shape")
        ledger = chain.deploy(
            "TestChallengedLedger",
            (7, length, cohort, spec, shape, requests.address, challenge.address, vault.address, guards),
        )
        facts = ChallengeFacts(
            domain=Domain(chain.chain_id, ledger.address),
            run=7,
            spec_digest=spec,
            shape_digest=shape,
            length=length,
            identities=tuple(member.identity for member in members),
        )
        scene = cls(chain, members, cohort, ledger, challenge, requests, vault, facts, guards)
        for member in members:
            chain.send(vault.functions.deposit(ledger.address, member.identity), OUTSIDER, STAKE_WEI)
        return scene

    @property
    def segments(self) -> int:
        """Number of segments of an update."""
        return -(-self.facts.length // 8192)

    def record(self, round_: int, record: bytes, stage: int = SETTLED) -> None:
        """Set a round's record."""
        self.chain.send(self.ledger.functions.setRound(round_, record, stage), OUTSIDER)

    def on_chain(self, round_: int) -> OnChain:
        """Read what claims depend on."""
        return OnChain(
            record=self.ledger.functions.recordOf(round_).call(),
            overturned=self.ledger.functions.overturnedOf(round_).call(),
            is_named=self.ledger.functions.challenge().call() == self.challenge.address,
            unanswered={
                kind: self.requests.functions.unansweredOf(self.ledger.address, round_, int(kind)).call()
                for kind in RequestKind
            },
            two_roots=self.challenge.functions.twoRootsOf(self.ledger.address, round_).call(),
        )

    def try_call(self, data: bytes, to: Contract | None = None, value: int = 0) -> Revert | None:
        """Give the error in which a call ends, None if it does not."""
        call = {
            "from": address(OUTSIDER),
            "to": (to or self.challenge).address,
            "data": "0x" + data.hex(),
            "gas": GAS_LIMIT,
            "value": value,
        }
        try:
            self.chain.tester.call(call, "pending")
        except TransactionFailed as error:
            return decode_error(error)
        return None

    def send(self, data: bytes, to: Contract | None = None, value: int = 0, sender: int = OUTSIDER) -> Any:
        """Send a transaction that must succeed."""
        fields = {
            **self.chain._fields(sender, value),
            "to": (to or self.challenge).address,
            "data": "0x" + data.hex(),
        }
        receipt = self.chain._wait(self.chain.web3.eth.send_transaction(fields))  # type: ignore[arg-type]
        assert receipt["status"] == 1
        return receipt


def refusal(check: Callable[[], None]) -> str:
    """Give the error's name in which a check ends, empty if it does not."""
    try:
        check()
    except ClaimRefusedError as error:
        return error.name
    return ""


def random_update(rng: random.Random, facts: ChallengeFacts, round_: int, index: int) -> bytes:
    """Give a sound update."""
    worker = bytes.fromhex(facts.identities[index][2:])
    header = UpdateFacts(facts.run, round_, worker, facts.shape_digest, facts.length).header(
        rng.randrange(-20, -10)
    )
    scale = rng.choice([1, 10, 127])
    values = np.frombuffer(rng.randbytes(facts.length), dtype=np.uint8).astype(np.int64) % (2 * scale + 1)
    return encode_update(header, (values - scale).astype(np.int8))


def add_state(state: bytes, sums: list[int], norm2: int) -> bytes:
    """Give the state after sums were added."""
    before = [int.from_bytes(state[6 * j : 6 * j + 6], "big", signed=True) for j in range(256)]
    after = [(a + b) for a, b in zip(before, sums, strict=True)]
    return b"".join(value.to_bytes(6, "big", signed=True) for value in after) + (
        int.from_bytes(state[1536:], "big") + norm2
    ).to_bytes(8, "big")


def true_states(seed: bytes, payload: bytes, segments: int) -> list[bytes]:
    """Give state_0 .. state_S of an update."""
    states = [ZERO_STATE]
    for s in range(segments):
        segment = payload[8192 * s : 8192 * s + 8192]
        sums, norm2 = project(seed, s, segment)
        states.append(add_state(states[-1], sums, norm2))
    return states


def leaf(state: bytes) -> bytes:
    """Hash a state."""
    return hashlib.sha256(b"\x20" + state).digest()


def code_of(state: bytes) -> int:
    """Give the word of a state."""
    return sum((state[6 * j] < 128) << j for j in range(256))


@dataclass(slots=True)
class PostedRound:
    """A round with its truth, and what the guard posts of it: the truth until a test changes it."""

    scene: Scene
    number: int
    seed: bytes
    updates: list[bytes | None]
    states: list[list[bytes]]
    assays: list[Assay]
    leaves: list[list[bytes]]
    unavailable: int = 0
    malformed: int = 0
    poster: int = 0
    final: tuple[bytes, bytes] | None = None
    digests: list[bytes] = field(default_factory=list)
    lanes: tuple[int, ...] = ()

    @classmethod
    def play(
        cls, scene: Scene, rng: random.Random, number: int = 3, absent: tuple[int, ...] = ()
    ) -> "PostedRound":
        """Make everybody's update and its true trace."""
        seed = rng.randbytes(32)
        members = len(scene.members)
        updates = [
            None if i in absent else random_update(rng, scene.facts, number, i) for i in range(members)
        ]
        states = [
            true_states(seed, data[96:], scene.segments) if data is not None else [] for data in updates
        ]
        assays = [
            Assay(
                code_of(s[-1]),
                int.from_bytes(s[-1][1536:], "big"),
                int.from_bytes(data[5:6], "big", signed=True),
            )
            if data is not None
            else Assay()
            for s, data in zip(states, updates, strict=True)
        ]
        leaves = [[leaf(state) for state in s[1:]] for s in states]
        lanes = tuple(rng.getrandbits(256) for _ in range(-(-members // 4)))
        return cls(scene, number, seed, updates, states, assays, leaves, lanes=lanes)

    @property
    def presence(self) -> int:
        """Who committed."""
        return sum((data is not None) << i for i, data in enumerate(self.updates))

    @property
    def roots(self) -> bytes:
        """The round's trace file."""
        wordless = self.unavailable | self.malformed
        return b"".join(
            DigestTree(b"".join(own)).root if own and not wordless >> i & 1 else bytes(32)
            for i, own in enumerate(self.leaves)
        )

    def trace(self, index: int) -> TraceTree:
        """Give the posted trace of a member."""
        return TraceTree(index, b"".join(self.leaves[index]), self.roots)

    def payload(self) -> bytes:
        """Give what the guard posts."""
        wordless = self.unavailable | self.malformed
        members, guards = len(self.updates), self.scene.guards
        entries = {
            i: Assay() if wordless >> i & 1 else self.assays[i]
            for i in range(members)
            if self.presence >> i & 1
        }
        voices = tuple(entries[i] for i in present_guards(self.presence, members, guards))
        heard = present_guards(self.presence & ~wordless, members, guards)
        return Posting(
            anchor=self.assays[-1] if guards == 1 else reading([entries[i] for i in heard]),
            x=0,
            assays=tuple(entries[i] for i in present_workers(self.presence, members, guards)),
            unavailable=self.unavailable,
            malformed=self.malformed,
            trace_root=DigestTree(self.roots).root,
            poster=self.poster,
            guards=voices if guards > 1 else (),
        ).encode()

    def contribution(self, index: int) -> Contribution:
        """Give what a member committed to."""
        facts = self.scene.facts
        data = self.updates[index]
        assert data is not None
        return Contribution(
            run=facts.run,
            round=self.number,
            worker=facts.identities[index],
            spec_digest=facts.spec_digest,
            parent_model=keccak(text="parent"),
            update_root=UpdateTree([data]).root,
            tokens=4096 + index,
            deadline=2_000_000_000,
        )

    def target(self, index: int) -> Target:
        """Open the round to a member, as it is posted now."""
        present = [i for i in range(len(self.updates)) if self.presence >> i & 1]
        contributions = {i: self.contribution(i) for i in present}
        # Not in cohort order: any order may have arrived.
        order = sorted(present, key=lambda i: keccak(text=f"{i} {self.number}"))
        domain = self.scene.facts.domain
        digests = [contributions[i].digest(domain) for i in order]
        start = keccak(text=f"start {self.number}")
        commitment = open_commitment(start, digests, order.index(index), contributions[index])
        settlement = Settlement(
            presence=self.presence,
            seed=self.seed,
            payload=self.payload(),
            approved=self.presence,
            yardstick_before=11,
            yardstick_after=12,
            lanes_before=self.lanes,
            lanes_after=[1] * len(self.lanes),
        )
        opening = (
            open_settlement(commitment, settlement)
            if self.final is None
            else open_settlement(commitment, settlement, *self.final)
        )
        return Target(self.number, index, opening)

    def write(self, stage: int = SETTLED) -> bytes:
        """Put the round's record into the ledger; give it."""
        index = self.presence.bit_length() - 1
        target = self.target(index)
        record = (
            target.opening.commitment.accumulator(self.scene.facts, self.number, index)
            if stage == SEALED
            else target.opening.record(self.scene.facts, self.number, index)
        )
        self.scene.record(self.number, record, stage)
        return record

    def update(self, index: int) -> UpdateTree:
        """Read a member's update, all segments kept."""
        data = self.updates[index]
        assert data is not None
        return UpdateTree([data], keep=range(self.scene.segments + 2))

    # ------------------------------------------------------------ an honest auditor

    def segment_claim(self, index: int, segment: int) -> SegmentClaim:
        """Claim that a step is false; its check needs `state_after`."""
        return SegmentClaim.build(
            self.target(index), self.update(index), self.trace(index), segment, self.states[index][segment]
        )

    def boundary_claim(self, index: int) -> BoundaryClaim:
        """Claim that the posted word or norm is false."""
        return BoundaryClaim.build(self.target(index), self.trace(index), self.states[index][-1])

    def exponent_claim(self, index: int) -> ExponentClaim:
        """Claim that the posted exponent is false."""
        update = self.update(index)
        return ExponentClaim(self.target(index), update.header, update.payload_root)

    def find_lie(self, index: int) -> Claim | None:
        """Compare what was posted of a member with the truth; give the claim that shows the difference."""
        data = self.updates[index]
        assert data is not None
        fault = find_fault(data, self.scene.facts, self.number, index)
        if fault is not None:
            return MalformedClaim(self.target(index), fault)
        for s, posted in enumerate(self.leaves[index]):
            if posted != leaf(self.states[index][s + 1]):
                return self.segment_claim(index, s)
        last = self.states[index][-1]
        posted_assay = self.assays[index]
        if (posted_assay.code, posted_assay.norm2) != (code_of(last), int.from_bytes(last[1536:], "big")):
            return self.boundary_claim(index)
        if posted_assay.exponent != int.from_bytes(data[5:6], "big", signed=True):
            return self.exponent_claim(index)
        return None

    def check(self, claim: Claim, chain: OnChain) -> None:
        """Apply the Python rules."""
        if isinstance(claim, SegmentClaim):
            # As the contract: from what the claim shows, not from the truth.
            before = claim.state_before or ZERO_STATE
            after = before
            if len(claim.segment) == 8192 and len(before) == 1544 and claim.segment_index < 2**27:
                after = add_state(before, *project(self.seed, claim.segment_index, claim.segment))
            claim.check(self.scene.facts, chain, after)
        else:
            claim.check(self.scene.facts, chain)


# ---------------------------------------------------------------- guards with one vice each


def lie_in_step(posted: PostedRound, index: int, segment: int, change: Callable[[bytes], bytes]) -> None:
    """All sums after a segment are false by the same change; word and norm follow from the false ones."""
    for s in range(segment, posted.scene.segments):
        posted.leaves[index][s] = leaf(change(posted.states[index][s + 1]))
    last = change(posted.states[index][-1])
    posted.assays[index] = Assay(
        code_of(last), int.from_bytes(last[1536:], "big"), posted.assays[index].exponent
    )


def off_by_one_sum(j: int, by: int) -> Callable[[bytes], bytes]:
    """Give a change of one of the 256 sums."""
    return lambda state: add_state(state, [by if k == j else 0 for k in range(256)], 0)


def off_by_one_norm(by: int) -> Callable[[bytes], bytes]:
    """Give a change of the norm."""
    return lambda state: add_state(state, [0] * 256, by)


def tell_random_lie(posted: PostedRound, index: int, rng: random.Random) -> str:
    """Post something false about a member; give what."""
    segments = posted.scene.segments
    lie = rng.choice(["first", "middle", "last", "one leaf", "bit", "norm", "exponent"])
    assay = posted.assays[index]
    if lie in ("first", "middle", "last"):
        at = {"first": 0, "middle": rng.randrange(segments), "last": segments - 1}[lie]
        by = rng.choice([-1, 1])
        change = off_by_one_norm(by) if rng.random() < 0.3 else off_by_one_sum(rng.randrange(256), by)
        lie_in_step(posted, index, at, change)
    elif lie == "one leaf":
        posted.leaves[index][rng.randrange(segments)] = rng.choice([rng.randbytes(32), bytes(32)])
    elif lie == "bit":
        posted.assays[index] = replace(assay, code=assay.code ^ 1 << rng.randrange(256))
    elif lie == "norm":
        posted.assays[index] = replace(assay, norm2=assay.norm2 + rng.choice([-1, 1]))
    else:
        posted.assays[index] = replace(assay, exponent=assay.exponent + rng.choice([-1, 1]))
    return lie
