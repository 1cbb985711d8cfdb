"""One settled round, assayed again: what was posted and is false, with the claim that shows it."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from guard.gate import Reading, Status
from guard.signs import SeedSigns
from guard.trace import LEAF_BYTES, first_difference, state_before
from ledger.blobs import BlobStore, BlobStoreFault
from ledger.challenges import (
    BoundaryClaim,
    ClaimRefusedError,
    ExponentClaim,
    MalformedClaim,
    OnChain,
    RequestKey,
    RequestKind,
    SegmentClaim,
    Target,
    TraceTree,
    TwoRootsClaim,
    UnfoundedClaim,
    UpdateFault,
    UpdateTree,
    WithheldClaim,
    find_fault,
)
from ledger.client import LedgerClient
from ledger.deployment import NO_ADDRESS
from ledger.errors import LedgerError
from ledger.merkle import digest_tree_root, tree_depth
from ledger.update import HEADER_BYTES, segment_count, update_root
from trainer.assay import Assay, assay
from trainer.challenger.rounds import SettledRound, challenge_facts
from trainer.delivery import fetch_committed
from trainer.errors import InputError
from trainer.settled import claimed
from trainer.traces import NO_TRACE, expected_root, load_leaves, load_roots

Claim = (
    SegmentClaim
    | BoundaryClaim
    | ExponentClaim
    | MalformedClaim
    | TwoRootsClaim
    | WithheldClaim
    | UnfoundedClaim
)


class Field(StrEnum):
    """What is false, or cannot be had."""

    WORD = "word"
    NORM2 = "norm2"
    EXPONENT = "exponent"
    STATUS = "status"
    TRACE = "trace"
    BYTES = "bytes"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class Falsehood:
    """Something posted about one member that does not follow from the committed bytes, or cannot be checked.

    Attributes:
        round: The round.
        index: Cohort index, a guard's for its anchor.
        worker: Identity of the member.
        field: What it is about.
        expected: What follows from the bytes.
        posted: What was posted.
        claim: Shows it in one transaction; None if nothing does, or not yet.
        request: What has to be asked for first; None if nothing has.
        why: Why there is no claim; "" if there is one.
        may_change: Whether there may be a claim later: bytes that are missing may still come.
        poster: Identity of the guard that posted it and answers for it with its stake.
    """

    round: int
    index: int
    worker: str
    field: Field
    expected: str | int
    posted: str | int
    claim: Claim | None = None
    request: RequestKey | None = None
    why: str = ""
    may_change: bool = False
    poster: str = ""


@dataclass(frozen=True, slots=True)
class _Delivered:
    """What the store has under one committed root; no data if it does not have the committed bytes.

    A fault if and only if they are malformed.
    """

    assay: Assay
    data: bytes | None = None
    fault: UpdateFault | None = None
    complaint: str = ""


class Examiner:
    """Compares settled rounds with their bytes. One update is in memory at a time."""

    def __init__(self, client: LedgerClient, store: BlobStore, *, has_requests: bool) -> None:
        """Bind to a run.

        Args:
            client: Its ledger.
            store: Its update and trace files.
            has_requests: Whether the ledger names a contract that can be asked for data.
        """
        self.facts = challenge_facts(client.facts)
        self._client = client
        self._store = store
        self._segments = segment_count(client.facts.length)
        self._members = len(client.facts.members)
        self._has_requests = has_requests

    def examine(self, round_: SettledRound, only: int | None = None) -> Iterator[Falsehood]:
        """Find everything false in a round, the anchor first, and one thing for each member.

        Args:
            round_: A settled or final round.
            only: Cohort index of the one member to look at; None for all.

        Yields:
            What is false, each with a claim that this side has checked, or with why there is none.

        Raises:
            EnvironmentFault: The node or the store failed; try again.
        """
        signs = SeedSigns(round_.verdicts.seed)
        posted_roots = self._posted_roots(round_, signs)
        for index in sorted(round_.history.roots, reverse=True) if only is None else [only]:
            if self._client.overturned_of(round_.number) >> index & 1:
                continue
            found = self._member(round_, index, signs, posted_roots, is_alone=only is not None)
            if found is not None:
                yield found

    def on_chain(self, round_: SettledRound) -> OnChain:
        """Read what the chain says of a round now, as claims need it."""
        client, number = self._client, round_.number
        return OnChain(record=client.record_of(number), overturned=client.overturned_of(number))

    def _member(
        self,
        round_: SettledRound,
        index: int,
        signs: SeedSigns,
        posted_roots: bytes | None,
        *,
        is_alone: bool,
    ) -> Falsehood | None:
        """Compare one member's bytes with what was posted about it."""
        claims = claimed(round_.posted)
        status = claims[index].status
        found = self._deliver(round_, index, signs)
        if status == Status.ABSENT:
            return None
        if status == Status.UNAVAILABLE:
            return self._posted_unavailable(round_, index, found)
        if status == Status.MALFORMED:
            return self._posted_malformed(round_, index, found)
        if found.data is None:
            return self._withheld(round_, index, found.complaint)
        if found.fault is not None:
            kind = f"malformed ({found.fault.kind.name.lower()})"
            fault = MalformedClaim(self._target(round_, index), found.fault)
            return self._shown(round_, index, Field.STATUS, kind, "sound", fault)
        reading = claims[index].reading
        if reading is None:  # cannot be: a committed one has a reading
            return None
        if reading.exponent != found.assay.exponent:
            update = UpdateTree([found.data])
            claim = ExponentClaim(self._target(round_, index), update.header, update.payload_root)
            return self._shown(round_, index, Field.EXPONENT, found.assay.exponent, reading.exponent, claim)
        if posted_roots is None:
            last = max(i for i, claim in enumerate(claims) if claim.reading is not None)
            if self._has_requests and index != last and not is_alone:
                return None  # one request, about an anchor, is enough: it takes the whole round back
            difference = _difference(found.assay, reading)
            return self._no_trace(round_, index, *difference, "the round's trace")
        return self._sums(round_, index, signs, found, reading, posted_roots)

    def _sums(
        self,
        round_: SettledRound,
        index: int,
        signs: SeedSigns,
        found: _Delivered,
        reading: Reading,
        posted_roots: bytes,
    ) -> Falsehood | None:
        """Compare word, norm and trace of a sound update."""
        name, expected, posted = _difference(found.assay, reading)
        own = _root_at(posted_roots, index)
        if own == digest_tree_root(found.assay.leaves):
            if name is None or found.data is None:
                return None
            tree = TraceTree(index, found.assay.leaves, posted_roots)
            last = state_before(memoryview(found.data)[HEADER_BYTES:], signs, self._segments)
            claim = BoundaryClaim.build(self._target(round_, index), tree, last)
            return self._shown(round_, index, name, expected, posted, claim)
        try:
            leaves = load_leaves(self._store, own, self._segments) if own != NO_TRACE else None
        except BlobStoreFault:
            raise
        except LedgerError:
            leaves = None
        if leaves is None:
            return self._no_trace(round_, index, name, expected, posted, "the trace of this member")
        return self._step(round_, index, signs, found, TraceTree(index, leaves, posted_roots), leaves)

    def _step(
        self,
        round_: SettledRound,
        index: int,
        signs: SeedSigns,
        found: _Delivered,
        trace: TraceTree,
        leaves: bytes,
    ) -> Falsehood | None:
        """Show the first leaf that is not that of the bytes."""
        if found.data is None:
            return None
        payload = memoryview(found.data)[HEADER_BYTES:]
        first = first_difference(payload, signs, leaves)
        if first is None:  # the same leaves have the same root
            return None
        update = UpdateTree([found.data], keep=(first.segment,))
        target = self._target(round_, index)
        claim = SegmentClaim.build(target, update, trace, first.segment, first.state_before)
        after = state_before(payload, signs, first.segment + 1)
        expected = "0x" + found.assay.leaves[32 * first.segment :][:32].hex()
        posted = "0x" + trace.leaf(first.segment).hex()
        return self._shown(round_, index, Field.TRACE, expected, posted, claim, after)

    # Statuses

    def _posted_malformed(self, round_: SettledRound, index: int, found: _Delivered) -> Falsehood | None:
        """Posted as malformed: false if the bytes are sound."""
        if found.assay.status != Status.COMMITTED:
            return None
        key = RequestKey(self.facts.domain.ledger, round_.number, index, RequestKind.FAULT)
        claim = UnfoundedClaim(self._target(round_, index))
        return self._asked(round_, index, Field.STATUS, "sound", "malformed", key, claim)

    def _posted_unavailable(self, round_: SettledRound, index: int, found: _Delivered) -> Falsehood | None:
        """Posted as unavailable: with a request contract the chain has seen that nobody answered.

        With one for votes it has seen that a majority of the guards says so.
        """
        if found.data is None or self._client.facts.data_requests != NO_ADDRESS:
            return None
        status = "sound" if found.assay.status == Status.COMMITTED else "malformed"
        why = "where a run names no data-request contract, unavailable rests on the guard's word"
        return self._told(round_, index, Field.STATUS, status, "unavailable", why=why)

    def _withheld(self, round_: SettledRound, index: int, complaint: str) -> Falsehood:
        """Posted as sound, and the bytes cannot be had; the last segment is what shorter files lack."""
        position = self._segments - 1
        ledger = self.facts.domain.ledger
        key = RequestKey(ledger, round_.number, index, RequestKind.SEGMENT, 0, position)
        claim = WithheldClaim(self._target(round_, index), RequestKind.SEGMENT)
        root = "0x" + round_.history.roots[index].hex()
        return self._asked(round_, index, Field.BYTES, root, complaint, key, claim, may_change=True)

    def _no_trace(
        self,
        round_: SettledRound,
        index: int,
        name: Field | None,
        expected: str | int,
        posted: str | int,
        what: str,
    ) -> Falsehood:
        """The trace files that would show it, or that could hide something, cannot be had."""
        depth = tree_depth(self._segments)
        total = depth + tree_depth(self._members)
        height = total if what == "the round's trace" else max(depth, 1)
        position = index << depth >> height
        ledger = self.facts.domain.ledger
        key = RequestKey(ledger, round_.number, index, RequestKind.TRACE, height, position)
        claim = WithheldClaim(self._target(round_, index), RequestKind.TRACE)
        if name is None:
            name, expected = Field.TRACE, what
            posted = "missing, or another file"
        return self._asked(round_, index, name, expected, posted, key, claim, what=what, may_change=True)

    # Findings

    def _asked(
        self,
        round_: SettledRound,
        index: int,
        field: Field,
        expected: str | int,
        posted: str | int,
        key: RequestKey,
        claim: Claim,
        *,
        what: str = "",
        may_change: bool = False,
    ) -> Falsehood:
        """Something that is shown by a request that nobody answers, where the run has such a contract."""
        if self._has_requests:
            key.check(self.facts)
            return self._told(
                round_, index, field, expected, posted, claim=claim, request=key, may_change=may_change
            )
        why = "it takes a data-request contract, and this run names none"
        if what:
            why = f"{what} cannot be had; without it {why}"
        return self._told(round_, index, field, expected, posted, why=why, may_change=may_change)

    def _shown(
        self,
        round_: SettledRound,
        index: int,
        field: Field,
        expected: str | int,
        posted: str | int,
        claim: Claim,
        state_after: bytes = b"",
    ) -> Falsehood:
        """Something that one transaction shows; checked here before it costs anything."""
        try:
            if isinstance(claim, TwoRootsClaim):
                claim.check(self.facts, self.on_chain(round_), self._client.facts.members[index].signer)
            elif isinstance(claim, SegmentClaim):
                claim.check(self.facts, self.on_chain(round_), state_after)
            else:
                claim.check(self.facts, self.on_chain(round_))
        except ClaimRefusedError as error:
            return self._told(round_, index, field, expected, posted, why=f"it would revert: {error}")
        return self._told(round_, index, field, expected, posted, claim=claim)

    def _told(
        self,
        round_: SettledRound,
        index: int,
        field: Field,
        expected: str | int,
        posted: str | int,
        *,
        claim: Claim | None = None,
        request: RequestKey | None = None,
        why: str = "",
        may_change: bool = False,
    ) -> Falsehood:
        facts = self._client.facts
        worker = facts.members[index].identity
        poster = facts.members[facts.guard_indices[round_.posted.poster]].identity
        return Falsehood(
            round_.number, index, worker, field, expected, posted, claim, request, why, may_change, poster
        )

    def _target(self, round_: SettledRound, index: int) -> Target:
        return round_.target(self._client, index)

    # Bytes

    def _posted_roots(self, round_: SettledRound, signs: SeedSigns) -> bytes | None:
        """Give the members' posted trace roots: from the store, or derived; None if neither."""
        posted = round_.posted.trace_root
        try:
            return load_roots(self._store, posted, self._members)
        except BlobStoreFault:
            raise
        except (LedgerError, InputError):
            pass
        claims = claimed(round_.posted)
        sound = [index for index, claim in enumerate(claims) if claim.status == Status.COMMITTED]
        own: dict[int, bytes] = {}
        for index in sound:
            leaves = self._deliver(round_, index, signs).assay.leaves
            if not leaves:
                return None
            own[index] = digest_tree_root(leaves)
        if expected_root(own, sound, self._members) != posted:
            return None
        return b"".join(own.get(index, NO_TRACE) for index in range(self._members))

    def _deliver(self, round_: SettledRound, index: int, signs: SeedSigns) -> _Delivered:
        """Fetch the committed bytes and assay them."""
        facts = self._client.facts.update_facts(round_.number, index)
        root = round_.history.roots[index]
        nothing = Assay(None, Status.UNAVAILABLE)
        data, complaint = fetch_committed(self._store, root, facts.readable_bytes)
        if data is None:
            return _Delivered(nothing, complaint=complaint)
        found = assay(data, facts, signs, committed_root=root, with_trace=True)
        if found.status == Status.COMMITTED:
            return _Delivered(found, data)
        try:
            is_committed = update_root(data) == root
        except LedgerError:
            is_committed = False
        if not is_committed:
            return _Delivered(nothing, complaint="bytes with another root")
        fault = find_fault(data, self.facts, round_.number, index)
        return _Delivered(Assay(root, Status.MALFORMED, found.reason), data, fault)


def _difference(found: Assay, posted: Reading) -> tuple[Field | None, str | int, str | int]:
    if found.code != posted.code:
        return Field.WORD, f"0x{found.code:064x}", f"0x{posted.code:064x}"
    if found.norm2 != posted.norm2:
        return Field.NORM2, found.norm2, posted.norm2
    return None, "", ""


def _root_at(roots: bytes, index: int) -> bytes:
    return roots[LEAF_BYTES * index :][:LEAF_BYTES]
