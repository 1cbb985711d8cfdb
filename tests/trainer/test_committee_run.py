"""Runs with several guards on a ledger: offline, malformed, lying and slashed ones, votes, kills, audits."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_utils import keccak

from guard.gate import RoundEvidence, Status
from ledger.client import Stage
from ledger.deployment import NO_ADDRESS
from ledger.digests import VoidReason
from ledger.guard_votes import GuardVotes
from ledger.node import Node
from ledger.stakes import VaultClient
from tests.trainer.agreement import assert_agreement, audited, literal
from tests.trainer.bundled import audit_bundle, bundle
from tests.trainer.guarded import (
    GUARDS,
    LOST,
    LOST_ROUND,
    MALFORMED_ROUND,
    NO_ANCHOR_ROUND,
    NO_QUORUM_ROUND,
    OFFLINE_ROUND,
    ROUNDS,
    WORKERS,
    guarded_run,
    make_eventful_for_guards,
)
from tests.trainer.lying import (
    Lie,
    as_malformed,
    code_bit,
    exponent_by,
    leaf_at,
    norm_from,
    posted_by,
    tell_lies,
    watch_lies,
)
from tests.trainer.recorded import Forge, Recorded, call, record, reopen
from tests.trainer.test_resume import Killed, assert_kills_change_nothing, outcome
from trainer.audit import AuditOptions, audit
from trainer.chain_round import ChainRound
from trainer.challenger import State
from trainer.folder import RunFolder
from trainer.inspection import find_contribution, worker_history
from trainer.reporting import RoundReport, SilentObserver
from trainer.run import run

GUARD = WORKERS
"""Cohort index of guard 0."""

SETTLE = keccak(text="settle(uint32,bytes)")[:4]

Guarded = tuple[Recorded, list[RoundReport], list[str]]


class Notes(SilentObserver):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Seven rounds of tests.trainer.guarded, what they reported, and the notes."""
    config, observer = guarded_run(str(tmp_path_factory.mktemp("guarded") / "run")), Notes()
    with pytest.MonkeyPatch.context() as patch:
        make_eventful_for_guards(patch)
        reports = run(config, observer)
    with reopen(RunFolder(Path(config.out))) as recorded:
        yield recorded, reports, observer.notes


# A run in which much happens


def test_every_guard_commits_and_one_posts_for_all(guarded: Guarded) -> None:
    recorded, reports, _ = guarded
    first = reports[0].guards
    assert first is not None
    assert first.statuses == (Status.COMMITTED,) * GUARDS
    assert first.poster == 0
    seal = recorded.histories[0].seal
    assert seal is not None
    assert seal.presence == 0b111111
    facts = recorded.facts
    assert (facts.workers, facts.guards, list(facts.guard_indices)) == (WORKERS, GUARDS, [3, 4, 5])


def test_audit_literal_verifier_and_bundle_agree_that_nothing_is_false(
    guarded: Guarded, tmp_path: Path
) -> None:
    recorded, _, _ = guarded
    report = recorded.audit()
    assert_agreement(recorded, report)
    assert report.ok, report.differences
    checked = report.checked
    # Of 42 commitments three guards' are missing: two in round 3, one in round 2.
    assert (checked.rounds, checked.contributions, checked.signatures) == (7, 21, 39)
    # Rounds 1, 2, 4, 5, 7 are judged; in 2 a guard is absent, in 4 two members' bytes, in 5 one is malformed.
    assert (checked.words, checked.verdicts, checked.models) == (6 + 5 + 4 + 5 + 6, 15, 6)
    path = tmp_path / "run.bundle"
    assert bundle(recorded, path).report.ok
    of_bundle = audit_bundle(path)
    assert of_bundle.ok, of_bundle.differences
    assert of_bundle.checked == checked
    assert of_bundle.model_root == report.model_root
    node = Node(recorded.provider)
    in_parallel = audit(node, recorded.ledger, recorded.store(), AuditOptions(jobs=3, folder=recorded.folder))
    assert in_parallel.ok, in_parallel.differences


def test_audit_goes_on_from_a_cursor_with_the_guards_lanes(guarded: Guarded, tmp_path: Path) -> None:
    recorded, _, _ = guarded
    node, options = Node(recorded.provider), AuditOptions(cursor=tmp_path / "cursor.json")
    assert audit(node, recorded.ledger, recorded.store(), options).ok
    again = audit(node, recorded.ledger, recorded.store(), options)
    assert again.ok, again.differences
    assert (again.resumed_after, again.checked.rounds) == (ROUNDS, ROUNDS)


