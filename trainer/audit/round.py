"""One round of an audit: from the model it starts with to the model it ends with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

from eth_utils import keccak

from guard.committee import quorum
from guard.errors import GuardError
from guard.gate import GateParameters, Status
from guard.settlement import SEED_PREFIX_BYTES, Settlement, decode_settlement
from guard.state import Decision, GateState
from ledger import digests
from ledger.blobs import BlobError, BlobStore, BlobStoreFault
from ledger.client import LedgerClient
from ledger.deployment import NO_ADDRESS
from ledger.errors import InputError
from ledger.guard_votes import GuardVotes, guard_votes
from ledger.history import RoundHistory, Verdicts
from ledger.update import Model, UpdateView, model_root
from trainer.audit.blocks import Blocks
from trainer.audit.commit_phase import CommitPhase, Sealed, distinct
from trainer.audit.readings import BytesAgain, Readings
from trainer.audit.report import Findings, word
from trainer.audit.run_facts import load_model
from trainer.merge import Weighted, merge
from trainer.settled import claimed, settled_facts


@dataclass(slots=True)
class Carried:
    """What one round hands to the next, as the chain has it.

    Attributes:
        root: Root of the model that the next round starts from.
        record: Record of the last round.
        model: That model; None once it cannot be derived any more.
        gate: Yardstick, lanes and coalition evidence; None once they cannot be derived any more.
    """

    root: bytes
    record: bytes
    model: Model | None
    gate: GateState | None


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts of a round.

    Attributes:
        posted: What the guard posted, with the median that follows from it.
        decision: What follows from that, without what was overturned before the merge.
        records: Digests that can be the round's, the derived one first.
        seed: The seed that its record covers.
    """

    posted: Settlement
    decision: Decision
    records: tuple[bytes, ...]
    seed: bytes


