"""Lying guards and a challenger: every lie is overturned, no truth is, and the run goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.errors import ExitCode
from cli.main import hallmark
from ledger.asking import NodeUnavailableError
from ledger.client import LedgerClient
from ledger.deployment import Deployer, RunFacts
from ledger.digests import VoidReason
from ledger.node import Node
from ledger.parties import Parties
from ledger.request_book import RequestBook
from ledger.stakes import VaultClient
from tests.trainer.lying import (
    CHALLENGER,
    Lie,
    as_malformed,
    as_sound,
    code_bit,
    exponent_by,
    leaf_at,
    norm_by,
    norm_from,
    tell_lies,
    watch_lies,
)
from tests.trainer.recorded import FailingProvider, Recorded, call, reopen
from tests.trainer.toys import tiny_run
from trainer.chain_round import Assayed, ChainRound
from trainer.challenger import (
    ChallengeJournal,
    Challenger,
    JournalError,
    NoChallengesError,
    Outcome,
    PassReport,
    State,
)
from trainer.challenger.watch import MAX_ATTEMPTS, MAX_FAULTS
from trainer.folder import RunFolder
from trainer.inspection import find_contribution, worker_history
from trainer.reporting import SilentObserver
from trainer.rollback import roll_back
from trainer.run import run

WINDOW_S = 100
GUARD = 4

LIES = {
    1: ("boundary", 0, code_bit(0, 17)),
    2: ("boundary", 1, norm_by(1, -1)),
    3: ("exponent", 2, exponent_by(2, 1)),
    4: ("malformed", 3, as_sound(3, like=0)),
    5: ("segment", 0, leaf_at(0, 0)),
    6: ("segment", 1, leaf_at(1, 2)),
    7: ("segment", 2, leaf_at(2, 4)),
    8: ("segment", 0, norm_from(0, 1, by=1)),
    9: ("boundary", GUARD, code_bit(GUARD, 255)),
    10: ("segment", GUARD, leaf_at(GUARD, 3)),
}
"""Kind of the claim, whom it is about, and what is posted, by round. Updates have 5 segments."""


def test_every_lie_is_overturned_slashed_and_not_merged(tmp_path: Path) -> None:
    config = tiny_run(
        task="digits_cnn",
        rounds=len(LIES) + 1,
        out=str(tmp_path / "run"),
        attack={"name": "malformed", "share": 0.25},
        gate={"challenge_window_s": WINDOW_S},
    )
    with pytest.MonkeyPatch.context() as patch:
        watched = watch_lies(patch, {number: lie for number, (_, _, lie) in LIES.items()})
        reports = {report.round_number: report for report in run(config, SilentObserver())}
    for number, (kind, index, _) in LIES.items():
        [found] = watched.reports[number]
        [outcome] = found.outcomes
        assert (outcome.state, outcome.kind) == (State.OVERTURNED, kind)
        assert (outcome.falsehood.round, outcome.falsehood.index) == (number, index)
        assert outcome.falsehood.expected != outcome.falsehood.posted
        assert outcome.slashed_wei == 10**17
        if index == GUARD:
            assert not any(reports[number].approved)
            assert reports[number].model_root == reports[number - 1].model_root
        else:
            assert reports[number].weights_q32[index] == 0
            assert not reports[number].approved[index]
            assert sum(reports[number].approved) == (3 if index == 3 else 2)
    [honest] = watched.reports[len(LIES) + 1]
    assert (honest.outcomes, honest.troubles, honest.pending) == ([], [], [])
    with reopen(RunFolder(Path(config.out))) as recorded:
        for history in recorded.histories[:8]:
            assert history.overturned_in_time == 1 << LIES[history.round][1]
        for history in recorded.histories[8:10]:
            assert history.voided is not None
            assert history.voided.reason == VoidReason.FALSE_ANCHOR
        client = recorded.client()
        vault = VaultClient(client.node, client.facts.vault)
        assert vault.credit_of(CHALLENGER.address) == len(LIES) * 10**17 // 2
        # What is overturned is looked at no more, and the honest rest holds.
        again = Challenger(client, recorded.store(), CHALLENGER).run_pass()
        assert again.rounds == [*range(1, 9), 11]
        assert again.outcomes == []
        check_audit_and_history(recorded)


FIELDS = [
    (1, "word"),
    (2, "norm2"),
    (3, "exponent"),
    (4, "status"),
    (5, "trace_root"),
    (6, "trace_root"),
    (7, "trace_root"),
    (8, "norm2"),
    (8, "trace_root"),
    (9, "word"),
    (10, "trace_root"),
]


def check_audit_and_history(recorded: Recorded) -> None:
    """What was overturned in time is told, and is no failure."""
    report = recorded.audit()
    assert [(d.round, d.field) for d in report.differences] == FIELDS
    assert all(difference.is_overturned for difference in report.differences)
    assert (report.ok, report.verdict, report.false_count, report.overturned_count) == (True, "ok", 0, 11)
    assert report.checked.models == 1 + 9  # nothing was merged in the two void rounds
    assert {entry["verdict"] for entry in json.loads(json.dumps(report.as_json()))["differences"]} == {
        "overturned"
    }
    verdict = find_contribution(recorded.client(), "1:0")
    assert (verdict.outcome, verdict.weight_q32) == ("overturned", 0)
    assert "it is not in the model" in verdict.reason
    assert verdict.overturn_transaction == recorded.histories[0].overturnings[0].transaction
    assert verdict.evidence_before == 0
    outcomes = [one.outcome for one in worker_history(recorded.client(), "0")]
    assert [number for number, outcome in enumerate(outcomes, 1) if outcome == "overturned"] == [
        1,
        5,
        8,
        9,
        10,
    ]
    anchor = find_contribution(recorded.client(), f"9:{GUARD}")
    assert (anchor.outcome, "the round's anchor" in anchor.reason) == ("overturned", True)
    reputation = recorded.client().reputation_at(0)
    assert worker_history(recorded.client(), "0")[-1].evidence_after == reputation.llr


def test_audit_of_what_is_overturned_late(lied: Path) -> None:
    with reopen(RunFolder(lied)) as recorded:
        before = recorded.audit()
        assert [(d.round, d.field, d.is_overturned) for d in before.differences if d.field != "verdict"] == [
            (1, "word", False),
            (3, "exponent", False),
        ]
        Challenger(recorded.client(), recorded.store(), CHALLENGER).run_pass()
        tainted = recorded.audit()
        # The model rests on it: overturned, and still a failure.
        assert not tainted.ok
        assert tainted.false_count == before.false_count
    roll_back(lied)
    with reopen(RunFolder(lied)) as recorded:
        undone = recorded.audit()
        assert (undone.ok, undone.overturned_count) == (True, 2)
        assert "0x" + recorded.facts.initial_model.hex() == undone.model_root
        # One lie that nobody has shown is not covered by those that somebody has.
        forged = recorded.audit(call("ContributionLedger", "overturnedOf", lambda _: 0, argument=3))
        assert not forged.ok


def test_honest_run_is_not_challenged(tmp_path: Path) -> None:
    config = tiny_run(out=str(tmp_path / "run"), attack={"name": "malformed", "share": 0.25})
    run(config, SilentObserver())
    with reopen(RunFolder(Path(config.out))) as recorded:
        head = recorded.client().node.block_number()
        report = Challenger(recorded.client(), recorded.store(), CHALLENGER).run_pass()
        assert report == PassReport(rounds=[1, 2, 3])
        assert recorded.client().node.block_number() == head


def test_sound_update_refused_as_malformed_is_told_but_not_proven_without_requests(tmp_path: Path) -> None:
    config = tiny_run(out=str(tmp_path / "run"), rounds=1, gate={"challenge_window_s": WINDOW_S})
    with pytest.MonkeyPatch.context() as patch:
        watched = watch_lies(patch, {1: as_malformed(2)})
        run(config, SilentObserver())
    [outcome] = watched.reports[1][0].outcomes
    assert (outcome.state, outcome.falsehood.index) == (State.UNPROVEN, 2)
    assert (outcome.falsehood.expected, outcome.falsehood.posted) == ("sound", "malformed")
    assert "data-request contract" in outcome.detail


# With a data-request contract


def deploy_with_requests(patch: pytest.MonkeyPatch) -> None:
    """Let the run's ledger name a data-request contract."""
    run_step = Deployer.run

    def deploy(self: Deployer, parameters: tuple[int, ...], parties: Parties, facts: RunFacts) -> str:
        if not self.has_ledger:
            facts = replace(facts, data_requests=self.data_requests())
        return run_step(self, parameters, parties, facts)

    patch.setattr(Deployer, "run", deploy)


