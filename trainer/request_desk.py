"""Data requests in a run: asking on the chain for updates that did not come, and answering what is asked.

docs/spec/challenge.md, "Requests". The chain says how far each request is, so a crash loses nothing.
"""

from collections.abc import Mapping, Sequence
from enum import Enum

from eth_account.signers.local import LocalAccount

from guard.trace import LEAF_BYTES
from ledger.blobs import BlobStore, BlobStoreFault
from ledger.challenges import (
    ChallengeFacts,
    ClaimRefusedError,
    FaultAnswer,
    RequestKey,
    RequestKind,
    SegmentAnswer,
    TraceAnswer,
    TraceTree,
    UpdateFault,
    UpdateTree,
    find_fault,
)
from ledger.client import LedgerClient
from ledger.errors import LedgerError
from ledger.history import RoundHistory
from ledger.request_book import Asked, RequestBook, RequestStatus
from ledger.reverts import RevertedError
from ledger.update import segment_count, update_root
from trainer.challenger.rounds import challenge_facts, open_commitment
from trainer.delivery import fetch_committed
from trainer.errors import InputError
from trainer.reporting import Observer
from trainer.traces import load_leaves, load_roots

# Blocks that are read again each time: a reorganisation may have put a request into another one.
_READ_AGAIN_BLOCKS = 64
# Looks at the chain while one answer window passes on a local chain, which does not wait.
_LOCAL_LOOKS = 4
_LOOK_EVERY_S = 10


class Fate(Enum):
    """What became of an update that did not come."""

    DELIVERED = "its bytes are in the store now"
    UNANSWERED = "nobody has answered: it is unavailable"
    MALFORMED = "an answer shows that it is malformed"
    STUCK = "parts were answered, and the whole cannot be had"


