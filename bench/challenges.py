"""Gas of challenges, requests and answers for an update of 268 million values, which nobody has to build.

A proof shows one segment and the siblings on its way up: random siblings make as good a tree as 268 MB do.
Records, openings, proofs, contracts and transactions are real. Ledger and vault are those of the contracts'
tests: what a ledger and a vault write when something is taken back may cost a few thousand gas more or less.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from eth_utils import keccak, to_checksum_address

from ledger import artifacts
from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher
from ledger.challenges import (
    BoundaryClaim,
    ChallengeFacts,
    ExponentClaim,
    FaultAnswer,
    FaultKind,
    MalformedClaim,
    RequestKey,
    RequestKind,
    SegmentAnswer,
    SegmentClaim,
    SignedRoot,
    Target,
    TraceAnswer,
    TwoRootsClaim,
    UnfoundedClaim,
    UpdateFault,
    WithheldClaim,
    ask,
    close,
    expand_signature,
    open_commitment,
    open_settlement,
    trace_leaf,
)
from ledger.challenges.paths import climb, climb_step
from ledger.contribution import Contribution, Domain, sign
from ledger.deployment import cohort_code
from ledger.digests import Settlement
from ledger.merkle import leaf_digest, tree_depth
from ledger.node import Node
from ledger.parties import Parties, local_parties
from ledger.update import UpdateFacts, bind_root

LENGTH = 268_435_456
SEGMENT = 12_346
"""An even position. The joint path of it and the one before has 22 siblings with 64 workers, as all positions
have on average; the shortest has 21, the longest 35."""

_DEPTH = 15
_SEGMENTS = 1 << _DEPTH
_STAKE_WEI = 10**17
_BOND_WEI = 10**15
_ANSWER_S = 600
_SETTLED = 3
_GAS = 10_000_000
_PARENT = keccak(b"parent")


def bench_challenges(
    sizes: Sequence[int], on_size: Callable[[int], None] = lambda _: None
) -> dict[int, dict[str, int]]:
    """Measure exact gas of one challenge of each kind, of requests and of answers.

    The member is in the middle of the cohort, and as many commitments came after its own as before.

    Args:
        sizes: Numbers of workers, each 1..255.
        on_size: Told which size begins.

    Returns:
        For each size, gas of whole transactions by name.

    Raises:
        InputError: The contracts of the tests are not there.
    """
    measured = {}
    for size in sizes:
        on_size(size)
        with EmbeddedChain.open(None, clock=LogicalClock()) as chain:
            measured[size] = _Bench(Node(EmbeddedProvider(RpcDispatcher(chain))), size).measure()
    return measured


@dataclass(slots=True)
class _Bench:
    """A ledger, and rounds in which a guard lied, each in one way."""

    node: Node
    workers: int
    parties: Parties = field(init=False)
    facts: ChallengeFacts = field(init=False)
    rng: np.random.Generator = field(init=False)
    _addresses: dict[str, str] = field(init=False)
    _round: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.workers)
        self.parties = local_parties(self.workers)
        members = (*self.parties.workers, self.parties.guard)
        code = cohort_code(members)
        creation = b"\x61" + len(code).to_bytes(2, "big") + bytes.fromhex("80600a3d393df3") + code
        cohort, _ = self.node.deploy(self.parties.operator, [], creation)
        self._addresses = {
            "Challenge": self._deploy("Challenge"),
            "DataRequests": self._deploy("DataRequests", _BOND_WEI, _ANSWER_S),
            "vault": self._deploy("test/TestVault"),
        }
        spec, shape = keccak(b"spec"), keccak(b"shape")
        ledger = self._deploy(
            "test/TestChallengedLedger",
            (
                7,
                LENGTH,
                cohort,
                spec,
                shape,
                self._addresses["DataRequests"],
                self._addresses["Challenge"],
                self._addresses["vault"],
                1,  # guard
            ),
        )
        self._addresses["ledger"] = ledger
        self.facts = ChallengeFacts(
            domain=Domain(self.node.chain_id, ledger),
            run=7,
            spec_digest=spec,
            shape_digest=shape,
            length=LENGTH,
            identities=tuple(party.identity.address for party in members),
        )
        # What is written again and again, was written before: lanes, the challenger's credit, what is burned.
        for word in range(self.words):
            self._call("ledger", "test/TestChallengedLedger", "setLaneWord", word, 1)
        self.measure_exponent()

    @property
    def index(self) -> int:
        """The member that everything is about."""
        return self.workers // 2

    @property
    def words(self) -> int:
        """Number of lane words."""
        return -(-(self.workers + 1) // 4)

    def measure(self) -> dict[str, int]:
        """Give the gas of everything."""
        return {
            "segment": self.measure_segment(),
            "boundary": self.measure_boundary(),
            "exponent": self.measure_exponent(),
            "malformed": self.measure_malformed(),
            "two_roots": self.measure_two_roots(),
            **self.measure_requests(),
        }

    # ------------------------------------------------------------------ kinds

    def measure_segment(self) -> int:
        """Kind 1."""
        header, siblings, segment = self.header(), self.digests(_DEPTH), self.values(8192)
        root = bind_root(header, climb(leaf_digest(segment), SEGMENT, siblings))
        before, posted = self.state(SEGMENT), self.rng.bytes(32)
        at = self.index << _DEPTH | SEGMENT
        path = self.digests(_DEPTH + tree_depth(self.workers + 1) + (at & -at).bit_length() - 2)
        target = self.settle(root, climb_step(trace_leaf(before), posted, at, path))
        return self.challenge(
            SegmentClaim(target, SEGMENT, header, segment, siblings, before, posted, path).calldata(
                self.facts
            )
        )

    def measure_boundary(self) -> int:
        """Kind 2."""
        last, path = self.state(_SEGMENTS), self.digests(_DEPTH + tree_depth(self.workers + 1))
        root = climb(trace_leaf(last), self.index << _DEPTH | (_SEGMENTS - 1), path)
        return self.challenge(
            BoundaryClaim(self.settle(self.rng.bytes(32), root), last, path).calldata(self.facts)
        )

    def measure_exponent(self) -> int:
        """Kind 3."""
        header, payload_root = self.header(exponent=-13), self.rng.bytes(32)
        target = self.settle(bind_root(header, payload_root), self.rng.bytes(32))
        return self.challenge(ExponentClaim(target, header, payload_root).calldata(self.facts))

    def measure_malformed(self) -> int:
        """Kind 4: a segment with -128, which is the dearest fault."""
        fault, root = self.fault()
        return self.challenge(
            MalformedClaim(self.settle(root, self.rng.bytes(32)), fault).calldata(self.facts)
        )

    def measure_two_roots(self) -> int:
        """Kind 5."""
        self._round += 1
        signed = []
        for tokens in (1 << 21, 1 << 22):
            contribution = self.contribution(self.index, self.rng.bytes(32), tokens)
            key = bytes(self.parties.workers[self.index].signer.key)
            signature = expand_signature(sign(contribution.digest(self.facts.domain), key))
            signed.append(SignedRoot(contribution.update_root, tokens, contribution.deadline, signature))
        self.stake(self.facts.identities[self.index])
        claim = TwoRootsClaim(self._round, self.index, _PARENT, signed[0], signed[1])
        return self.send("Challenge", claim.calldata(self.facts))

    def measure_requests(self) -> dict[str, int]:
        """Kinds 6 and 7, with the requests before them, and answers."""
        gas = {}
        header, siblings, segment = self.header(), self.digests(_DEPTH), self.values(8192)
        root = bind_root(header, climb(leaf_digest(segment), SEGMENT, siblings))
        nodes = self.digests(256)
        top = list(nodes)
        while len(top) > 1:
            top = [climb(top[at], 0, [top[at + 1]]) for at in range(0, len(top), 2)]
        height = 8
        path = self.digests(_DEPTH + tree_depth(self.workers + 1) - height)
        position = self.index << (_DEPTH - height) | 5
        target = self.settle(root, climb(top[0], position, path))
        keys = [self.key(RequestKind.SEGMENT, 0, SEGMENT), self.key(RequestKind.TRACE, height, position)]
        gas["request"] = max(self.ask(key, target) for key in keys)
        gas["answer_segment"] = self.send(
            "DataRequests", SegmentAnswer(keys[0], header, segment, siblings).calldata()
        )
        gas["answer_trace"] = self.send("DataRequests", TraceAnswer(keys[1], nodes, path).calldata())

        self.unanswered(self.key(RequestKind.SEGMENT, 0, SEGMENT + 1), target)
        self.stake(self.facts.identities[-1])
        claim = WithheldClaim(target, RequestKind.SEGMENT)
        gas["withheld"] = self.send("Challenge", claim.calldata(self.facts))

        fault, root = self.fault()
        target = self.settle(root, self.rng.bytes(32), malformed=True)
        self.ask(self.key(RequestKind.FAULT), target)
        answer = FaultAnswer(self.key(RequestKind.FAULT), fault)
        gas["answer_fault"] = self.send("DataRequests", answer.calldata())
        target = self.settle(root, self.rng.bytes(32), malformed=True)
        self.unanswered(self.key(RequestKind.FAULT), target)
        self.stake(self.facts.identities[-1])
        gas["unfounded"] = self.send("Challenge", UnfoundedClaim(target).calldata(self.facts))
        return gas

    # ------------------------------------------------------------------ parts

    def settle(self, update_root: bytes, trace_root: bytes, *, malformed: bool = False) -> Target:
        """Put the record of a new round into the ledger, and open it to the member."""
        self._round += 1
        members = self.workers + 1
        contributions = [
            self.contribution(i, update_root if i == self.index else self.rng.bytes(32), 1 << 22)
            for i in range(members)
        ]
        digests = [c.digest(self.facts.domain) for c in contributions]
        commitment = open_commitment(self.rng.bytes(32), digests, self.index, contributions[self.index])
        settlement = Settlement(
            presence=(1 << members) - 1,
            seed=self.rng.bytes(32),
            payload=self.payload(trace_root, malformed=malformed),
            approved=(1 << self.workers) - 1,
            yardstick_before=300_000,
            yardstick_after=300_001,
            lanes_before=[int.from_bytes(self.rng.bytes(32), "big") for _ in range(self.words)],
            lanes_after=[0] * self.words,
        )
        opening = open_settlement(commitment, settlement)
        target = Target(self._round, self.index, opening)
        record = opening.record(self.facts, self._round, self.index)
        self._call("ledger", "test/TestChallengedLedger", "setRound", self._round, record, _SETTLED)
        return target

    def contribution(self, index: int, update_root: bytes, tokens: int) -> Contribution:
        """Give a member's commitment of the current round."""
        return Contribution(
            run=7,
            round=self._round,
            worker=self.facts.identities[index],
            spec_digest=self.facts.spec_digest,
            parent_model=_PARENT,
            update_root=update_root,
            tokens=tokens,
            deadline=2_000_000_000,
        )

    def payload(self, trace_root: bytes, *, malformed: bool) -> bytes:
        """Give what a guard posts: random words and norms of realistic size."""
        norms = [int(n) for n in self.rng.integers(1 << 36, 1 << 40, size=self.workers + 1)]
        codes = [self.rng.bytes(32) for _ in range(self.workers)]
        exponents = [bytes([256 - 14])] * self.workers
        if malformed:
            codes[self.index], norms[self.index], exponents[self.index] = bytes(32), 0, b"\0"
        return b"".join(
            (
                self.rng.bytes(32),
                trace_root,
                bytes(32),
                (int(malformed) << self.index).to_bytes(32, "big"),
                norms[-1].to_bytes(8, "big"),
                bytes([256 - 14]),
                bytes(3),
                keccak(text="seed")[:20],
                *codes,
                *(norm.to_bytes(8, "big") for norm in norms[:-1]),
                *exponents,
            )
        )

    def header(self, exponent: int = -14) -> bytes:
        """Give the header of the member's update."""
        worker = bytes.fromhex(self.facts.identities[self.index][2:])
        facts = UpdateFacts(7, self._round + 1, worker, self.facts.shape_digest, LENGTH)
        return facts.header(exponent).pack()

    def values(self, count: int) -> bytes:
        """Give int8 values as training makes them: normal, three deviations to the end of the range."""
        return np.clip(np.rint(self.rng.normal(0, 42, count)), -127, 127).astype(np.int8).tobytes()

    def state(self, segments: int) -> bytes:
        """Give sums as they are after so many segments of such values."""
        deviation = 42 * (8192 * segments) ** 0.5
        sums = (int(value) for value in self.rng.normal(0, deviation, 256))
        norm2 = 42 * 42 * 8192 * segments
        return b"".join(value.to_bytes(6, "big", signed=True) for value in sums) + norm2.to_bytes(8, "big")

    def fault(self) -> tuple[UpdateFault, bytes]:
        """Give a segment with -128, and its update's root."""
        segment = self.values(8191) + b"\x80"
        header, siblings = self.header(), self.digests(_DEPTH)
        root = bind_root(header, climb(leaf_digest(segment), SEGMENT, siblings))
        return (
            UpdateFault(FaultKind.VALUE, header, segment_index=SEGMENT, segment=segment, siblings=siblings),
            root,
        )

    def digests(self, count: int) -> tuple[bytes, ...]:
        """Give random digests."""
        return tuple(self.rng.bytes(32) for _ in range(count))

    def key(self, kind: RequestKind, height: int = 0, position: int = 0) -> RequestKey:
        """Give a request about the member in the current round."""
        ledger = self.facts.domain.ledger
        return RequestKey(ledger, self._round, self.index, kind, height, position)

    # ----------------------------------------------------------- transactions

    def challenge(self, data: bytes) -> int:
        """Stake for the guard and challenge; give the gas of the challenge."""
        self.stake(self.facts.identities[-1])
        return self.send("Challenge", data)

    def ask(self, key: RequestKey, target: Target) -> int:
        """Ask; give the gas."""
        return self.send("DataRequests", ask(key, target.opening), _BOND_WEI)

    def unanswered(self, key: RequestKey, target: Target) -> None:
        """Ask, wait in vain and close."""
        self.ask(key, target)
        self.node.wait_until(self.node.timestamp() + _ANSWER_S + 1)
        self.send("DataRequests", close(key))

    def stake(self, holder: str) -> None:
        """Deposit a stake."""
        ledger = self._addresses["ledger"]
        self._call("vault", "test/TestVault", "deposit", ledger, holder, value_wei=_STAKE_WEI)

    def send(self, to: str, data: bytes, value_wei: int = 0) -> int:
        """Send a transaction; give its gas."""
        return self.node.send_data(
            self.parties.operator, self._addresses[to], data, to, local_gas=_GAS, value_wei=value_wei
        ).gas

    def _deploy(self, name: str, *arguments: object) -> str:
        artifact = artifacts.load(name)
        address, _ = self.node.deploy(self.parties.operator, artifact.abi, artifact.bytecode, *arguments)
        return address

    def _call(self, to: str, artifact: str, function: str, *arguments: object, value_wei: int = 0) -> None:
        contract = self.node.web3.eth.contract(
            address=to_checksum_address(self._addresses[to]),
            abi=artifacts.load(artifact).abi,
        )
        call = contract.get_function_by_name(function)(*arguments)
        self.node.send(self.parties.operator, call, local_gas=_GAS, value_wei=value_wei)
