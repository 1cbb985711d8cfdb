"""Trainings with several guards, without a chain."""

from statistics import mean

import numpy as np
import pytest

from tests.trainer.toys import tiny_run
from trainer.config import RunConfig, resolve_config
from trainer.errors import NumericError
from trainer.fleet import Fleet, RoundWork
from trainer.simulate import SimulationResult, simulate
from trainer.tasks import root_of

SEEDS = (0, 1)


def attacked_run(guards: int, cheating: int, seed: int) -> RunConfig:
    """Give a training in which four of ten workers send ten times the opposite of what they learned."""
    attack = {"name": "sign_flip_x10", "share": 0.4, "guards": cheating}
    return resolve_config({"task": "digits_mlp", "guards": guards, "seed": seed, "attack": attack})


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[int, int], list[SimulationResult]]:
    """By guards and cheating guards; of a liar alone one is enough."""
    return {
        (3, 0): [simulate(attacked_run(3, 0, seed)) for seed in SEEDS],
        (3, 1): [simulate(attacked_run(3, 1, seed)) for seed in SEEDS],
        (1, 1): [simulate(attacked_run(1, 1, 0))],
    }


def accuracy(results: list[SimulationResult]) -> float:
    return mean(result.final.value for result in results)


def test_lying_guard_is_outvoted_and_alone_it_ruins_the_model(
    outcomes: dict[tuple[int, int], list[SimulationResult]],
) -> None:
    honest = accuracy(outcomes[3, 0])
    assert honest > 0.93
    assert abs(accuracy(outcomes[3, 1]) - honest) <= 0.01
    assert accuracy(outcomes[1, 1]) < 0.2
    for result in outcomes[3, 1]:
        assert result.accepted_share(result.honest) > 0.99
        assert result.accepted_share(result.config.malicious) == 0.0
        assert result.banned(result.config.malicious) == 4


def test_lane_of_a_lying_guard_counts_how_often_it_was_outvoted(
    outcomes: dict[tuple[int, int], list[SimulationResult]],
) -> None:
    for result in outcomes[3, 1]:
        last = result.rounds[-1]
        scores = [r.guard_scores[2] for r in result.rounds]
        outvoted = sum(s is not None and s <= 0 for s in scores)
        assert [lane.refused for lane in last.guard_lanes] == [0, 0, outvoted]
        assert [lane.accepted for lane in last.guard_lanes] == [20, 20, 20 - outvoted]
        assert outvoted >= 3
        assert all(lane.llr == 0 for lane in last.guard_lanes)
        # While there is something to learn, honest anchors agree. Later they hardly do, and on the bits on
        # which two differ the third decides: then a liar is as near to the majority as anybody.
        for r in result.rounds[:8]:
            liar = r.guard_scores[2]
            assert liar is not None
            assert all(s is not None and s > liar for s in r.guard_scores[:2])
        # Its mean stays below theirs, so what it trains is never merged.
        assert all(r.merged_guard in (0, 1) for r in result.rounds)


def test_guards_that_lack_an_anchor_do_not_matter_while_most_have_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = Fleet.train_round

    def without(missing: tuple[int, ...]) -> None:
        def train_round(self: Fleet, *arguments: object, **named: object) -> RoundWork:
            work = train(self, *arguments, **named)  # type: ignore[arg-type]
            kept = tuple(a for a in work.anchors if a.worker not in map(root_of, missing))
            return RoundWork(work.updates, kept)

        monkeypatch.setattr(Fleet, "train_round", train_round)

    config = tiny_run(guards=3)
    without((0,))
    result = simulate(config)
    assert [r.guard_scores[0] for r in result.rounds] == [None] * 3
    assert all(r.merged_guard in (1, 2) for r in result.rounds)
    assert result.rounds[-1].guard_lanes[0].refused == 0
    without((0, 1))
    with pytest.raises(NumericError, match="1 guards with a sound anchor, 2 are needed"):
        simulate(config)


def test_one_guard_gives_the_training_of_before_there_were_several() -> None:
    result = simulate(tiny_run())
    assert result.rounds[-1].guard_scores == ()
    assert result.rounds[-1].guard_lanes == ()
    assert np.array_equal(result.theta, simulate(tiny_run(guards=1)).theta)