def test_run_goes_on_without_guard_0_which_is_offline(guarded: Guarded) -> None:
    recorded, reports, _ = guarded
    report = reports[OFFLINE_ROUND - 1]
    assert report.guards is not None
    assert report.guards.statuses == (Status.ABSENT, Status.COMMITTED, Status.COMMITTED)
    assert report.guards.poster == 1
    assert report.metric is not None
    assert report.model_root != reports[OFFLINE_ROUND - 2].model_root
    history = recorded.histories[OFFLINE_ROUND - 1]
    assert history.verdicts is not None
    assert history.verdicts.sender == recorded.facts.members[GUARD + 1].signer


def test_round_in_which_most_guards_are_offline_is_void(guarded: Guarded) -> None:
    recorded, reports, notes = guarded
    voided = recorded.histories[NO_ANCHOR_ROUND - 1].voided
    assert voided is not None
    assert voided.reason == VoidReason.NO_ANCHOR
    assert f"round {NO_ANCHOR_ROUND} is void: most of its guards handed in no anchor in time" in notes
    assert reports[NO_ANCHOR_ROUND - 1].model_root == reports[NO_ANCHOR_ROUND - 2].model_root


def test_what_nobody_can_fetch_is_unavailable_by_the_votes_of_all_guards(guarded: Guarded) -> None:
    recorded, reports, _ = guarded
    report = reports[LOST_ROUND - 1]
    assert report.statuses[LOST[0]] == Status.UNAVAILABLE
    assert report.guards is not None
    assert report.guards.statuses == (Status.COMMITTED, Status.COMMITTED, Status.UNAVAILABLE)
    assert report.guards.merged in (0, 1)
    votes = GuardVotes(Node(recorded.provider), recorded.facts.data_requests)
    cast = votes.votes_in(recorded.ledger, LOST_ROUND)
    assert [(vote.guard, vote.members) for vote in cast] == [(k, 0b100010) for k in range(GUARDS)]
    for index in range(WORKERS + GUARDS):
        assert votes.votes_of(recorded.ledger, LOST_ROUND, index) == (0b111 if index in LOST else 0)


def test_malformed_anchor_stops_nothing_while_most_are_sound(guarded: Guarded) -> None:
    _, reports, notes = guarded
    report = reports[MALFORMED_ROUND - 1]
    assert report.guards is not None
    assert report.guards.statuses == (Status.COMMITTED, Status.MALFORMED, Status.COMMITTED)
    assert report.guards.scores[1] is None
    assert any(report.approved)
    assert f"round {MALFORMED_ROUND}, guard 1: refused as malformed (forbidden_value)" in notes


def test_round_with_too_few_sound_anchors_is_void_when_its_window_is_over(guarded: Guarded) -> None:
    recorded, reports, notes = guarded
    history = recorded.histories[NO_QUORUM_ROUND - 1]
    assert history.seal is not None
    assert history.voided is not None
    assert history.voided.reason == VoidReason.SETTLE_OVERDUE
    node = Node(recorded.provider)
    sealed_at, voided_at = (
        int(node.block(b)["timestamp"]) for b in (history.seal.block, history.voided.block)
    )
    assert voided_at > sealed_at + recorded.client().settle_window_s
    told = [
        note for note in notes if note.startswith(f"round {NO_QUORUM_ROUND}: 1 guards with a sound anchor")
    ]
    assert len(told) == 1
    assert "given up when its settle window is over" in told[0]
    assert reports[NO_QUORUM_ROUND - 1].metric is None
    assert reports[ROUNDS - 1].metric is not None


def test_reputation_keeps_how_each_guard_did(guarded: Guarded) -> None:
    recorded, reports, _ = guarded
    client = recorded.client()
    for number, index in enumerate(recorded.facts.guard_indices):
        scores, faults, last = [], 0, 0
        for report in reports:
            if report.guards is None or report.guards.statuses[number] == Status.ABSENT:
                continue
            last = report.round_number
            score = report.guards.scores[number]
            faults += score is None or score <= 0
            scores.append(score)
        view = client.reputation_at(index)
        assert (view.accepted, view.refused) == (len(scores) - faults, faults)
        assert (view.llr, view.is_banned, view.last_round) == (0, False, last)
    assert client.reputation_at(GUARD + 1).refused == 1, "malformed once"
    assert client.reputation_at(GUARD + 2).refused >= 1, "unavailable once, and it lies"