class RequestDesk:
    """The guard's side of a run's DataRequests contract."""

    def __init__(
        self,
        client: LedgerClient,
        store: BlobStore,
        account: LocalAccount,
        observer: Observer,
        *,
        most_segments: int,
        first_block: int = 0,
    ) -> None:
        """Bind to a run whose ledger names a data-request contract.

        Args:
            client: Its ledger.
            store: Its update and trace files.
            account: Who asks, answers and gets the bonds.
            observer: Gets notes and progress.
            most_segments: Most segments of one update that are asked for.
            first_block: A block not after that in which the ledger was created.

        Raises:
            NotOurContractError: What the ledger names is not this version's.
            EnvironmentFault: The node failed.
        """
        self._client = client
        self._node = client.node
        self._store = store
        self._account = account
        self._observer = observer
        self._most_segments = most_segments
        self._facts: ChallengeFacts = challenge_facts(client.facts)
        self._segments = segment_count(client.facts.length)
        # Of a large update only the last one is asked for.
        self._asked_positions = {*range(min(self._segments, most_segments)), self._segments - 1}
        self._first_block = self._next_block = first_block
        self._open: dict[bytes, Asked] = {}
        self.book = RequestBook(client.node, client.facts.data_requests)

    def marked(self, round_: int) -> int:
        """Read which members' segments were asked for in vain, as a bitmap: these are unavailable."""
        return self.book.unanswered_of(self._client.address, round_)[RequestKind.SEGMENT]

    def obtain(self, history: RoundHistory, missing: Mapping[int, bytes]) -> dict[int, Fate]:
        """Ask for updates that did not come, and wait until the fate of each is known.

        First for the last segment, which a file that is too short does not have. If nobody shows it, the
        request is closed and the update is unavailable. If somebody does, the update is there, and all its
        other segments are asked for at once; when all are answered, the file is put together and stored.

        Args:
            history: The round, sealed.
            missing: Committed roots by cohort index.

        Returns:
            The fate of each.

        Raises:
            RevertedError: The round is not sealed any more, or the account cannot pay the bonds.
            EnvironmentFault: Node or store failed; do it again.
        """
        fates: dict[int, Fate] = {}
        while len(fates) < len(missing):
            if not self._client.state().is_seed_fixed:
                # The chain goes on while we wait, and forgets the block that the seed is made of.
                self._client.fix_seed(self._account, history.round)
            deadlines = [self._answer_all()]
            for index, root in missing.items():
                if index not in fates:
                    fate, deadline = self._step(history, index, root)
                    if fate is not None:
                        fates[index] = fate
                        self._observer.note(f"round {history.round}, member {index}: {fate.value}")
                    deadlines.append(deadline)
            waiting = [deadline for deadline in deadlines[1:] if deadline]
            if len(fates) < len(missing) and waiting:
                self._pause(history.round, min(waiting), "data")
        self._answer_all()
        return fates

    def pause(self, round_: int, timestamp: int) -> None:
        """Answer what is asked for, and wait a while; not past a moment of the chain.

        Args:
            round_: Round that is waited for, for the progress line.
            timestamp: Unix seconds of the chain.
        """
        self._answer_all()
        if self._node.next_timestamp() < timestamp:
            self._pause(round_, timestamp - 1, "challenges")

    def answer_open(self) -> int:
        """Answer whatever is asked for now and can be answered; give how many requests are left open."""
        self._answer_all()
        return len(self._open)

    def collect(self) -> None:
        """Take back the bonds that are owed to us, if there are any."""
        if self.book.credit_of(self._account.address):
            self.book.claim(self._account)

    # Asking

    def _step(self, history: RoundHistory, index: int, root: bytes) -> tuple[Fate | None, int]:
        """Do what can be done now about one update; give its fate, or until when answers count."""
        round_ = history.round
        last = self._key(round_, index, self._segments - 1)
        asked = self.book.request_of(last)
        if self.marked(round_) >> index & 1:
            self._close_rest(round_, index)
            return Fate.UNANSWERED, 0
        if self._file(round_, index, root) is not None:
            return Fate.DELIVERED, 0
        if asked.status != RequestStatus.ANSWERED:
            return self._await(history, [last])
        shown = self._shown(last, root)
        if shown is None:
            return Fate.STUCK, 0
        if shown.fault(self._facts) is not None:
            return Fate.MALFORMED, 0
        if self._segments > self._most_segments:
            return Fate.STUCK, 0
        keys = [self._key(round_, index, position) for position in range(self._segments)]
        if any(self.book.request_of(key).status != RequestStatus.ANSWERED for key in keys):
            return self._await(history, keys)
        return self._put_together(keys, root), 0

    def _await(self, history: RoundHistory, keys: Sequence[RequestKey]) -> tuple[Fate | None, int]:
        """Ask for what nobody has asked for; close what nobody has answered in time."""
        deadlines = []
        is_closed = False
        for key in keys:
            asked = self.book.request_of(key)
            if asked.status == RequestStatus.NONE:
                opening = open_commitment(self._client, history, key.index)
                self.book.ask_sealed(self._account, key, opening)
                asked = self.book.request_of(key)
                self._observer.note(
                    f"round {history.round}, member {key.index}: segment {key.position} did not come and is "
                    f"asked for on the chain; answers count for {self.book.answer_window_s} s"
                )
            if asked.status == RequestStatus.OPEN:
                if self._node.next_timestamp() > asked.answer_by:
                    is_closed = self._close(key) or is_closed
                else:
                    deadlines.append(asked.answer_by)
        if is_closed:
            return Fate.UNANSWERED, 0
        return None, min(deadlines, default=0)

    def _close(self, key: RequestKey) -> bool:
        try:
            self.book.close(self._account, key)
        except RevertedError:
            # Somebody was quicker: closed it, or answered in the last block.
            return self.book.request_of(key).status == RequestStatus.UNANSWERED
        return True

    def _close_rest(self, round_: int, index: int) -> None:
        """Take back the bonds for other segments of a member that is marked already."""
        for position in self._asked_positions:
            key = self._key(round_, index, position)
            asked = self.book.request_of(key)
            if asked.status == RequestStatus.OPEN and self._node.next_timestamp() > asked.answer_by:
                self._close(key)

    def _shown(self, key: RequestKey, root: bytes) -> SegmentAnswer | None:
        """Read an answer from the transaction that gave it; None if it is not there to be read."""
        calldata = self.book.answer_to(key, self._first_block)
        for answer in () if calldata is None else SegmentAnswer.find(key, calldata):
            try:
                answer.check(self._facts, root)
            except ClaimRefusedError:
                continue
            return answer
        return None

    def _put_together(self, keys: Sequence[RequestKey], root: bytes) -> Fate:
        """Join the answered segments to the file, and store it."""
        answers = [self._shown(key, root) for key in keys]
        parts = [answer for answer in answers if answer is not None]
        if any(part.fault(self._facts) is not None for part in parts):
            return Fate.MALFORMED
        if len(parts) < len(keys):
            return Fate.STUCK
        data = parts[0].header + b"".join(part.segment for part in parts)
        if update_root(data) != root:
            return Fate.STUCK  # cannot be: each part was checked under the root
        self._store.put(root, data)
        return Fate.DELIVERED

    def _key(self, round_: int, index: int, position: int) -> RequestKey:
        return RequestKey(self._client.address, round_, index, RequestKind.SEGMENT, 0, position)

    def _file(self, round_: int, index: int, root: bytes) -> bytes | None:
        """Give the committed bytes, if the store has them."""
        facts = self._client.facts.update_facts(round_, index)
        data, _ = fetch_committed(self._store, root, facts.readable_bytes)
        try:
            return data if data is not None and update_root(data) == root else None
        except LedgerError:
            return None

    def _pause(self, round_: int, until: int, why: str) -> None:
        """Let some time pass; on a local chain a part of the answer window, elsewhere some seconds."""
        now = self._node.next_timestamp()
        step = max(1, self.book.answer_window_s // _LOCAL_LOOKS) if self._node.is_local else _LOOK_EVERY_S
        self._observer.phase(round_, f"waiting {max(0, until - now)} s for {why}")
        self._node.wait_until(min(until + 1, now + step))

    # Answering

    def _answer_all(self) -> int:
        """Answer what is open and can be answered; give how many could not."""
        head = self._node.block_number()
        first = max(self._first_block, self._next_block - _READ_AGAIN_BLOCKS)
        for asked in self.book.asked_of(self._client.address, first, head):
            self._open.setdefault(asked.key.id, asked)
        self._next_block = head + 1
        for identifier, asked in list(self._open.items()):
            found = self.book.request_of(asked.key)
            if found.status != RequestStatus.OPEN:
                del self._open[identifier]  # a reorganisation is read again above
            elif self._node.next_timestamp() <= found.answer_by and (data := self._answer(asked)) is not None:
                try:
                    self.book.answer(self._account, data)
                except RevertedError:
                    continue  # somebody else has answered, or the time is over: the next look says so
                del self._open[identifier]
        return len(self._open)

    def _answer(self, asked: Asked) -> bytes | None:
        """Build the answer to a request, checked by the contract's rules; None if we do not have it."""
        key = asked.key
        try:
            answer: SegmentAnswer | TraceAnswer | FaultAnswer | None
            if key.kind == RequestKind.SEGMENT:
                answer = self._segment(asked)
            elif key.kind == RequestKind.TRACE:
                answer = self._trace(asked)
            else:
                answer = self._fault(asked)
            if answer is None:
                return None
            answer.check(self._facts, asked.root)
        except BlobStoreFault:
            raise
        except (ClaimRefusedError, LedgerError, InputError):
            return None
        return answer.calldata()

    def _segment(self, asked: Asked) -> SegmentAnswer | None:
        data = self._file(asked.key.round, asked.key.index, asked.root)
        if data is None:
            return None
        return SegmentAnswer.build(asked.key, UpdateTree([data], keep=(asked.key.position,)))

    def _trace(self, asked: Asked) -> TraceAnswer:
        key = asked.key
        roots = load_roots(self._store, asked.root, len(self._facts.identities))
        own = roots[LEAF_BYTES * key.index :][:LEAF_BYTES]
        leaves = load_leaves(self._store, own, self._segments)
        return TraceAnswer.build(key, TraceTree(key.index, leaves, roots))

    def _fault(self, asked: Asked) -> FaultAnswer | None:
        fault = self._fault_of(asked)
        return None if fault is None else FaultAnswer(asked.key, fault)

    def _fault_of(self, asked: Asked) -> UpdateFault | None:
        """Find the fault of an update: in its file, or in what was answered on the chain."""
        key = asked.key
        data = self._file(key.round, key.index, asked.root)
        if data is not None:
            return find_fault(data, self._facts, key.round, key.index)
        for position in self._asked_positions:
            segment = self._key(key.round, key.index, position)
            if self.book.request_of(segment).status == RequestStatus.ANSWERED:
                shown = self._shown(segment, asked.root)
                fault = None if shown is None else shown.fault(self._facts)
                if fault is not None:
                    return fault
        return None
