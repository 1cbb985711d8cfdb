import numpy as np
import pytest
import torch

from tests.trainer.toys import attacked, tiny_run
from trainer.errors import CheckpointError
from trainer.fleet import Fleet, RoundWork
from trainer.tasks import ROOT


def bytes_of(work: RoundWork) -> list[tuple[int, int, bytes]]:
    updates = [*work.updates, *work.anchors]
    return [(update.worker, update.exponent, update.values.tobytes()) for update in updates]


@pytest.mark.parametrize("attack", ["none", "replay", "noise_x10", "label_flip"])
def test_round_repeated_from_saved_state_gives_identical_bytes(attack: str) -> None:
    config = attacked(attack)
    fleet = Fleet(config)
    for round_number in (1, 2):
        fleet.train_round(round_number, fleet.theta)
    state = fleet.state_tensors()
    expected = bytes_of(fleet.train_round(3, fleet.theta))

    other = Fleet(config)
    assert other.theta.tobytes() == fleet.theta.tobytes()
    other.load_state(state)
    assert bytes_of(other.train_round(3, other.theta)) == expected


def test_state_has_documented_names() -> None:
    fleet = Fleet(attacked("replay"))
    assert fleet.state_tensors() == {}
    fleet.train_round(1, fleet.theta)
    names = set(fleet.state_tensors())
    assert {"inner.0.exp_avg", "inner.-1.step", "residual.0", "residual.-1", "memory.3.first"} <= names
    assert "residual.3" not in names
    assert "memory.0.first" not in names


def test_every_guard_trains_an_anchor_of_its_own_with_its_own_residual() -> None:
    fleet, alone = Fleet(tiny_run(guards=3)), Fleet(tiny_run())
    work = fleet.train_round(1, fleet.theta)
    assert [anchor.worker for anchor in work.anchors] == [ROOT, ROOT - 1, ROOT - 2]
    assert len({anchor.values.tobytes() for anchor in work.anchors}) == 3
    assert work.anchor == work.anchor_of(0) == work.anchors[0]
    assert work.anchor_of(3) is None
    of_one = alone.train_round(1, alone.theta)
    assert of_one.anchor is not None
    assert work.anchors[0].values.tobytes() == of_one.anchor.values.tobytes()
    state = fleet.state_tensors()
    assert {"residual.-1", "residual.-2", "residual.-3", "inner.-3.step"} <= set(state)
    assert not torch.equal(state["residual.-1"], state["residual.-2"])


def test_several_guards_repeated_from_saved_state_give_identical_bytes() -> None:
    config = tiny_run(guards=3, attack={"guards": 1})
    fleet = Fleet(config)
    fleet.train_round(1, fleet.theta)
    other = Fleet(config)
    other.load_state(fleet.state_tensors())
    assert bytes_of(other.train_round(2, fleet.theta)) == bytes_of(fleet.train_round(2, fleet.theta))


def test_cheating_guard_hands_in_the_opposite_of_its_anchor() -> None:
    honest, cheating = Fleet(tiny_run(guards=3)), Fleet(tiny_run(guards=3, attack={"guards": 1}))
    for round_number in (1, 2):  # the second carries what quantisation has left of the first
        true, false = (fleet.train_round(round_number, honest.theta) for fleet in (honest, cheating))
        assert [a.attack for a in false.anchors] == ["", "", "negated_anchor"]
        for here, there in zip(true.anchors[:2], false.anchors[:2], strict=True):
            assert here.values.tobytes() == there.values.tobytes()
        assert np.array_equal(false.anchors[2].values, -true.anchors[2].values)
        assert false.anchors[2].exponent == true.anchors[2].exponent


def test_load_state_of_another_fleet_raises() -> None:
    fleet = Fleet(tiny_run())
    fleet.train_round(1, fleet.theta)
    state = fleet.state_tensors()
    with pytest.raises(CheckpointError, match="no place"):
        Fleet(tiny_run(workers=3)).load_state(state)
    with pytest.raises(CheckpointError, match="residual"):
        fleet.load_state({"residual.0": torch.zeros(3)})


def test_error_feedback_is_carried_over() -> None:
    fleet = Fleet(tiny_run())
    fleet.train_round(1, fleet.theta)
    residual = fleet.state_tensors()["residual.0"]
    assert residual.abs().max() > 0


def test_worker_that_diverges_is_absent_and_the_others_are_not() -> None:
    fleet = Fleet(tiny_run())
    work = fleet.train_round(1, np.full_like(fleet.theta, np.nan))
    assert work.updates == ()
    assert work.anchors == ()
    assert len(fleet.train_round(2, fleet.theta).updates) == 4


def test_fleet_without_attackers_or_guard() -> None:
    fleet = Fleet(attacked("sign_flip"), with_attackers=False, with_guard=False)
    work = fleet.train_round(1, fleet.theta)
    assert [update.worker for update in work.updates] == [0, 1]
    assert work.anchor is None


def test_honest_updates_do_not_depend_on_who_else_cheats() -> None:
    first, second = Fleet(attacked("zero")), Fleet(attacked("sign_flip"))
    got, want = (bytes_of(fleet.train_round(1, fleet.theta))[:2] for fleet in (first, second))
    assert got == want


def test_tokens_count_samples() -> None:
    fleet = Fleet(tiny_run())
    assert {update.tokens for update in fleet.train_round(1, fleet.theta).updates} == {3 * 16}
