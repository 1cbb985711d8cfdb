"""One round's readings, derived again from the bytes and compared with what the guard posted."""

from collections import deque
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec

from guard.gate import ABSENT, Reading, Status, WorkerEvidence
from guard.settlement import Settlement
from guard.signs import SeedSigns
from guard.sketch import SEGMENT_ROWS, Engine
from ledger.blobs import BlobCorruptError, BlobMissingError, BlobStore, BlobTooLargeError
from ledger.client import LedgerFacts
from ledger.deployment import NO_ADDRESS
from ledger.merkle import digest_tree_root
from ledger.update import UpdateFacts, segment_count
from trainer.assay import Assay, assay
from trainer.audit.challenges import EXPONENT, FALSE_SUMS, FALSE_TRACE, missing_challenge, status_challenge
from trainer.audit.report import Findings, word
from trainer.traces import expected_root

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
        settlement: What should have been posted, as far as the bytes are there; its median is not set.
        is_posted: Whether that is what was posted.
        files: The sound files that were to be kept, by cohort index.
    """

    settlement: Settlement
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
        self, round_: int, roots: Mapping[int, bytes], posted: Settlement, seed: bytes, keep: int
    ) -> Readings:
        """Assay every committed file of a round.

        Args:
            round_: The round.
            roots: Committed roots by cohort index.
            posted: What the guard posted.
            seed: The round's seed.
            keep: Bitmap of the members whose bytes are needed afterwards.

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
        before = self._findings.total
        guard = self._facts.guard_index
        anchor = posted.anchor
        with closing(self._delivered(round_, roots, signs, keep)) as delivered:
            for index in range(guard + 1):
                if index not in roots:
                    evidence.append(ABSENT)
                    continue
                found = next(delivered)
                if found.data is not None:
                    files[index] = found.data
                if found.assay.leaves:
                    traces[index] = digest_tree_root(found.assay.leaves)
                claim = WorkerEvidence(Status.COMMITTED, anchor) if index == guard else posted.workers[index]
                evidence.append(self._compare_one(round_, index, roots[index], claim, found))
        reading = evidence.pop().reading
        settlement = Settlement(anchor if reading is None else reading, 0, tuple(evidence))
        readings = Readings(settlement, self._findings.total == before, files)
        self._compare_traces(round_, traces, posted)
        return readings

    def _compare_traces(self, round_: int, found: Mapping[int, bytes], posted: Settlement) -> None:
        """Compare the trace root, unless bytes that it rests on are not there, which has been noted."""
        guard = self._facts.guard_index
        with_word = [i for i, worker in enumerate(posted.workers) if worker.status == Status.COMMITTED]
        expected = expected_root(found, [*with_word, guard], guard + 1)
        if expected is not None:
            worker = self._facts.members[guard].identity
            self._findings.same(
                round_, "trace_root", expected, posted.trace_root, worker, challenge=FALSE_TRACE
            )

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
        facts = UpdateFacts(
            run=self._facts.run,
            round=round_,
            worker=bytes.fromhex(self._facts.members[index].identity[2:]),
            shape_digest=self._facts.shape_digest,
            length=self._facts.length,
        )
        nothing = Assay(None, Status.UNAVAILABLE)
        try:
            # The assay computes the root in its own pass over the bytes; once is enough.
            data = self._store.get(root, max_bytes=facts.size_bytes, root_of=lambda _: root)
        except BlobMissingError:
            return Delivered(nothing, None, "missing")
        except BlobTooLargeError:
            return Delivered(nothing, None, f"more than {facts.size_bytes} bytes")
        except BlobCorruptError as error:
            return Delivered(nothing, None, str(error))
        found = assay(data, facts, signs, committed_root=root, engine=self._engine, with_trace=True)
        if found.status == Status.UNAVAILABLE:
            other = f"{len(data)} bytes" if found.root is None else f"0x{found.root.hex()}"
            return Delivered(found, None, other)
        return Delivered(found, data if is_kept and found.status == Status.COMMITTED else None, "")

    def _compare_one(
        self, round_: int, index: int, root: bytes, claim: WorkerEvidence, found: Delivered
    ) -> WorkerEvidence:
        """Compare one member's bytes with its claim; give the evidence to judge it by."""
        worker = self._facts.members[index].identity
        status = found.assay.status
        if status == Status.UNAVAILABLE:
            # Bytes that are gone prove nothing about what was posted: the claim stands, but is not checked.
            if claim.status != Status.UNAVAILABLE:
                kind = missing_challenge(claim.status)
                self._findings.differ(
                    round_, "blob", root, found.complaint, worker, challenge=kind, is_false=False
                )
            return claim
        if claim.status == Status.UNAVAILABLE and self._facts.data_requests != NO_ADDRESS:
            return claim  # the contract has seen that they did not come in time
        if claim.status != status:
            kind = status_challenge(status, claim.status)
            names = status.name.lower(), claim.status.name.lower()
            self._findings.differ(round_, "status", *names, worker, challenge=kind)
        elif claim.reading is not None and found.assay.reading is not None:
            self._compare_reading(round_, worker, found.assay.reading, claim.reading)
        return found.assay.evidence

    def _compare_reading(self, round_: int, worker: str, expected: Reading, posted: Reading) -> None:
        self._findings.count("words")
        codes = word(expected.code), word(posted.code)
        self._findings.same(round_, "word", *codes, worker, challenge=FALSE_SUMS)
        self._findings.same(round_, "norm2", expected.norm2, posted.norm2, worker, challenge=FALSE_SUMS)
        self._findings.same(
            round_, "exponent", expected.exponent, posted.exponent, worker, challenge=EXPONENT
        )