def when_time_is_over(current: ChainRound, report: PassReport) -> bool:
    """Go on when the time for answers is over."""
    waiting = [outcome for outcome in report.outcomes if outcome.state == State.WAITING]
    if waiting:
        current._client.node.wait_until(max(outcome.answer_by for outcome in waiting) + 1)
    return bool(waiting)


def delete_update(blobs: Path, index: int) -> Lie:
    """Somebody deletes an update after the guard has read it."""

    def lie(true: Assayed, _: bytes) -> Assayed:
        for path in blobs.glob("*.hmrk"):
            if path.read_bytes() == true.files[index]:
                path.unlink()
        return true

    return lie


def test_what_is_withheld_is_asked_for_and_overturned_when_nobody_answers(tmp_path: Path) -> None:
    config = tiny_run(out=str(tmp_path / "run"), rounds=4, gate={"challenge_window_s": 2000})
    lies = {
        1: as_malformed(2),
        2: delete_update(tmp_path / "run" / "blobs", 1),
        3: leaf_at(0, 0),
    }
    with pytest.MonkeyPatch.context() as patch:
        deploy_with_requests(patch)
        # Nobody gets the false trace; those of the other rounds follow from the updates.
        watched = watch_lies(patch, lies, between=when_time_is_over, stores_traces=False)
        reports = {report.round_number: report for report in run(config, SilentObserver())}
    kinds = {1: ("unfounded", 2), 2: ("withheld", 1), 3: ("withheld", GUARD)}
    for number, (kind, index) in kinds.items():
        first, second = watched.reports[number]
        assert [outcome.state for outcome in first.outcomes] == [State.WAITING]
        [outcome] = second.outcomes
        assert (outcome.state, outcome.kind) == (State.OVERTURNED, kind)
        assert outcome.falsehood.index == index
        assert outcome.slashed_wei == 10**17
    assert reports[1].weights_q32[2] == reports[2].weights_q32[1] == 0
    assert not any(reports[3].approved)
    assert [report.outcomes for report in watched.reports[4]] == [[]]
    with reopen(RunFolder(Path(config.out))) as recorded:
        book = RequestBook(Node(recorded.provider), recorded.facts.data_requests)
        before = book.node.balance_wei(CHALLENGER.address)
        assert book.node.balance_wei(book.address) == 3 * book.bond_wei
        book.claim(CHALLENGER)
        assert book.node.balance_wei(CHALLENGER.address) > before + 2 * book.bond_wei


