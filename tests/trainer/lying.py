"""Guards that post something false, one vice each, in runs of the embedded chain."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from guard.gate import Reading, Status, WorkerEvidence
from guard.settlement import Settlement
from guard.signs import SeedSigns
from guard.state import Decision, GateState
from guard.trace import leaf_of, state_before
from ledger.chain.accounts import local_keys
from ledger.stakes import VaultClient
from trainer.chain_round import Assayed, ChainRound
from trainer.challenger import Challenger, PassReport
from trainer.settled import claimed, draft_settlement
from trainer.traces import round_traces

CHALLENGER: LocalAccount = Account.from_key(local_keys(0, 19)[18].to_bytes())

Lie = Callable[[Assayed, bytes], Assayed]
"""Takes what is true and the round's seed; gives what is posted."""


def reading_of(settlement: Settlement, index: int) -> Reading:
    """Give what is posted about a member; behind the workers come the guards."""
    reading = claimed(settlement)[index].reading
    assert reading is not None
    return reading


def post(assayed: Assayed, index: int, reading: Reading) -> Assayed:
    """Post another reading."""
    return post_status(assayed, index, WorkerEvidence(Status.COMMITTED, reading))


def post_status(assayed: Assayed, index: int, evidence: WorkerEvidence) -> Assayed:
    """Post something else about a member; what several guards read together follows from it."""
    settlement = assayed.settlement
    claims = list(claimed(settlement))
    claims[index] = evidence
    workers, guards = claims[: len(settlement.workers)], claims[len(settlement.workers) :]
    draft = draft_settlement(workers, guards, settlement.trace_root)
    posted = replace(
        draft,
        median=settlement.median,
        poster=settlement.poster,
        seed_prefix=settlement.seed_prefix,
    )
    return replace(assayed, settlement=posted)


def post_leaves(assayed: Assayed, index: int, leaves: bytes | None) -> Assayed:
    """Post another trace of a member, or none."""
    members = len(claimed(assayed.settlement))
    kept = {i: own for i, own in assayed.traces.leaves.items() if i != index}
    traces = round_traces(kept if leaves is None else {**kept, index: leaves}, members)
    return replace(assayed, traces=traces, settlement=replace(assayed.settlement, trace_root=traces.root))


def code_bit(index: int, bit: int) -> Lie:
    """One bit of the word is false."""

    def lie(true: Assayed, _: bytes) -> Assayed:
        reading = reading_of(true.settlement, index)
        return post(true, index, replace(reading, code=reading.code ^ 1 << bit))

    return lie


def norm_by(index: int, by: int) -> Lie:
    """The norm is false."""

    def lie(true: Assayed, _: bytes) -> Assayed:
        reading = reading_of(true.settlement, index)
        return post(true, index, replace(reading, norm2=reading.norm2 + by))

    return lie


def exponent_by(index: int, by: int) -> Lie:
    """The exponent is false."""

    def lie(true: Assayed, _: bytes) -> Assayed:
        reading = reading_of(true.settlement, index)
        return post(true, index, replace(reading, exponent=reading.exponent + by))

    return lie


def leaf_at(index: int, segment: int) -> Lie:
    """One leaf of the trace is false."""

    def lie(true: Assayed, _: bytes) -> Assayed:
        leaves = true.traces.leaves[index]
        at = 32 * segment
        false = sha256(leaves[at : at + 32]).digest()
        return post_leaves(true, index, leaves[:at] + false + leaves[at + 32 :])

    return lie


def norm_from(index: int, segment: int, by: int) -> Lie:
    """The sums are false from a segment on, and what is posted follows from them."""

    def lie(true: Assayed, seed: bytes) -> Assayed:
        payload, leaves = true.files[index][96:], true.traces.leaves[index]
        count, signs = len(leaves) // 32, SeedSigns(seed)
        for s in range(segment, count):
            state = state_before(payload, signs, s + 1)
            state = state[:-8] + (int.from_bytes(state[-8:], "big") + by).to_bytes(8, "big")
            leaves = leaves[: 32 * s] + leaf_of(state) + leaves[32 * (s + 1) :]
        return norm_by(index, by)(post_leaves(true, index, leaves), seed)

    return lie


def as_malformed(index: int) -> Lie:
    """A sound update is refused as malformed."""

    def lie(true: Assayed, _: bytes) -> Assayed:
        return post_leaves(post_status(true, index, WorkerEvidence(Status.MALFORMED)), index, None)

    return lie


def as_sound(index: int, like: int) -> Lie:
    """A malformed update is posted as sound, with the reading of another one."""

    def lie(true: Assayed, _: bytes) -> Assayed:
        return post(true, index, reading_of(true.settlement, like))

    return lie


def posted_by(guard: int, lie: Lie) -> Lie:
    """Another guard tells it."""

    def told(true: Assayed, seed: bytes) -> Assayed:
        lied = lie(true, seed)
        return replace(lied, settlement=replace(lied.settlement, poster=guard))

    return told


@dataclass(slots=True)
class Watched:
    """What a challenger found in each round, just after it was settled, and who was slashed then."""

    reports: dict[int, list[PassReport]] = field(default_factory=dict)
    slashed: dict[int, list[int]] = field(default_factory=dict)


def tell_lies(patch: pytest.MonkeyPatch, lies: Mapping[int, Lie], *, stores_traces: bool = True) -> None:
    """Let the guard lie in some rounds.

    Args:
        patch: Undone afterwards.
        lies: By round.
        stores_traces: Whether the files of the posted trace are published.
    """
    assay = ChainRound.assay

    def lying_assay(self: ChainRound, seed: bytes, gate: GateState) -> Assayed:
        assayed = assay(self, seed, gate)
        if self.number not in lies:
            return assayed
        assayed = lies[self.number](assayed, seed)
        if stores_traces:
            assayed.traces.store(self._store)
        median = gate.median(self._config.gate, assayed.settlement)
        return replace(assayed, settlement=replace(assayed.settlement, median=median))

    patch.setattr(ChainRound, "assay", lying_assay)


def watch_lies(
    patch: pytest.MonkeyPatch,
    lies: Mapping[int, Lie],
    *,
    between: Callable[[ChainRound, PassReport], bool] = lambda _, __: False,
    stores_traces: bool = True,
) -> Watched:
    """Let the guard lie in some rounds, and a challenger look at each round before it is final.

    Args:
        patch: Undone afterwards.
        lies: By round.
        between: Called after each pass; True for another pass.
        stores_traces: Whether the files of the posted trace are published.
    """
    watched = Watched()
    tell_lies(patch, lies, stores_traces=stores_traces)
    settle = ChainRound.settle

    def watched_settle(self: ChainRound, settlement: Settlement, decision: Decision) -> None:
        settle(self, settlement, decision)
        challenger = Challenger(self._client, self._store, CHALLENGER)
        reports = watched.reports.setdefault(self.number, [])
        reports.append(challenger.run_pass())
        while between(self, reports[-1]):
            reports.append(challenger.run_pass())
        # Slashed with each lie: a guard that goes on stakes anew.
        vault = VaultClient(self._client.node, self._client.facts.vault)
        slashed = watched.slashed.setdefault(self.number, [])
        for number, guard in enumerate(self._parties.guards):
            holder = guard.identity
            if not vault.stake_of(self._client.address, holder.address).amount_wei:
                slashed.append(number)
                vault.deposit(holder, self._client.address, holder.address, vault.min_stake_wei)

    patch.setattr(ChainRound, "settle", watched_settle)
    return watched