def test_metrics_name_the_guards_scores_poster_and_merged_guard(guarded: Guarded) -> None:
    recorded, reports, _ = guarded
    lines = list(recorded.folder.metric_lines())
    assert [line["guards"]["poster"] for line in lines] == [0, 1, None, 0, 0, None, 0]
    assert lines[MALFORMED_ROUND - 1]["guards"]["statuses"] == ["committed", "malformed", "committed"]
    for line, report in zip(lines, reports, strict=True):
        assert RoundReport.from_json(json.loads(json.dumps(line))).guards == report.guards
        assert report.guards is not None
        assert line["guards"]["scores"] == list(report.guards.scores)


def test_history_and_explain_show_guards_as_guards(guarded: Guarded) -> None:
    recorded, reports, _ = guarded
    client = recorded.client()
    of_second = worker_history(client, str(GUARD + 1))
    assert {verdict.guard for verdict in of_second} == {1}
    outcomes = [verdict.outcome for verdict in of_second]
    assert (outcomes[NO_ANCHOR_ROUND - 1], outcomes[NO_QUORUM_ROUND - 1]) == ("void", "void")
    assert outcomes[MALFORMED_ROUND - 1] == "refused"
    assert "malformed" in of_second[MALFORMED_ROUND - 1].reason
    lost = find_contribution(client, f"{LOST_ROUND}:{LOST[1]}")
    assert (lost.outcome, lost.status, lost.score, lost.guard) == ("refused", "unavailable", None, 2)
    for report in reports:
        guards = report.guards
        assert guards is not None
        for number in range(GUARDS):
            verdict = find_contribution(client, f"{report.round_number}:{GUARD + number}")
            assert verdict.score == guards.scores[number]
            assert (verdict.weight_q32 > 0) == (number == guards.merged)
            if verdict.score is not None:
                assert verdict.outcome == ("anchor" if verdict.score > 0 else "outvoted")
    assert worker_history(client, "0")[0].guard is None


# Kills


