import importlib.util
import sys
import types
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from guard.gate import GateParameters
from guard.weights import MergeWeights
from tests.trainer.toys import attacked
from trainer.defences import DEFENCES, PolicySetup, RoundView, Ruling
from trainer.defences.base import assumed_faults, weighted_step
from trainer.defences.centered_clip import centered_clip
from trainer.defences.coordinates import Median, trimmed_mean
from trainer.defences.foolsgold import foolsgold_weights
from trainer.defences.geometric_median import geometric_median
from trainer.defences.krum import Krum, MultiKrum
from trainer.defences.mean import Mean
from trainer.defences.nnm import nearest_neighbour_mixing
from trainer.defences.published_guard import PublishedGuard
from trainer.errors import NumericError
from trainer.fleet import RoundWork
from trainer.quantise import dequantise
from trainer.simulate import simulate

D = 400
SETUP = PolicySetup(10, D, GateParameters())


def some_updates(count: int = 10, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(D)
    return (common + 0.7 * rng.standard_normal((count, D))).astype(np.float32)


def view(updates: NDArray[np.float32], **changes: object) -> RoundView:
    values: dict[str, object] = {
        "round_number": 1,
        "seed": bytes(32),
        "indices": tuple(range(len(updates))),
        "updates": updates,
        "anchor": updates[0],
        "theta": np.zeros(updates.shape[1], np.float32),
        "root_loss": lambda theta: float(np.sum((theta + updates[0]) ** 2)),
        "work": RoundWork(()),
    }
    return RoundView(**{**values, **changes})  # type: ignore[arg-type]


def step_of(ruling: Ruling) -> NDArray[np.float32]:
    assert isinstance(ruling.step, np.ndarray)
    assert ruling.step.dtype == np.float32
    return ruling.step


FLOAT_RULES = sorted(set(DEFENCES) - {"hallmark", "mean", "honest_only"})


# FoolsGold takes ten equal updates for ten Sybils.
@pytest.mark.parametrize("name", sorted(set(FLOAT_RULES) - {"foolsgold"}))
def test_ten_equal_updates_come_out_as_they_went_in(name: str) -> None:
    updates = np.repeat(some_updates(1), 10, axis=0)
    ruling = DEFENCES[name](SETUP).rule(view(updates))
    assert np.allclose(step_of(ruling), updates[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", FLOAT_RULES)
def test_order_of_workers_does_not_matter(name: str) -> None:
    updates = some_updates()
    anchor = updates.mean(axis=0)
    order = np.random.default_rng(1).permutation(10)
    steps = [
        step_of(DEFENCES[name](SETUP).rule(view(rows, anchor=anchor, root_loss=lambda t: float(t @ anchor))))
        for rows in (updates, updates[order])
    ]
    assert np.allclose(steps[0], steps[1], atol=1e-4)


@pytest.mark.parametrize(
    "name", sorted(set(FLOAT_RULES) - {"norm_clipped_mean", "foolsgold", "published_guard"})
)
def test_three_huge_updates_of_ten_do_not_move_a_robust_rule_far(name: str) -> None:
    updates = some_updates()
    honest = updates[:7].mean(axis=0)
    updates[7:] = 1000 * np.random.default_rng(3).standard_normal((3, D)).astype(np.float32)
    step = step_of(DEFENCES[name](SETUP).rule(view(updates)))
    assert np.linalg.norm(step - honest) < 1.2 * np.linalg.norm(honest)


@pytest.mark.parametrize("name", sorted(DEFENCES))
def test_every_defence_plays_a_run_with_malformed_updates(name: str) -> None:
    result = simulate(attacked("malformed", rounds=2), name)
    assert np.isfinite(result.theta).all()
    assert result.rounds[0].approved[2:] == (False, False)


def test_policies_get_the_dequantised_bytes() -> None:
    seen: list[RoundView] = []

    class Spy(Mean):
        def rule(self, view: RoundView) -> Ruling:
            seen.append(view)
            return super().rule(view)

    module = types.ModuleType("spying")
    module.Spy = Spy  # type: ignore[attr-defined]
    sys.modules["spying"] = module
    try:
        simulate(attacked("sign_flip", rounds=1), "spying:Spy")
    finally:
        del sys.modules["spying"]
    for row, update in zip(seen[0].updates, seen[0].work.updates, strict=True):
        assert np.array_equal(row, dequantise(update.values, update.exponent))
    with pytest.raises(NumericError, match="no anchor"):
        seen[0].trusted()


def test_mean_is_made_of_exact_weights() -> None:
    ruling = DEFENCES["mean"](SETUP).rule(view(some_updates(4)))
    assert ruling.step == MergeWeights((0, 1, 2, 3), (1 << 30,) * 4, 0)


def test_faults_are_forty_percent_and_never_half() -> None:
    assert [assumed_faults(n) for n in (1, 2, 4, 8, 10, 20)] == [0, 0, 1, 3, 4, 8]


def test_weights_of_zero_give_no_step() -> None:
    assert weighted_step(some_updates(3), np.zeros(3)) is None


def test_foolsgold_silences_copies_and_keeps_the_diverse() -> None:
    rng = np.random.default_rng(0)
    diverse = rng.standard_normal((4, 300)).astype(np.float32)
    copies = np.repeat(rng.standard_normal((1, 300)).astype(np.float32), 3, axis=0)
    weights = foolsgold_weights(np.concatenate([diverse, copies]))
    assert weights[:4].min() > 0.9
    assert weights[4:].max() < 0.01


def test_published_guard_is_blind_in_the_null_space_of_its_public_projection() -> None:
    from trainer.attacks.null_space import conceal_from_matrix

    policy = PublishedGuard(SETUP)
    honest = some_updates(9)
    mean = honest.mean(axis=0)
    hidden = conceal_from_matrix(-20 * mean, mean, policy.projection())
    ruling = policy.rule(view(np.concatenate([honest, hidden[None]])))
    assert 9 in ruling.accepted
    assert step_of(ruling) @ mean < 0


def test_published_guard_divides_by_everybody() -> None:
    updates = some_updates(2)
    updates[1] = -updates[0]
    policy = PublishedGuard(SETUP)
    policy.rule(view(np.repeat(updates[:1], 2, axis=0)))
    ruling = policy.rule(view(updates))
    assert ruling.accepted == {0}
    assert np.allclose(step_of(ruling), updates[0] / 2, rtol=1e-4)


def test_fltrust_gives_no_weight_to_the_opposite() -> None:
    updates = some_updates(4)
    updates[3] = -updates[0]
    ruling = DEFENCES["fltrust"](SETUP).rule(view(updates))
    assert ruling.accepted == {0, 1, 2}
    assert np.linalg.norm(step_of(ruling)) <= np.linalg.norm(updates[0]) * 1.001


def test_fltrust_anchor_is_a_blend_of_fltrust_and_the_anchor() -> None:
    seen = view(some_updates(4))
    plain, mixed = (step_of(DEFENCES[name](SETUP).rule(seen)) for name in ("fltrust", "fltrust_anchor"))
    assert np.allclose(mixed, 0.85 * plain + 0.15 * seen.trusted(), atol=1e-5)


def standard_rules() -> types.ModuleType:
    """Give byzfl.aggregators without the rest of byzfl, which needs torchvision (docs/dependencies.md)."""
    spec = importlib.util.find_spec("byzfl")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("byzfl is not installed; `make test-oracle` does it")
    package = types.ModuleType("byzfl")
    package.__path__ = list(spec.submodule_search_locations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "byzfl", package)
        return importlib.import_module("byzfl.aggregators")


@pytest.mark.parametrize("count", [5, 10, 20])
def test_standard_rules_agree_with_byzfl(count: int) -> None:
    byzfl = standard_rules()
    updates = some_updates(count, seed=count)
    updates[: count // 4] *= -3
    f = assumed_faults(count)
    radius = float(np.median(np.linalg.norm(updates, axis=1)))
    ours: dict[str, Callable[[], NDArray[np.floating]]] = {
        "Krum": lambda: updates[Krum(SETUP).places(updates, f)].mean(axis=0),
        "MultiKrum": lambda: updates[MultiKrum(SETUP).places(updates, f)].mean(axis=0),
        "Median": lambda: Median(SETUP).combine(updates),
        "TrMean": lambda: trimmed_mean(updates, f),
        "GeometricMedian": lambda: geometric_median(updates, 10, 0.1),
        "CenteredClipping": lambda: centered_clip(updates, np.zeros(D), radius, 3),
        "NNM": lambda: nearest_neighbour_mixing(updates, f),
    }
    theirs = {
        "Krum": byzfl.Krum(f=f),
        "MultiKrum": byzfl.MultiKrum(f=f),
        "Median": byzfl.Median(),
        "TrMean": byzfl.TrMean(f=f),
        "GeometricMedian": byzfl.GeometricMedian(nu=0.1, T=10),
        # Its CenteredClipping(m=...) raises TypeError for every m, so the centre is the default, zero.
        "CenteredClipping": byzfl.CenteredClipping(L=3, tau=radius),
        "NNM": byzfl.NNM(f=f),
    }
    for name, rule in ours.items():
        expected = np.asarray(theirs[name](updates.copy()), dtype=np.float64)
        got = np.asarray(rule(), dtype=np.float64)
        assert np.allclose(got, expected, rtol=1e-3, atol=1e-3), name
