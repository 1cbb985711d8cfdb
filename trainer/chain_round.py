"""One round on the ledger: commit, seal, seed, assay, settle, approvals.

Every step first looks whether it has been done, so a round is taken up
wherever a crash left it.
"""

from dataclasses import dataclass, replace

from guard.errors import QuorumError
from guard.gate import ABSENT, MALFORMED, UNAVAILABLE, Status, WorkerEvidence, bitmap
from guard.settlement import Settlement, decode_settlement, encode_settlement
from guard.signs import SeedSigns
from guard.state import Decision, GateState
from ledger import digests
from ledger.blobs import BlobStore, BlobStoreFault
from ledger.calldata import SignedCommitment
from ledger.client import LedgerClient, LedgerState, Stage
from ledger.contribution import sign
from ledger.deployment import NO_ADDRESS
from ledger.errors import LedgerError, ProofError
from ledger.guard_votes import guard_votes
from ledger.history import RoundHistory, read_round
from ledger.parties import Parties
from ledger.sending import Sent
from ledger.stakes import VaultClient
from ledger.update import UpdateFacts
from trainer.assay import assay
from trainer.config import RunConfig
from trainer.errors import TrainerError
from trainer.fleet import RoundWork, WorkerUpdate
from trainer.handin import update_file
from trainer.reporting import TRANSACTIONS, Observer
from trainer.request_desk import Fate, RequestDesk
from trainer.settled import draft_settlement, settled_facts
from trainer.traces import RoundTraces, round_traces

_VOID_REASONS = {
    digests.VoidReason.NO_ANCHOR: "the guard handed in no anchor in time",
    digests.VoidReason.SEED_MISSED: "the chain went on without it, and the block that its seed is made of "
    "is out of the contract's reach",
    digests.VoidReason.SETTLE_OVERDUE: "it was not settled in time",
    digests.VoidReason.FALSE_ANCHOR: "a challenge has shown that something false was posted about its anchor",
}


class DisagreementError(TrainerError):
    """Chain and guard, or chain and folder, say different things; nothing was merged."""

    code = "disagreement"


class NoAnchorError(DisagreementError):
    """The only guard's anchor, or those of most guards, cannot be had: there is nothing to judge against."""

    code = "no-anchor"


class StuckRoundError(TrainerError):
    """A sealed round cannot be settled truthfully: an update is there, and cannot be had."""

    code = "stuck-round"


@dataclass(frozen=True, slots=True)
class Assayed:
    """What the guards read of a round's committed files.

    Attributes:
        settlement: What one of them posts.
        files: Bytes of the sound files by cohort index, the anchors' among them.
        traces: Their traces, which are in the blob store.
    """

    settlement: Settlement
    files: dict[int, bytes]
    traces: RoundTraces


@dataclass(frozen=True, slots=True)
class _Sound:
    data: bytes
    leaves: bytes


