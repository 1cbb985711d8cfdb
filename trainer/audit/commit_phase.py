"""The commit phase of one round: signatures, presence, accumulator, seal, and why a round was void."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from guard.committee import quorum
from ledger import digests
from ledger.client import LedgerClient
from ledger.contribution import recover
from ledger.errors import ProofError
from ledger.history import Commitment, RoundHistory, Seal
from trainer.audit.blocks import Blocks
from trainer.audit.report import Findings, word


@dataclass(frozen=True, slots=True)
class Sealed:
    """The commitments of a round.

    Attributes:
        roots: Committed roots by cohort index; the first one counts.
        presence: Bitmap of the members that committed.
        accumulators: Digests that can be the round's: the derived one, then the one that the chain states.
    """

    roots: dict[int, bytes]
    presence: int
    accumulators: tuple[bytes, ...]


class CommitPhase:
    """Checks how rounds were committed to and sealed."""

    def __init__(self, client: LedgerClient, blocks: Blocks, findings: Findings) -> None:
        """Bind to a run.

        Args:
            client: The run's ledger.
            blocks: Its chain's blocks.
            findings: Told of everything that differs.
        """
        self._client = client
        self._facts = client.facts
        self._blocks = blocks
        self._findings = findings

    def commitments(self, history: RoundHistory, previous: bytes) -> Sealed:
        """Check every commitment of a round.

        Args:
            history: What the chain says about the round.
            previous: Record of the round before, 32 bytes.

        Returns:
            What was committed.

        Raises:
            EnvironmentFault: The node failed.
        """
        start = digests.round_start(
            self._facts.domain,
            self._facts.run,
            history.round,
            self._facts.spec_digest,
            previous,
            history.parent_model,
        )
        roots: dict[int, bytes] = {}
        signed: list[bytes] = []
        for commitment in history.commitments:
            if commitment.index >= len(self._facts.members):
                self._findings.differ(history.round, "member", "a member of the cohort", commitment.index)
                continue
            identity = self._facts.members[commitment.index].identity
            if commitment.index in roots:
                self._findings.differ(history.round, "commitment", "one", "a second one", identity)
            roots.setdefault(commitment.index, commitment.update_root)
            if not self._facts.is_guard(commitment.index):
                self._findings.count("contributions")
            signed.append(self._commitment(history, commitment, identity))
        derived = list(accumulate(signed, digests.append, initial=start))[-1]
        stated = () if history.seal is None else (history.seal.accumulator,)
        presence = sum(1 << index for index in roots)
        return Sealed(roots, presence, distinct((derived, *stated)))

    def _commitment(self, history: RoundHistory, commitment: Commitment, identity: str) -> bytes:
        """Check one commitment; give its digest."""
        signer = self._facts.members[commitment.index].signer
        digest = self._client.digest_of(history, commitment)
        if commitment.signature is not None:
            self._findings.count("signatures")
            try:
                found = recover(digest, commitment.signature)
            except ProofError as error:
                found = str(error)
            self._findings.same(history.round, "signature", signer, found, identity)
        elif commitment.sender is not None and commitment.sender not in (identity, signer):
            self._findings.differ(
                history.round, "sender", f"{identity} or {signer}", commitment.sender, identity
            )
        latest = min(history.commit_deadline, commitment.deadline)
        mined = self._blocks.time(commitment.block)
        if mined > latest:
            self._findings.differ(history.round, "commit_time", f"at most {latest}", mined, identity)
        return digest

    def seal(self, history: RoundHistory, seal: Seal, sealed: Sealed) -> None:
        """Check that a round was sealed as it must be.

        Args:
            history: What the chain says about the round.
            seal: Its seal.
            sealed: What was committed.

        Raises:
            EnvironmentFault: The node failed.
        """
        number, findings = history.round, self._findings
        for index, member in enumerate(self._facts.members):
            here, there = sealed.presence >> index & 1, seal.presence >> index & 1
            findings.same(number, "presence", here, there, member.identity)
        if seal.presence >> len(self._facts.members):
            findings.differ(number, "presence", word(sealed.presence), word(seal.presence))
        findings.same(number, "accumulator", sealed.accumulators[0], seal.accumulator)
        findings.same(number, "seal_block", seal.block, seal.seal_block)
        if not self._has_quorum(seal.presence):
            findings.differ(number, "seal", "void without an anchor", "sealed")
        if seal.presence == self._facts.full:
            last = history.commitments[-1].transaction if history.commitments else b""
            findings.same(number, "seal", last, seal.transaction)
        elif self._blocks.time(seal.block) <= history.commit_deadline:
            time = self._blocks.time(seal.block)
            findings.differ(number, "seal_time", f"after {history.commit_deadline}", time)

    def void_reason(
        self, history: RoundHistory, reason: digests.VoidReason, sealed: Sealed, settle_window_s: int
    ) -> None:
        """Check that a round was void for the reason that is given.

        Args:
            history: What the chain says about the round.
            reason: The reason in its record.
            sealed: What was committed.
            settle_window_s: Seconds after the seal until anyone may void.

        Raises:
            EnvironmentFault: The node failed.
        """
        voided, seal = history.voided, history.seal
        if voided is None:
            return
        time = self._blocks.time(voided.block)
        if reason == digests.VoidReason.NO_ANCHOR:
            has_anchor = self._has_quorum(sealed.presence)
            holds = seal is None and not has_anchor and time > history.commit_deadline
        elif seal is None:
            holds = False
        elif reason == digests.VoidReason.FALSE_ANCHOR:
            holds = history.is_overturned
        elif reason == digests.VoidReason.SEED_MISSED:
            holds = voided.block > seal.seal_block + 1 + digests.BLOCKHASH_REACH
        else:
            holds = time > self._blocks.time(seal.block) + settle_window_s
        if not holds:
            self._findings.differ(history.round, "void_reason", "a reason that holds", reason.name.lower())

    def _has_quorum(self, presence: int) -> bool:
        """Tell whether so many guards have committed that the round can be judged."""
        return (presence >> self._facts.workers).bit_count() >= quorum(self._facts.guards)


def distinct(values: Iterable[bytes]) -> tuple[bytes, ...]:
    """Give the values without repetitions, in their order."""
    return tuple(dict.fromkeys(values))
