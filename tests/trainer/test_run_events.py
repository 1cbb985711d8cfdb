"""Rounds that do not go as planned."""

from guard.gate import Status
from tests.trainer.agreement import assert_agreement
from tests.trainer.eventful import ABSENT_ROUND, EMPTY_ROUND, ROUNDS, VOID_ROUND
from tests.trainer.recorded import Recorded
from trainer.reporting import RoundReport

Eventful = tuple[Recorded, list[RoundReport]]


def test_audit_of_an_eventful_run_finds_nothing(eventful: Eventful) -> None:
    recorded, _ = eventful
    report = recorded.audit()
    assert_agreement(recorded, report)
    assert report.ok, report.differences
    checked = report.checked
    assert (checked.rounds, checked.contributions, checked.signatures) == (5, 14, 18)
    assert (checked.words, checked.verdicts, checked.models) == (15, 11, 5)


def test_run_with_an_absent_worker_goes_on_after_the_deadline(eventful: Eventful) -> None:
    recorded, reports = eventful
    report = reports[ABSENT_ROUND - 1]
    assert report.statuses == (Status.COMMITTED, Status.ABSENT, Status.COMMITTED)
    assert report.approved == (True, False, True)
    assert report.gas["seal"] > 0
    assert report.llrs[1] == reports[0].llrs[1], "who is absent is not judged"
    seal = recorded.histories[ABSENT_ROUND - 1].seal
    assert seal is not None
    assert seal.presence == 0b1101


def test_round_without_anchor_is_void_and_the_run_goes_on(eventful: Eventful) -> None:
    recorded, reports = eventful
    report = reports[VOID_ROUND - 1]
    voided = recorded.histories[VOID_ROUND - 1].voided
    assert voided is not None
    assert voided.reason == 1
    assert report.metric is None
    assert report.model_root == reports[VOID_ROUND - 2].model_root
    assert report.yardstick == reports[VOID_ROUND - 2].yardstick
    assert len(reports) == ROUNDS


def test_round_in_which_all_are_refused_leaves_the_model(eventful: Eventful) -> None:
    recorded, reports = eventful
    report, final = reports[EMPTY_ROUND - 1], recorded.histories[EMPTY_ROUND - 1].final
    assert report.statuses == (Status.COMMITTED,) * 3
    assert not any(report.approved)
    assert report.weights_q32 == (0, 0, 0)
    assert report.anchor_weight_q32 == 0
    assert final is not None
    assert final.model_root == report.model_root == reports[VOID_ROUND - 1].model_root
    assert reports[-1].model_root != report.model_root