class ChainRound:
    """One round, seen by a process that plays everybody."""

    def __init__(
        self,
        number: int,
        client: LedgerClient,
        parties: Parties,
        store: BlobStore,
        config: RunConfig,
        observer: Observer,
        *,
        opened_block: int = 0,
        desk: RequestDesk | None = None,
    ) -> None:
        """Take up a round.

        Args:
            number: The ledger's current round.
            client: The run's ledger.
            parties: Everybody's keys.
            store: Where update files are.
            config: The run.
            observer: Gets notes on what was refused for its form.
            opened_block: A block not after the one in which the round was opened.
            desk: Asks for data and answers, in a run with a data-request contract.
        """
        self.number = number
        self.gas = dict.fromkeys(TRANSACTIONS, 0)
        self._client = client
        self._parties = parties
        self._store = store
        self._config = config
        self._observer = observer
        self._opened_block = opened_block
        self._desk = desk
        self._assayed_seed = b""

    def commit(self, work: RoundWork) -> Stage:
        """Store, sign and commit what is not committed yet, and see to it that the round is sealed.

        Args:
            work: What everybody hands in.

        Returns:
            The stage afterwards: SEALED or SETTLED, or IDLE if the round is void.

        Raises:
            DisagreementError: It is not the ledger's current round.
        """
        state = self._client.state()
        if state.round != self.number:
            raise DisagreementError(
                f"round {self.number} was under way, and the ledger is in round {state.round}",
                hint="run the same command again: it goes on from what the ledger says",
            )
        if state.stage != Stage.OPEN:
            return self._given_up_if_missed(state)
        files, operator = self._files(work), self._parties.operator
        while state.stage == Stage.OPEN and state.round == self.number:
            # Again if need be: a reorganisation may take a commitment away while there is time.
            batch = {
                index: self._signed(index, root, tokens, state)
                for index, (root, tokens) in files.items()
                if not state.presence >> index & 1
            }
            if not batch or self._client.node.next_timestamp() > state.commit_deadline:
                break
            sent = self._client.commit_batch(operator, self.number, state.commit_deadline, batch)
            self.spend("commit", sent)
            state = self._client.state()
        if self._client.state().stage == Stage.OPEN:
            # Somebody is absent: the round is sealed only after its deadline.
            self._client.node.wait_until(state.commit_deadline + 1)
            self.spend("seal", self._client.seal(operator, self.number))
        return self._client.state().stage

    def void_reason(self) -> str:
        """Say in one sentence why the contract counts the round as void."""
        voided = self.history().voided
        if voided is None:
            return ""
        reason = digests.VoidReason(voided.reason)
        if reason == digests.VoidReason.NO_ANCHOR and self._client.facts.guards > 1:
            return "most of its guards handed in no anchor in time"
        return _VOID_REASONS[reason]

    def seed(self) -> bytes:
        """Give the round's seed, waiting for the block after the seal.

        Raises:
            DisagreementError: The node's logs lack the seal.
        """
        history = self.history()
        if history.verdicts is not None:
            return history.verdicts.seed
        if history.seal is None:
            raise DisagreementError(f"round {self.number} is sealed, but the node's logs lack RoundSealed")
        return self._client.seed_of(self._client.state(), history.seal.accumulator)

    def assay(self, seed: bytes, gate: GateState) -> Assayed:
        """Fetch every committed file, check it, project it, and store the traces.

        The traces are in the store before anybody can post their root; a crash in between leaves files that
        the same assay finds again.

        Args:
            seed: The round's seed.
            gate: State before the round; the median depends on who is banned.

        Returns:
            What is posted, the bytes of the sound files, and their traces.

        Raises:
            NoAnchorError: The anchors of most guards, or of the only one, cannot be read back.
            StuckRoundError: An update was asked for on the chain, and answered in part.
            BlobStoreFault: Disk or network failed.
        """
        self._assayed_seed = seed
        history = self.history()
        roots, facts, posted = history.roots, self._client.facts, self._posted(history)
        signs = SeedSigns(seed)
        sound: dict[int, _Sound] = {}
        found = [
            self._assay_one(index, roots.get(index), signs, sound) for index in range(len(facts.members))
        ]
        if posted is None:
            if self._ask_for_missing(history, found, signs, sound):
                posted = self._posted(self.history())  # somebody else may have settled in the meantime
        else:
            # What was posted stays posted, whatever has come or gone since.
            for index, entry in enumerate(posted.entries):
                if UNAVAILABLE in (found[index], entry) and entry.reading is None:
                    found[index] = entry
                    sound.pop(index, None)
        traces = round_traces({index: one.leaves for index, one in sound.items()}, len(found))
        try:
            draft = draft_settlement(found[: facts.workers], found[facts.workers :], traces.root, seed)
        except QuorumError as error:
            what = f"the guard's own anchor cannot be read back from {self._store.url}"
            raise NoAnchorError(
                f"round {self.number}: {what if facts.guards == 1 else error}",
                hint="restore the blob store; without its anchor nothing can be judged",
            ) from error
        traces.store(self._store)
        median = gate.median(self._config.gate, draft)
        poster = self._poster(draft) if posted is None else posted.poster
        settlement = replace(draft, median=median, poster=poster)
        return Assayed(settlement, {index: one.data for index, one in sound.items()}, traces)

    def _ask_for_missing(
        self,
        history: RoundHistory,
        found: list[WorkerEvidence],
        signs: SeedSigns,
        sound: dict[int, _Sound],
    ) -> bool:
        """Ask on the chain for what did not come, and put down what became of it; tell whether any was."""
        if self._desk is None:
            return False
        roots, facts = history.roots, self._client.facts
        marked = self._desk.marked(self.number)
        # Nothing can be settled without the only guard's own file, whatever the contract says of it.
        members = range(facts.workers if facts.guards == 1 else len(facts.members))
        # Marked: asked for in vain by somebody else. The contract says so, whatever our store has.
        missing = {
            index: roots[index] for index in members if found[index] == UNAVAILABLE or marked >> index & 1
        }
        if not missing:
            return False
        for index, fate in self._desk.obtain(history, missing).items():
            sound.pop(index, None)
            if fate == Fate.STUCK:
                raise StuckRoundError(
                    f"round {self.number}, member {index}: {fate.value}",
                    hint="the round is given up; a larger chain.request_segments costs a bond for each",
                )
            if fate == Fate.DELIVERED:
                found[index] = self._assay_one(index, roots[index], signs, sound)
            else:
                found[index] = UNAVAILABLE if fate == Fate.UNANSWERED else MALFORMED
        return True

    def settle(self, settlement: Settlement, decision: Decision) -> None:
        """Post the readings, let the contract judge, and compare its reputation lanes with ours.

        What was assayed under one seed is refused under another. So the seed is looked at again before the
        readings are sent, and before their fee is raised. Several guards vote first on whatever is posted as
        unavailable or malformed.

        Raises:
            DisagreementError: They differ, or the round has another seed now.
        """
        state, payload = self._client.state(), encode_settlement(settlement)
        if state.stage in (Stage.SEALED, Stage.SETTLED) and not self._has_assayed_seed():
            raise DisagreementError(
                f"round {self.number} has another seed than the one that was assayed under",
                hint="the chain was reorganised; run the same command again: it assays anew",
            )
        if state.stage == Stage.SETTLED:
            self._check_posted(payload)
        if state.stage == Stage.SEALED:
            self._vote(settlement)
            poster = self._parties.guards[settlement.poster].signer
            sent = self._client.settle(poster, self.number, payload, is_wanted=self._has_assayed_seed)
            self.spend("settle", sent)
        if not self._are_lanes_ours(decision):
            raise DisagreementError(
                f"round {self.number}: the contract's reputation lanes are not those that the guard computed",
                hint="one of the writings of the gate is wrong; please report this",
            )

    def give_up(self, why: TrainerError) -> Stage:
        """Void a sealed round that cannot be settled, when its settle window is over.

        Args:
            why: What is missing.

        Returns:
            The stage afterwards.

        Raises:
            TrainerError: `why`, if the round is settled already: whoever judged it had what is missing here.
        """
        state = self._client.state()
        if state.stage == Stage.SETTLED:
            raise why
        if state.stage == Stage.SEALED:
            until = state.sealed_at + self._client.settle_window_s
            self._observer.note(
                f"{why}; the round is given up when its settle window is over, "
                f"{self._client.settle_window_s} s after its seal"
            )
            if not self._client.is_seed_missed(state):
                self._client.node.wait_until(until + 1)
            self.spend("settle", self._client.void_round(self._parties.operator, self.number))
        return self._client.state().stage

    def _check_posted(self, payload: bytes) -> None:
        """Compare what was posted before with what follows now.

        Raises:
            DisagreementError: They differ.
        """
        verdicts = self.history().verdicts
        if verdicts is not None and verdicts.payload != payload:
            raise DisagreementError(
                f"round {self.number}: what was posted does not follow from the committed files and the seed",
                hint="`hallmark challenge` takes back what is false",
            )

    def _has_assayed_seed(self) -> bool:
        """Tell whether the round's seed is still the one that was assayed under."""
        try:
            return self.seed() == self._assayed_seed
        except (DisagreementError, ProofError):
            return False  # not even sealed any more

    def standing(self, decision: Decision) -> tuple[int, Decision] | None:
        """Wait until the challenge window is over, and give what is left of the decision.

        Args:
            decision: What followed from the settlement.

        Returns:
            Bitmap of the overturned workers, and the decision without them; None if the round is void.
        """
        self.wait_for_window()
        overturned = self._client.overturned_of(self.number)
        if self._client.state().stage == Stage.IDLE and self.history().voided is not None:
            return None
        return overturned, decision.without(self._config.gate, overturned)

    def wait_for_window(self) -> None:
        """Wait until a settled round's challenge window is over; a challenge that holds starts it anew."""
        window = self._config.gate.challenge_window_s
        while window and (state := self._client.state()).stage == Stage.SETTLED:
            finalizable_at = state.settled_at + window
            if self._client.node.next_timestamp() >= finalizable_at:
                break
            if self._desk is None:
                self._client.node.wait_until(finalizable_at)
            else:
                self._desk.pause(self.number, finalizable_at)
        if self._desk is not None:
            # What is asked for now must not be left unanswered when the round is final.
            self._desk.answer_open()
            self._desk.collect()

    def _are_lanes_ours(self, decision: Decision) -> bool:
        """Compare the contract's lanes with those that follow from decision and overturned contributions."""
        while True:
            overturned = self._client.overturned_of(self.number)
            lanes = self._client.lanes()
            if overturned != self._client.overturned_of(self.number):
                continue
            if overturned == self._client.facts.full:
                return lanes == list(decision.evidence.lane_words)
            return lanes == list(decision.without(self._config.gate, overturned).after.lane_words)

    def check_approvals(self, decision: Decision) -> None:
        """Ask the contract, with a proof, about every update that is to be merged.

        Args:
            decision: What stands of it; what was overturned is in no merge.

        Raises:
            DisagreementError: It does not approve one of them.
        """
        history = self.history()
        if history.seal is None or history.verdicts is None:
            raise DisagreementError(f"round {self.number} is settled, but the node's logs do not say so")
        verdicts = history.verdicts
        if self._assayed_seed and verdicts.seed != self._assayed_seed:
            raise DisagreementError(
                f"round {self.number} was settled under another seed than its words were assayed under",
                hint="the chain was reorganised; run the same command again: it assays anew",
            )
        covered = settled_facts(history.seal.presence, verdicts.seed, verdicts.payload, decision)
        approvals = self._client.approvals(history, covered)
        roots = history.roots
        for index in decision.weights.indices:
            if not approvals.is_approved(index, roots[index]):
                raise DisagreementError(
                    f"round {self.number}: the ledger does not approve worker {index}'s update"
                )

    def history(self) -> RoundHistory:
        """Read what the chain says about the round so far."""
        return read_round(self._client.node, self._client.address, self.number, self._opened_block)

    def spend(self, transaction: str, sent: Sent) -> None:
        """Book the gas of a transaction."""
        self.gas[transaction] += sent.gas

    def _given_up_if_missed(self, state: LedgerState) -> Stage:
        """Void a sealed round whose seed nobody can draw any more; give the stage afterwards."""
        if not self._client.is_seed_missed(state):
            return state.stage
        self.spend("settle", self._client.void_round(self._parties.operator, self.number))
        return self._client.state().stage

    def _files(self, work: RoundWork) -> dict[int, tuple[bytes, int]]:
        """Store every update; give root and tokens to commit to, by cohort index."""
        updates = {update.worker: update for update in work.updates}
        for number, index in enumerate(self._client.facts.guard_indices):
            if (anchor := work.anchor_of(number)) is not None:
                updates[index] = anchor
        roots = {index: self._stored(index, update) for index, update in updates.items()}
        return {
            index: (roots[index if update.copies is None else update.copies], update.tokens)
            for index, update in updates.items()
        }

    def _stored(self, index: int, update: WorkerUpdate) -> bytes:
        file = update_file(update, self._facts(index))
        self._store.put(file.root, file.data)
        return file.root

    def _signed(self, index: int, root: bytes, tokens: int, state: LedgerState) -> SignedCommitment:
        party = self._parties.members[index]
        contribution = self._client.contribution(
            index, self.number, state.parent_model, root, tokens, state.commit_deadline
        )
        digest = contribution.digest(self._client.facts.domain)
        return SignedCommitment(root, tokens, sign(digest, bytes(party.signer.key)))

    def _posted(self, history: RoundHistory) -> Settlement | None:
        """Read what was posted for the round; None if nothing was yet."""
        if history.seal is None or history.verdicts is None:
            return None
        facts = self._client.facts
        return decode_settlement(history.verdicts.payload, history.seal.presence, facts.workers, facts.guards)

    def _poster(self, draft: Settlement) -> int:
        """Give the number of the guard that posts.

        It is the first that is bonded, honest and has a sound anchor. If none is all of that, a bonded one
        comes before an honest one, and that before one with an anchor.
        """
        facts = self._client.facts
        if facts.guards == 1:
            return 0
        vault = None if facts.vault == NO_ADDRESS else VaultClient(self._client.node, facts.vault)

        def faults(number: int) -> tuple[bool, bool, bool, int]:
            is_bonded = vault is None or self._is_bonded(vault, facts.guard_indices[number])
            is_here = draft.guards[number].status == Status.COMMITTED
            return not is_bonded, number in self._config.cheating_guards, not is_here, number

        return min(range(facts.guards), key=faults)

    def _is_bonded(self, vault: VaultClient, index: int) -> bool:
        holder = self._client.facts.members[index].identity
        return vault.stake_of(self._client.address, holder).bonded_wei >= vault.min_stake_wei

    def _vote(self, settlement: Settlement) -> None:
        """Let every guard say on the chain of whom it has no sound bytes, unless it has said so before."""
        faults = (Status.UNAVAILABLE, Status.MALFORMED)
        missing = bitmap([entry.status in faults for entry in settlement.entries])
        votes = guard_votes(self._client) if missing else None
        if votes is None:
            return
        for number, guard in enumerate(self._parties.guards):
            unsaid = missing & ~votes.cast_by(self._client.address, self.number, number)
            if unsaid:
                sent = votes.vote(guard.signer, self._client.address, self.number, unsaid)
                self.spend("settle", sent)

    def _assay_one(
        self, index: int, root: bytes | None, signs: SeedSigns, sound: dict[int, _Sound]
    ) -> WorkerEvidence:
        if root is None:
            return ABSENT
        facts = self._facts(index)
        try:
            # The assay computes the root in its own pass over the bytes; once is enough.
            data = self._store.get(root, max_bytes=facts.readable_bytes, root_of=lambda _: root)
        except BlobStoreFault:
            raise  # a disk or network that fails is nobody's guilt
        except LedgerError as error:
            self._observer.note(f"round {self.number}, {self._name(index)}: unavailable: {error}")
            return UNAVAILABLE
        found = assay(data, facts, signs, committed_root=root, with_trace=True)
        if found.status == Status.COMMITTED:
            sound[index] = _Sound(data, found.leaves)
        else:
            why = f" ({found.reason.name.lower()})" if found.reason else ""
            self._observer.note(
                f"round {self.number}, {self._name(index)}: refused as {found.status.name.lower()}{why}"
            )
        return found.evidence

    def _name(self, index: int) -> str:
        facts = self._client.facts
        return f"guard {index - facts.workers}" if facts.is_guard(index) else f"member {index}"

    def _facts(self, index: int) -> UpdateFacts:
        return self._client.facts.update_facts(self.number, index)