# Late, interrupted, by hand


def journal(recorded: Recorded, path: Path) -> ChallengeJournal:
    return ChallengeJournal(path, 31337, recorded.ledger)


class Killed(BaseException):
    """Stands for kill -9."""


def test_killed_challenger_goes_on_and_sends_nothing_twice(lied: Path, tmp_path: Path) -> None:
    def die(_: Outcome) -> None:
        raise Killed

    with reopen(RunFolder(lied)) as recorded:
        client, store, path = recorded.client(), recorded.store(), tmp_path / "journal.json"
        with pytest.raises(Killed):
            Challenger(client, store, CHALLENGER, journal(recorded, path)).run_pass(on_outcome=die)
        assert client.overturned_of(1) == 1 << 1
        assert client.overturned_of(3) == 0
        second = Challenger(client, store, CHALLENGER, journal(recorded, path)).run_pass()
        # Killed before the journal knew of it: the round is looked at again, and found overturned.
        assert second.rounds == [1, 2, 3]
        assert [(o.state, o.falsehood.round) for o in second.outcomes] == [(State.OVERTURNED, 3)]
        assert (client.overturned_of(3), client.tainted_from()) == (1 << 2, 1)
        head = client.node.block_number()
        assert Challenger(client, store, CHALLENGER, journal(recorded, path)).run_pass() == PassReport()
        path.unlink()
        again = Challenger(client, store, CHALLENGER, journal(recorded, path)).run_pass()
        assert (again.rounds, again.outcomes) == ([1, 2, 3], [])
        assert client.node.block_number() == head


