"""One round's readings, derived again from the bytes and compared with what the guard posted."""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec

from guard.errors import QuorumError
from guard.gate import ABSENT, Reading, Status, WorkerEvidence
from guard.settlement import Settlement
from guard.signs import SeedSigns
from guard.sketch import SEGMENT_ROWS, Engine
from guard.trace import LEAF_BYTES
from ledger.blobs import BlobStore, BlobStoreFault
from ledger.client import LedgerFacts
from ledger.deployment import NO_ADDRESS
from ledger.errors import LedgerError
from ledger.merkle import digest_tree_root
from ledger.update import segment_count
from trainer.assay import Assay, assay
from trainer.audit.challenges import (
    EXPONENT,
    FALSE_END,
    FALSE_SUMS,
    FALSE_TRACE,
    missing_challenge,
    status_challenge,
)
from trainer.audit.report import Findings, word
from trainer.delivery import fetch_committed
from trainer.errors import InputError
from trainer.settled import claimed, draft_settlement
from trainer.traces import expected_root, load_roots

_COMPILE_FROM_ROWS = 1 << 15


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the store has under one committed root.

    Attributes:
        assay: What the bytes are; UNAVAILABLE if they are not the committed ones.
        data: The bytes, None unless they are sound and needed later.
        complaint: What the store has instead of the committed bytes; "" if it has those.
    """

    assay: Assay
    data: bytes | None
    complaint: str


@dataclass(frozen=True, slots=True)
class Readings:
    """What a round's bytes came to.

    Attributes:
        settlement: What should have been posted, as far as the bytes are there; median and poster are not
            set. None if with these bytes nothing could have been: too few guards have a sound anchor.
        is_posted: Whether that is what was posted.
        files: The sound files that were to be kept, by cohort index.
    """

    settlement: Settlement | None
    is_posted: bool
    files: dict[int, bytes]


class BytesAgain:
    """Reads update files and compares them with settlements."""

    def __init__(self, facts: LedgerFacts, store: BlobStore, findings: Findings, jobs: int = 1) -> None:
        """Bind to a run.

        Args:
            facts: The run's constants.
            store: Where its files are.
            findings: Told of everything that differs.
            jobs: Files to assay at a time, each in a thread: hashing and sketch run outside of Python's lock.
        """
        self._facts = facts
        self._store = store
        self._findings = findings
        self._jobs = jobs
        self._engine = Engine.AUTO

    def compare(
        self,
        round_: int,
        roots: Mapping[int, bytes],
        posted: Settlement,
        seed: bytes,
        keep: int,
        overturned: int = 0,
    ) -> Readings:
        """Assay every committed file of a round.

        Args:
            round_: The round.
            roots: Committed roots by cohort index.
            posted: What the guard posted.
            seed: The round's seed.
            keep: Bitmap of the members whose bytes are needed afterwards.
            overturned: Bitmap of the members about whom a challenge has shown something false. What differs
                about them is told and is no failure, and others are judged by what was posted about them.

        Returns:
            What the bytes came to; only the files to keep stay in memory.

        Raises:
            BlobStoreFault: Disk or network failed.
        """
        signs = SeedSigns(seed)
        # By the round, not by all rounds so far: a long run must not take more memory than a short one.
        rows = len(roots) * segment_count(self._facts.length) * SEGMENT_ROWS
        pays = rows >= _COMPILE_FROM_ROWS and find_spec("numba") is not None
        self._engine = Engine.NUMBA if pays else Engine.AUTO
        files: dict[int, bytes] = {}
        traces: dict[int, bytes] = {}
        evidence: list[WorkerEvidence] = []
        before = self._failures
        claims = claimed(posted)
        with closing(self._delivered(round_, roots, signs, keep)) as delivered:
            for index, claim in enumerate(claims):
                if index not in roots:
                    evidence.append(ABSENT)
                    continue
                found = next(delivered)
                if found.data is not None:
                    files[index] = found.data
                if found.assay.leaves:
                    traces[index] = digest_tree_root(found.assay.leaves)
                is_overturned = bool(overturned >> index & 1)
                derived = self._compare_one(
                    round_, index, roots[index], claim, found, posted.trace_root, is_overturned
                )
                evidence.append(claim if is_overturned else derived)
        try:
            workers, guards = evidence[: self._facts.workers], evidence[self._facts.workers :]
            if self._facts.guards == 1 and guards[0].reading is None:
                guards = list(claims[self._facts.workers :])
            settlement = draft_settlement(workers, guards)
        except QuorumError:
            settlement = None
        readings = Readings(settlement, self._failures == before, files)
        self._compare_traces(round_, traces, posted, overturned)
        return readings

    @property
    def _failures(self) -> int:
        return self._findings.total - self._findings.overturned

    def _compare_traces(
        self, round_: int, found: Mapping[int, bytes], posted: Settlement, overturned: int
    ) -> None:
        """Compare the trace root, unless bytes that it rests on are not there, which has been noted.

        One that differs is no failure if the traces of all those are right who were not overturned.
        """
        claims = claimed(posted)
        with_word = [index for index, claim in enumerate(claims) if claim.status == Status.COMMITTED]
        expected = expected_root(found, with_word, len(claims))
        if expected is None or expected == posted.trace_root:
            return
        is_overturned = bool(overturned >> self._facts.workers)  # with a guard's anchor the whole round is
        if overturned and not is_overturned:
            standing = [index for index in with_word if not overturned >> index & 1]
            is_overturned = self._are_traces_right(standing, found, posted.trace_root)
        worker = self._facts.members[self._facts.guard_indices[posted.poster]].identity
        self._findings.differ(
            round_,
            "trace_root",
            expected,
            posted.trace_root,
            worker,
            challenge=FALSE_TRACE,
            is_overturned=is_overturned,
        )

    def _are_traces_right(self, members: Sequence[int], found: Mapping[int, bytes], root: bytes) -> bool:
        """Tell whether the posted trace roots of some members are there, and are the derived ones."""
        try:
            roots = load_roots(self._store, root, len(self._facts.members))
        except BlobStoreFault:
            raise
        except (LedgerError, InputError):
            return False
        return all(roots[LEAF_BYTES * index :][:LEAF_BYTES] == found[index] for index in members)

    def _delivered(
        self, round_: int, roots: Mapping[int, bytes], signs: SeedSigns, keep: int
    ) -> Generator[Delivered, None, None]:
        """Assay the files in cohort order, at most `jobs` at a time and in memory."""

        def one(index: int) -> Delivered:
            return self._deliver(round_, index, roots[index], signs, is_kept=bool(keep >> index & 1))

        indices = sorted(roots)
        if self._jobs == 1:
            yield from map(one, indices)
            return
        with ThreadPoolExecutor(self._jobs, "assay") as pool:
            waiting: deque[Future[Delivered]] = deque()
            try:
                for index in indices:
                    waiting.append(pool.submit(one, index))
                    if len(waiting) == self._jobs:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _deliver(self, round_: int, index: int, root: bytes, signs: SeedSigns, *, is_kept: bool) -> Delivered:
        facts = self._facts.update_facts(round_, index)
        data, complaint = fetch_committed(self._store, root, facts.readable_bytes)
        if data is None:
            return Delivered(Assay(None, Status.UNAVAILABLE), None, complaint)
        found = assay(data, facts, signs, committed_root=root, engine=self._engine, with_trace=True)
        if found.status == Status.UNAVAILABLE:
            other = f"{len(data)} bytes" if found.root is None else f"0x{found.root.hex()}"
            return Delivered(found, None, other)
        return Delivered(found, data if is_kept and found.status == Status.COMMITTED else None, "")

    def _compare_one(
        self,
        round_: int,
        index: int,
        root: bytes,
        claim: WorkerEvidence,
        found: Delivered,
        trace_root: bytes,
        is_overturned: bool,
    ) -> WorkerEvidence:
        """Compare one member's bytes with its claim; give the evidence to judge it by."""
        worker = self._facts.members[index].identity
        status = found.assay.status
        if status == Status.UNAVAILABLE:
            # Bytes that are gone prove nothing about what was posted: the claim stands, but is not checked.
            if claim.status != Status.UNAVAILABLE:
                kind = missing_challenge(claim.status)
                self._findings.differ(
                    round_,
                    "blob",
                    root,
                    found.complaint,
                    worker,
                    challenge=kind,
                    is_false=False,
                    is_overturned=is_overturned,
                )
            return claim
        if claim.status == Status.UNAVAILABLE and self._facts.data_requests != NO_ADDRESS:
            return claim  # the contract has seen that they did not come in time
        if claim.status != status:
            kind = status_challenge(status, claim.status)
            names = status.name.lower(), claim.status.name.lower()
            self._findings.differ(
                round_, "status", *names, worker, challenge=kind, is_overturned=is_overturned
            )
        elif claim.reading is not None and found.assay.reading is not None:
            sums = FALSE_SUMS
            if found.assay.reading != claim.reading:
                own = {index: digest_tree_root(found.assay.leaves)}
                if self._are_traces_right([index], own, trace_root):
                    sums = FALSE_END
            self._compare_reading(round_, worker, found.assay.reading, claim.reading, sums, is_overturned)
        return found.assay.evidence

    def _compare_reading(
        self, round_: int, worker: str, expected: Reading, posted: Reading, sums: str, is_overturned: bool
    ) -> None:
        self._findings.count("words")
        values = (
            ("word", word(expected.code), word(posted.code), sums),
            ("norm2", expected.norm2, posted.norm2, sums),
            ("exponent", expected.exponent, posted.exponent, EXPONENT),
        )
        for field, ours, theirs, kind in values:
            self._findings.same(
                round_, field, ours, theirs, worker, challenge=kind, is_overturned=is_overturned
            )