@pytest.mark.slow
def test_guarded_run_killed_at_every_point_ends_like_one_that_was_not(
    guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, reports, _ = guarded
    make_eventful_for_guards(monkeypatch)
    config = guarded_run(str(tmp_path / "run"))
    assert_kills_change_nothing(config, recorded, reports, points=range(101, 301))


def test_run_killed_between_any_two_votes_goes_on_with_the_rest(
    guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, _, _ = guarded
    make_eventful_for_guards(monkeypatch)
    vote, votes_cast = GuardVotes.vote, []

    def vote_and_die(self: GuardVotes, *arguments: Any) -> None:
        vote(self, *arguments)
        votes_cast.append(arguments[2:])
        raise Killed

    monkeypatch.setattr(GuardVotes, "vote", vote_and_die)
    config = guarded_run(str(tmp_path / "run"))
    expected = [(LOST_ROUND, 0b100010)] * GUARDS + [(MALFORMED_ROUND, 1 << WORKERS + 1)] * GUARDS
    for k in range(len(expected)):
        with pytest.raises(Killed):
            run(config, SilentObserver())
        assert votes_cast == expected[: k + 1]
        with reopen(RunFolder(Path(config.out))) as killed:
            assert killed.client().state().stage == Stage.SEALED
            assert killed.audit().ok
    run(config, SilentObserver())
    assert votes_cast == expected
    with reopen(RunFolder(Path(config.out))) as killed:
        assert outcome(killed) == outcome(recorded)


# Who posts


def test_guard_without_a_stake_leaves_the_posting_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = ChainRound.commit

    def commit_after_unbonding(self: ChainRound, *arguments: Any) -> Stage:
        if self.number == 2:
            vault = VaultClient(self._client.node, self._client.facts.vault)
            vault.start_unbonding(self._parties.guards[0].identity, self._client.address)
        return commit(self, *arguments)

    monkeypatch.setattr(ChainRound, "commit", commit_after_unbonding)
    config = guarded_run(str(tmp_path / "run"), rounds=3, attack={"guards": 0})
    reports = run(config, SilentObserver())
    assert [report.guards.poster for report in reports if report.guards] == [0, 1, 1]
    with reopen(RunFolder(Path(config.out))) as recorded:
        assert recorded.client().state().is_unbonded
        report = recorded.audit()
        assert_agreement(recorded, report)
        assert report.ok, report.differences


def test_cheating_guard_posts_only_if_no_other_can(tmp_path: Path) -> None:
    config = guarded_run(str(tmp_path / "run"), rounds=1, attack={"guards": 3})
    report = run(config, SilentObserver())[0]
    assert report.guards is not None
    assert report.guards.poster == 0


def test_run_without_challenges_has_several_guards_and_their_votes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_eventful_for_guards(monkeypatch)
    config = guarded_run(str(tmp_path / "run"), rounds=LOST_ROUND, chain={"challenges": False})
    with record(config) as recorded:
        assert recorded.facts.vault == recorded.facts.challenge == NO_ADDRESS
        votes = GuardVotes(Node(recorded.provider), recorded.facts.data_requests)
        assert votes.votes_of(recorded.ledger, LOST_ROUND, LOST[0]) == 0b111
        report = recorded.audit()
        assert_agreement(recorded, report)
        assert report.ok, report.differences


# Guards that post something false

LIES: dict[str, tuple[Lie, int, str, str, str]] = {
    # What is posted; the member that it is about; field, challenge named by the audit, challenge that holds.
    "word of a worker": (code_bit(1, 77), 1, "word", "boundary", "boundary"),
    "word of another guard": (code_bit(GUARD, 3), GUARD, "word", "boundary", "boundary"),
    "its own word": (code_bit(GUARD + 1, 200), GUARD + 1, "word", "boundary", "boundary"),
    "norm of another guard": (norm_from(GUARD + 2, 0, 9), GUARD + 2, "norm2", "segment", "segment"),
    "exponent of another guard": (exponent_by(GUARD, 1), GUARD, "exponent", "exponent", "exponent"),
}  # fmt: skip


@pytest.mark.parametrize(("lie", "index", "field", "named", "kind"), LIES.values(), ids=LIES)
def test_false_posting_costs_the_poster_its_stake_and_no_other_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: Lie, index: int, field: str, named: str, kind: str
) -> None:
    watched = watch_lies(monkeypatch, {2: posted_by(1, lie)})
    config = guarded_run(
        str(tmp_path / "run"), rounds=2, attack={"guards": 0}, gate={"challenge_window_s": 100}
    )
    with record(config) as recorded:
        poster = recorded.facts.members[GUARD + 1].identity
        (outcome_,) = watched.reports[2][0].outcomes
        assert outcome_.state == State.OVERTURNED
        assert (outcome_.falsehood.index, outcome_.falsehood.poster) == (index, poster)
        assert outcome_.kind == kind
        assert outcome_.slashed_wei > 0
        assert watched.slashed == {1: [], 2: [1]}, "guard 1 posted it"
        assert watched.reports[1][0].is_clean
        report = recorded.audit()
        about = {(d.field, d.worker, d.challenge) for d in report.differences if d.field == field}
        assert about == {(field, recorded.facts.members[index].identity, named)}
        history = recorded.histories[1]
        assert (history.voided is not None) == (index >= GUARD), "with a guard's word the whole round falls"
        assert report.ok, report.differences


def test_audit_names_member_values_and_challenge_of_every_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lies = {
        1: code_bit(GUARD, 5),
        2: posted_by(2, norm_from(GUARD + 1, 0, 4)),
        3: posted_by(1, as_malformed(GUARD + 2)),
        4: posted_by(1, leaf_at(0, 0)),
    }
    tell_lies(monkeypatch, lies)
    config = guarded_run(str(tmp_path / "run"), rounds=4, attack={"guards": 0})
    with record(config) as recorded:
        report = recorded.audit()
        assert_agreement(recorded, report)
        name = recorded.name
        assert report.guards == tuple(name(index) for index in recorded.facts.guard_indices)
        found = {(d.round, d.field): d for d in report.differences}
        assert {
            (d.round, d.field, d.worker, d.challenge) for d in report.differences if d.field != "verdict"
        } >= {
            (1, "word", name(GUARD), "boundary"),
            (2, "norm2", name(GUARD + 1), "segment"),
            (3, "status", name(GUARD + 2), "unfounded"),
            (4, "trace_root", name(GUARD + 1), "withheld"),
        }
        true, posted = (int(str(v), 16) for v in (found[1, "word"].expected, found[1, "word"].found))
        assert true ^ posted == 1 << 5
        assert int(found[2, "norm2"].found) == int(found[2, "norm2"].expected) + 4
        assert (found[3, "status"].expected, found[3, "status"].found) == ("committed", "malformed")


def test_audit_finds_the_update_of_another_guard_in_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true: Any = vars(RoundEvidence)["merged_guard"]

    def another(evidence: RoundEvidence) -> int:
        right = int(true.fget(evidence))
        return (right + 1) % GUARDS if evidence.round == 2 else right

    config = guarded_run(str(tmp_path / "run"), rounds=3, attack={"guards": 0})
    with monkeypatch.context() as patch:
        patch.setattr(RoundEvidence, "merged_guard", property(another))
        reports = run(config, SilentObserver())
    with reopen(RunFolder(Path(config.out))) as recorded:
        report = recorded.audit()
        assert_agreement(recorded, report)
        assert {(d.round, d.field) for d in report.differences} == {(2, "model_root"), (2, "weights_digest")}
        found = {d.field: d.found for d in report.differences}
        assert found["model_root"] == "0x" + reports[1].model_root.hex()


# A node that lies


def settle_payload(change: Any) -> Forge:
    """Change the payload of the first round's settlement."""

    def forge(method: str, _: Any, result: Any) -> Any:
        if method != "eth_getTransactionByHash" or not result:
            return result
        data = bytes.fromhex(result["input"][2:])
        if data[:4] != SETTLE or int.from_bytes(data[4:36], "big") != 1:
            return result
        payload = bytearray(data[100 : 100 + int.from_bytes(data[68:100], "big")])
        change(payload)
        data = data[:100] + bytes(payload) + data[100 + len(payload) :]
        return {**result, "input": "0x" + data.hex()}

    return forge


def set_byte(at: int, value: int) -> Any:
    def change(payload: bytearray) -> None:
        payload[at] = value

    return change


def flip_byte(at: int) -> Any:
    def change(payload: bytearray) -> None:
        payload[at] ^= 1

    return change


NODE_LIES: dict[str, tuple[Any, tuple[int, int | None, str]]] = {
    "another poster": (set_byte(139, 2), (1, GUARD + 2, "sender")),
    "a poster that there cannot be": (set_byte(139, 3), (1, GUARD, "payload")),
    "another seed": (flip_byte(140), (1, GUARD, "seed")),
    "the last byte of another seed": (flip_byte(159), (1, GUARD, "seed")),
    "another word of the committee": (flip_byte(31), (1, GUARD, "payload")),
    "another norm of the committee": (flip_byte(135), (1, GUARD, "payload")),
    "another exponent of the committee": (flip_byte(136), (1, GUARD, "payload")),
}


@pytest.mark.parametrize(("change", "place"), NODE_LIES.values(), ids=NODE_LIES)
def test_audit_names_a_payload_that_no_committee_has_posted(
    guarded: Guarded, change: Any, place: tuple[int, int | None, str]
) -> None:
    recorded, _, _ = guarded
    forge = settle_payload(change)
    report = recorded.audit(forge)
    assert place in audited(recorded, report)
    assert place in literal(recorded, forge)
    assert not report.ok


def test_audit_counts_the_votes_behind_unavailable_and_malformed(guarded: Guarded) -> None:
    recorded, _, _ = guarded
    forge = call("GuardVotes", "votesOf", lambda votes: votes & 0b100)
    report = recorded.audit(forge)
    assert_agreement(recorded, report, forge)
    found = {(d.round, d.worker, d.field, d.expected, d.found) for d in report.differences}
    told = [(LOST_ROUND, index) for index in LOST] + [(MALFORMED_ROUND, WORKERS + 1)]
    assert found == {
        (number, recorded.name(index), "votes", "votes of at least 2 guards", 1) for number, index in told
    }


def test_ledger_that_is_said_to_have_one_guard_does_not_hold_together(guarded: Guarded) -> None:
    recorded, _, _ = guarded
    report = recorded.audit(call("ContributionLedger", "guards", lambda _: 1))
    assert (1, "payload") in {(d.round, d.field) for d in report.differences}
