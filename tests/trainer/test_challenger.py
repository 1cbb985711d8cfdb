"""Lying guards and a challenger: every lie is overturned, no truth is, and the run goes on."""

from pathlib import Path

import pytest

from ledger.digests import VoidReason
from ledger.stakes import VaultClient
from tests.trainer.lying import (
    CHALLENGER,
    as_malformed,
    as_sound,
    code_bit,
    exponent_by,
    leaf_at,
    norm_by,
    norm_from,
    watch_lies,
)
from tests.trainer.recorded import reopen
from tests.trainer.toys import tiny_run
from trainer.challenger import Challenger, PassReport, State
from trainer.folder import RunFolder
from trainer.reporting import SilentObserver
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