def test_journal_of_another_chain_or_ledger(lied: Path, tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    with reopen(RunFolder(lied)) as recorded:
        Challenger(recorded.client(), recorded.store(), CHALLENGER, journal(recorded, path)).run_pass()
        content = json.loads(path.read_text())
        assert content["cursor"] == 3
        # The round's record is another one: after a reorganisation everything is looked at again.
        path.write_text(json.dumps({**content, "record": "0x" + "11" * 32}))
        report = Challenger(
            recorded.client(), recorded.store(), CHALLENGER, journal(recorded, path)
        ).run_pass()
        assert report.rounds == [1, 2, 3]
        with pytest.raises(JournalError, match="is of ledger"):
            ChallengeJournal(path, 31337, "0x" + "22" * 20)
        for broken in (path.read_text()[:40], "[" * 200_000):
            path.write_text(broken)
            with pytest.raises(JournalError, match="cannot read") as caught:
                journal(recorded, path)
            assert "remove it" in caught.value.hint


def test_missing_bytes_and_a_node_that_fails_are_tried_again_and_not_for_ever(lied: Path) -> None:
    with reopen(RunFolder(lied)) as recorded:
        store, root = recorded.store(), recorded.root(2, 0)
        Path(store.location(root)).write_bytes(b"no update")
        watch = Challenger(recorded.client(), store, CHALLENGER)
        for attempt in range(MAX_ATTEMPTS):
            report = watch.run_pass()
            assert [o.state for o in report.outcomes if o.falsehood.round == 2] == [State.UNPROVEN]
            assert report.pending == ([2] if attempt < MAX_ATTEMPTS - 1 else [])
        assert watch.run_pass().rounds == []
        failing = FailingProvider(recorded.provider, lambda _, __: False)
        client = LedgerClient(Node(failing), recorded.ledger)
        watch = Challenger(client, recorded.store(), None)
        failing._fails = lambda _, method: method == "eth_call"
        report = watch.run_pass()
        assert [type(trouble.error) for trouble in report.troubles] == [NodeUnavailableError] * MAX_FAULTS
        assert report.pending == [1, 2, 3]
        failing._fails = lambda _, __: False
        assert watch.run_pass().rounds == [1, 2, 3]


def test_commands_say_what_is_false_and_overturn_it(lied: Path) -> None:
    def invoke(*arguments: str) -> tuple[int, str]:
        called = CliRunner().invoke(hallmark, list(arguments), standalone_mode=False)
        assert called.exception is None
        return int(called.return_value or 0), called.stdout

    run_option = ("--run", str(lied))
    code, shown = invoke("challenger", str(lied), "--once", "--dry-run", "--json")
    assert code == ExitCode.VERIFICATION_FAILED
    planned = json.loads(shown)
    assert planned["rounds"] == [1, 2, 3]
    assert [(o["round"], o["index"], o["state"], o["challenge"]) for o in planned["outcomes"]] == [
        (1, 1, "planned", "boundary"),
        (3, 2, "planned", "exponent"),
    ]
    assert all(100_000 < o["gas"] < 700_000 for o in planned["outcomes"])
    assert not RunFolder(lied).challenger.exists()
    code, shown = invoke("challenge", "1:1", *run_option, "--dry-run")
    assert code == ExitCode.VERIFICATION_FAILED
    assert all(text in shown for text in ("planned", "boundary", "ether"))
    assert invoke("challenge", "1:0", *run_option) == (
        ExitCode.OK,
        "Nothing false was posted: there is nothing to challenge.\n",
    )
    code, shown = invoke("challenge", "1:1", *run_option, "--json")
    assert code == ExitCode.OK
    assert json.loads(shown)["found"]["state"] == "overturned"
    code, shown = invoke("challenge", "1:1", *run_option)
    assert (code, "overturned before" in shown) == (ExitCode.OK, True)
    code, shown = invoke("challenger", str(lied), "--once")
    assert code == ExitCode.OK
    assert "1 false, 0 of them still standing" in shown
    code, shown = invoke("challenger", str(lied), "--once")
    assert (code, shown) == (ExitCode.OK, "No round is new: all were looked at before.\n")


def test_what_cannot_be_proven_is_not_forgotten(tmp_path: Path) -> None:
    config = tiny_run(out=str(tmp_path / "run"), rounds=2)
    with pytest.MonkeyPatch.context() as patch:
        tell_lies(patch, {1: as_malformed(0)})
        run(config, SilentObserver())
    for expected in ("data-request contract", "No round is new"):
        called = CliRunner().invoke(hallmark, ["challenger", config.out, "--once"], standalone_mode=False)
        assert called.return_value == ExitCode.VERIFICATION_FAILED
        assert expected in called.stdout
        assert "left standing in rounds 1." in called.stdout


def test_watch_waits_while_the_chain_is_busy_and_writes_a_line_for_each_look(
    lied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.challenge.time.sleep", sleep)
    command = ["challenger", str(lied), "--interval-s", "7", "--json"]
    with reopen(RunFolder(lied)):
        busy = CliRunner().invoke(hallmark, command, standalone_mode=False)
        assert (busy.stdout, "not now" in busy.stderr) == ("", True)
    free = CliRunner().invoke(hallmark, command, standalone_mode=False)
    [line] = free.stdout.splitlines()
    assert [outcome["state"] for outcome in json.loads(line)["outcomes"]] == ["overturned"] * 2
    assert slept == [7.0, 7.0]


def test_run_without_challenges_cannot_be_challenged(tmp_path: Path) -> None:
    config = tiny_run(out=str(tmp_path / "run"), rounds=1, chain={"challenges": False})
    run(config, SilentObserver())
    with reopen(RunFolder(Path(config.out))) as recorded, pytest.raises(NoChallengesError):
        Challenger(recorded.client(), recorded.store(), None)