class RoundAudit:
    """Derives round after round again.

    After a difference it goes on with what the chain says, so that one lie is told once.
    """

    def __init__(
        self,
        client: LedgerClient,
        parameters: GateParameters,
        store: BlobStore,
        findings: Findings,
        *,
        is_replayed: bool = True,
        jobs: int = 1,
    ) -> None:
        """Bind to a run.

        Args:
            client: The run's ledger.
            parameters: Its constants.
            store: Its files.
            findings: Told of everything that differs.
            is_replayed: Whether to compute merges again.
            jobs: Files to assay at a time.
        """
        self._is_replayed = is_replayed
        self._client = client
        self._facts = client.facts
        self._parameters = parameters
        self._store = store
        self._findings = findings
        self._blocks = Blocks(client.node)
        self._phase = CommitPhase(client, self._blocks, findings)
        self._bytes = BytesAgain(client.facts, store, findings, jobs)

    def audit(self, history: RoundHistory, carried: Carried, following: RoundHistory | None) -> None:
        """Audit one round.

        Args:
            history: What the chain says about it.
            carried: What the round before left; changed to what this one leaves.
            following: The round after it, if there is one.

        Raises:
            EnvironmentFault: The node or the store failed.
        """
        self._blocks.forget()
        self._findings.count("rounds")
        number = history.round
        self._findings.same(number, "parent_model", carried.root, history.parent_model)
        sealed = self._phase.commitments(history, carried.record)
        if history.seal is not None:
            self._phase.seal(history, history.seal, sealed)
        if history.voided is not None:
            self._void(history, sealed, carried)
            self._roll_back(history, carried)
            return
        self._complete(history, following)
        if history.verdicts is None:
            self._unsettled(history, sealed, carried, following)
            return
        judged = self._verdicts(history, history.verdicts, sealed, carried)
        self._finish(history, history.verdicts, judged, sealed, carried, following)
        self._roll_back(history, carried)

    def _roll_back(self, history: RoundHistory, carried: Carried) -> None:
        """Go on from the model that the ledger was rolled back to; the contract has checked which it is."""
        if history.rollbacks:
            carried.root = history.rollbacks[-1].model_root
            carried.model = self._stored(carried.root)

    def skip_to(self, history: RoundHistory, carried: Carried) -> None:
        """Go on at a round although the one before it is missing: its outcome is taken from the chain."""
        carried.gate = None
        carried.root = history.parent_model
        carried.record = self._client.record_of(history.round - 1)
        carried.model = self._stored(carried.root)

    # Stages

    def _complete(self, history: RoundHistory, following: RoundHistory | None) -> None:
        """Note events that are missing although later ones are there."""
        number = history.round
        later = history.final is not None or following is not None
        if history.seal is None and (history.verdicts is not None or later):
            self._findings.differ(number, "RoundSealed", "one event", "none")
        if history.verdicts is None and later:
            self._findings.differ(number, "RoundSettled", "one event", "none")
        if history.final is None and following is not None:
            self._findings.differ(number, "RoundFinalized", "one event", "none")

    def _unsettled(
        self, history: RoundHistory, sealed: Sealed, carried: Carried, following: RoundHistory | None
    ) -> None:
        """Leave a round that is still going on, or one whose RoundSettled is missing."""
        final = history.final
        if final is None and following is None:
            candidates = sealed.accumulators if history.commitments else (digests.NO_DIGEST,)
            self._record(history.round, candidates, (), carried)
            return
        carried.gate = None
        carried.record = self._client.record_of(history.round)
        if final is not None:
            carried.root = final.model_root
        elif following is not None:
            carried.root = following.parent_model
        carried.model = self._stored(carried.root)

    def _void(self, history: RoundHistory, sealed: Sealed, carried: Carried) -> None:
        voided = history.voided
        if voided is None:
            return
        last = sealed.accumulators  # D0 alone if nobody had committed
        if history.verdicts is not None and history.is_overturned:
            last = self._overturned_round(history, history.verdicts, sealed, carried)
        reasons = sorted(digests.VoidReason, key=lambda reason: reason != voided.reason)
        records = {digests.void(digest, reason): reason for reason, digest in product(reasons, last)}
        record = self._record(history.round, tuple(records), (voided.record,), carried)
        reason = records.get(record, reasons[0])
        if self._findings.same(history.round, "void_reason", int(reason), voided.reason):
            self._phase.void_reason(history, reason, sealed, self._parameters.settle_window_s)

    def _overturned_round(
        self, history: RoundHistory, verdicts: Verdicts, sealed: Sealed, carried: Carried
    ) -> tuple[bytes, ...]:
        """Compare a round whose anchor was overturned in time; give the records it can have had before."""
        judged = self._verdicts(history, verdicts, sealed, carried)
        if judged is None:
            return (verdicts.record,)
        self._findings.same(history.round, "record", judged.records[0], verdicts.record)
        everybody = self._facts.full
        self._bytes.compare(history.round, sealed.roots, judged.posted, judged.seed, 0, everybody)
        return distinct((*judged.records, verdicts.record))

    def _overturned(self, history: RoundHistory) -> int:
        """Give the bitmap of the members that were overturned, if that is undone: not in a tainted model."""
        number, findings = history.round, self._findings
        told = self._facts.full if history.is_overturned else history.overturned
        kept = self._client.overturned_of(number)
        findings.same(number, "overturned", word(told | kept), word(kept))
        in_time = history.overturned_in_time
        if kept == in_time:
            return in_time
        tainted_from = self._client.tainted_from()
        return kept if not tainted_from or number < tainted_from else in_time

    # Verdicts

    def _verdicts(
        self, history: RoundHistory, verdicts: Verdicts, sealed: Sealed, carried: Carried
    ) -> Judged | None:
        """Judge a round again from what was posted; None if that cannot be done."""
        number, findings = history.round, self._findings
        presence = sealed.presence if history.seal is None else history.seal.presence
        posted = self._posted(number, verdicts, presence)
        if posted is None:
            carried.gate = None
        if posted is None or carried.gate is None:
            return None
        self._check_votes(number, posted)
        median = carried.gate.median(self._parameters, posted)
        findings.same(number, "median", median, posted.median)
        posted = replace(posted, median=median)
        decision = carried.gate.decide(self._parameters, number, posted)
        self._compare_verdicts(number, verdicts, posted, decision)
        seeds = self._seeds(history, verdicts, sealed)
        self._check_named_seed(number, posted, seeds)
        records, seed = self._settled_records(verdicts, presence, sealed, decision, seeds)
        workers = (1 << self._facts.workers) - 1
        standing = decision.without(self._parameters, history.overturned_in_time & workers)
        return Judged(posted, standing, records, seed)

    def _posted(self, number: int, verdicts: Verdicts, presence: int) -> Settlement | None:
        """Read what was posted, and check who posted it; None if it cannot be read."""
        facts, findings = self._facts, self._findings
        try:
            posted = decode_settlement(verdicts.payload, presence, facts.workers, facts.guards)
        except GuardError as error:
            senders = [i for i in facts.guard_indices if facts.members[i].signer == verdicts.sender]
            author = facts.members[[*senders, facts.workers][0]]
            findings.same(number, "sender", author.signer, verdicts.sender, author.identity)
            findings.differ(number, "payload", "a payload of the format", error, author.identity)
            return None
        poster = facts.members[facts.guard_indices[posted.poster]]
        findings.same(number, "sender", poster.signer, verdicts.sender, poster.identity)
        return posted

    def _check_votes(self, number: int, posted: Settlement) -> None:
        """Check that most guards stand behind each "unavailable" and "malformed", where the run has votes."""
        faults = (Status.UNAVAILABLE, Status.MALFORMED)
        missing = [i for i, claim in enumerate(claimed(posted)) if claim.status in faults]
        if not missing:
            return  # most rounds: nothing is asked
        votes = None if self._facts.data_requests == NO_ADDRESS else self._votes
        if votes is None:
            return
        needed = quorum(self._facts.guards)
        for index in missing:
            count = votes.votes_of(self._client.address, number, index).bit_count()
            if count < needed:
                expected = f"votes of at least {needed} guards"
                self._findings.differ(number, "votes", expected, count, self._identity(index))

    @cached_property
    def _votes(self) -> GuardVotes | None:
        return guard_votes(self._client)

    def _compare_verdicts(
        self, number: int, verdicts: Verdicts, posted: Settlement, decision: Decision
    ) -> None:
        findings = self._findings
        for index, worker in enumerate(posted.workers):
            findings.count("verdicts", worker.status != Status.ABSENT)
            ours, theirs = decision.verdict.is_approved(index), bool(verdicts.approved >> index & 1)
            findings.same(number, "approved", _verdict(ours), _verdict(theirs), self._identity(index))
        if verdicts.approved >> len(posted.workers):
            findings.differ(number, "approved", word(decision.verdict.approved), word(verdicts.approved))
        findings.same(number, "yardstick", decision.after.yardstick, verdicts.yardstick)

    def _seeds(self, history: RoundHistory, verdicts: Verdicts, sealed: Sealed) -> tuple[bytes, ...]:
        """Give the seeds that can be the round's, the derived one first."""
        seal_block = verdicts.block - 2 if history.seal is None else history.seal.block
        stated, computed = self._blocks.hashes(seal_block + 1)
        if computed is not None:
            self._findings.same(history.round, "block_hash", computed, stated)
        facts = self._facts
        derived = [
            digests.seed(facts.domain, facts.run, history.round, accumulator, block_hash)
            for accumulator in sealed.accumulators
            for block_hash in distinct((computed or stated, stated))
        ]
        if verdicts.seed not in derived:
            self._findings.differ(history.round, "seed", derived[0], verdicts.seed)
        return distinct((*derived, verdicts.seed))

    def _check_named_seed(self, number: int, posted: Settlement, seeds: Sequence[bytes]) -> None:
        """Check that the payload names a seed that can be the round's."""
        named = [seed[:SEED_PREFIX_BYTES] for seed in seeds]
        if posted.seed_prefix not in named:
            poster = self._facts.members[self._facts.guard_indices[posted.poster]].identity
            self._findings.differ(number, "seed", named[0], posted.seed_prefix, poster)

    def _settled_records(
        self,
        verdicts: Verdicts,
        presence: int,
        sealed: Sealed,
        decision: Decision,
        seeds: Sequence[bytes],
    ) -> tuple[tuple[bytes, ...], bytes]:
        """Give the records that the settlement can have, and the seed of the one that it has."""
        found = {
            digests.settled(accumulator, settled_facts(presence, seed, verdicts.payload, decision)): seed
            for accumulator, seed in product(sealed.accumulators, seeds)
        }
        return tuple(found), found.get(verdicts.record, verdicts.seed)

    # Merge

    def _finish(
        self,
        history: RoundHistory,
        verdicts: Verdicts,
        judged: Judged | None,
        sealed: Sealed,
        carried: Carried,
        following: RoundHistory | None,
    ) -> None:
        """Derive readings, weights and model, compare them, and carry them on."""
        number, final = history.round, history.final
        readings = None
        if judged is not None:
            readings = self._readings(history, judged, sealed, carried)
        if final is None:
            if judged is not None:
                self._record(number, judged.records, (verdicts.record,), carried)
                self._ask(history, judged, sealed)
                carried.gate = judged.decision.after
            if following is not None:
                # Its RoundFinalized is missing, which has been noted.
                carried.record = self._client.record_of(number)
                carried.root = following.parent_model
                carried.model = self._stored(carried.root)
            return
        settled: tuple[bytes, ...] = (verdicts.record,)
        model, roots, weights = None, [final.model_root], [final.weights_digest]
        if judged is not None:
            settled = distinct((*judged.records, *settled))
            preimage = judged.decision.weights.preimage(self._facts.run, number)
            weights = [keccak(preimage), final.weights_digest]
            self._findings.same(number, "weights_digest", weights[0], final.weights_digest)
            carried.gate = judged.decision.after
            model = self._merged(judged, readings, carried)
        if model is None:
            if judged is not None and not judged.decision.verdict.approved:
                # Nothing was merged, so whatever the model is, it is the one from before.
                roots = [carried.root, final.model_root]
                self._findings.same(number, "model_root", roots[0], roots[1])
            else:
                self._findings.unreplayed += 1
        else:
            self._findings.count("models")
            roots = [model_root(model.parameters, model.momentum, model.shape_digest), final.model_root]
            self._findings.same(number, "model_root", roots[0], final.model_root)
        records = {
            digests.final(digest, root, weight): root
            for digest, root, weight in product(settled, distinct(roots), distinct(weights))
        }
        if judged is not None and verdicts.record not in judged.records:
            self._findings.differ(number, "record", judged.records[0], verdicts.record)
        record = self._record(number, tuple(records), (final.record,), carried)
        carried.root = records.get(record, final.model_root)
        is_replayed = model is not None and carried.root == roots[0]
        carried.model = model if is_replayed else self._stored(carried.root)
        if judged is not None:
            self._ask(history, judged, sealed)

    def _readings(self, history: RoundHistory, judged: Judged, sealed: Sealed, carried: Carried) -> Readings:
        """Derive words and norms again; where they differ, say which verdicts would have fallen otherwise."""
        number = history.round
        is_merged = self._is_replayed and carried.model is not None
        merged = self._facts.guard_indices[judged.decision.evidence.merged_guard]
        keep = (judged.decision.verdict.approved | 1 << merged) if is_merged else 0
        overturned = self._overturned(history)
        readings = self._bytes.compare(number, sealed.roots, judged.posted, judged.seed, keep, overturned)
        settlement = readings.settlement
        if readings.is_posted or carried.gate is None or settlement is None:
            return readings
        settlement = replace(settlement, median=carried.gate.median(self._parameters, settlement))
        verdict = carried.gate.decide(self._parameters, number, settlement).verdict
        for index in range(len(settlement.workers)):
            ours, theirs = verdict.is_approved(index), judged.decision.verdict.is_approved(index)
            self._findings.same(number, "verdict", _verdict(ours), _verdict(theirs), self._identity(index))
        return readings

    def _ask(self, history: RoundHistory, judged: Judged, sealed: Sealed) -> None:
        """Ask the contract itself about every update; once something differs its answers mean nothing new."""
        verdicts, decision = history.verdicts, judged.decision
        if verdicts is None or self._findings.total > self._findings.overturned:
            return
        overturned = self._client.overturned_of(history.round)
        covered = settled_facts(sealed.presence, judged.seed, verdicts.payload, decision)
        approvals = self._client.approvals(history, covered)
        for index, root in sealed.roots.items():
            ours = _verdict(decision.verdict.is_approved(index) and not overturned >> index & 1)
            theirs = _verdict(approvals.is_approved(index, root))
            self._findings.same(history.round, "isApproved", ours, theirs, self._identity(index))

    def _merged(self, judged: Judged, readings: Readings | None, carried: Carried) -> Model | None:
        """Replay the merge; None if model or bytes are not there."""
        model, weights = carried.model, judged.decision.weights
        evidence = judged.decision.evidence
        merged = self._facts.guard_indices[evidence.merged_guard]
        if model is None or readings is None:
            return None
        needed = [*weights.indices, *([merged] if weights.anchor else [])]
        if any(index not in readings.files for index in needed):
            return None
        terms = [
            Weighted(UpdateView(readings.files[index]).values, reading.exponent, weight)
            for index, weight in zip(weights.indices, weights.weights, strict=True)
            if (reading := judged.posted.workers[index].reading) is not None
        ]
        if weights.anchor:
            anchor = UpdateView(readings.files[merged])
            terms.append(Weighted(anchor.values, evidence.merged_reading.exponent, weights.anchor))
        theta, momentum = merge(
            model.parameters,
            model.momentum,
            terms,
            outer_lr_micro=self._parameters.outer_lr_micro,
            outer_momentum_micro=self._parameters.outer_momentum_micro,
        )
        return Model(theta, momentum, model.shape_digest)

    def _stored(self, root: bytes) -> Model | None:
        """Read a model that cannot be derived, if somebody has stored it."""
        if not self._is_replayed:
            return None
        try:
            return load_model(self._store, root, self._facts)
        except BlobStoreFault:
            raise
        except (BlobError, InputError):
            return None

    # Records

    def _record(
        self, number: int, candidates: Sequence[bytes], stated: Iterable[bytes], carried: Carried
    ) -> bytes:
        """Compare a round's record, in its event and in the contract, with what it can be.

        Args:
            number: The round.
            candidates: What it can be after the differences already noted, the derived one first.
            stated: The record in the event; empty if there is none.
            carried: Gets the record.

        Returns:
            The record that the chain stands for.
        """
        kept = self._client.record_of(number)
        places = [*stated, kept]
        chosen = next((record for record in reversed(places) if record in candidates), None)
        expected = chosen if chosen is not None else candidates[0]
        for found in distinct(places):
            self._findings.same(number, "record", expected, found)
        carried.record = kept if chosen is None else chosen
        return carried.record

    def _identity(self, index: int) -> str:
        return self._facts.members[index].identity


def _verdict(is_approved: bool) -> str:
    return "approved" if is_approved else "refused"
