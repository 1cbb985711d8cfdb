import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from guard.gate import GateParameters, Status
from guard.signs import SeedSigns
from tests.trainer.toys import attacked, cosine, tiny_run
from trainer.attacks import (
    ATTACKS,
    AttackContext,
    CopiedRoot,
    Forged,
    ForgedBytes,
    PublicRecord,
    attack_named,
)
from trainer.attacks.adaptive import COALITION_SHARE
from trainer.attacks.null_space import conceal
from trainer.errors import ConfigError
from trainer.fleet import Fleet, WorkerUpdate
from trainer.quantise import quantise
from trainer.simulate import read_update
from trainer.tasks import PoisonTest, TaskSetup, load_task

D = 3000


def context(**changes: object) -> AttackContext:
    rng = np.random.default_rng(0)
    common = rng.standard_normal(D, dtype=np.float32)
    honest = {i: common + rng.standard_normal(D, dtype=np.float32) for i in range(3)}
    values: dict[str, object] = {
        "worker": 4,
        "round_number": 2,
        "own": common + rng.standard_normal(D, dtype=np.float32),
        "honest": honest,
        "known_seed": bytes(32),
        "memory": {},
        "rng": np.random.default_rng(1),
    }
    return AttackContext(**{**values, **changes})  # type: ignore[arg-type]


def forged(name: str, ctx: AttackContext) -> NDArray[np.float32]:
    attack = attack_named(name)
    assert attack is not None
    forgery = attack.act(ctx)
    assert isinstance(forgery, Forged)
    assert forgery.gradient.dtype == np.float32
    assert forgery.gradient.shape == ctx.own.shape
    return forgery.gradient


def test_registry_has_every_attack_under_its_name() -> None:
    assert {name: attack.name for name, attack in ATTACKS.items()} == {name: name for name in ATTACKS}
    assert len(ATTACKS) == 37
    assert attack_named("none") is None
    with pytest.raises(ConfigError):
        attack_named("nothing")


def test_noise_is_ten_times_as_long_and_fresh() -> None:
    ctx = context()
    first, second = forged("noise_x10", ctx), forged("noise_x10", ctx)
    assert np.isclose(np.linalg.norm(first), 10 * np.linalg.norm(ctx.own), rtol=1e-3)
    assert abs(cosine(first, second)) < 0.1


def test_sign_flips() -> None:
    ctx = context()
    assert np.array_equal(forged("sign_flip", ctx), -ctx.own)
    assert np.allclose(forged("sign_flip_x10", ctx), -10 * ctx.own)


def test_alie_is_the_mean_less_one_and_a_half_deviations() -> None:
    ctx = context()
    stack = np.stack(list(ctx.honest.values()))
    assert np.allclose(forged("alie", ctx), stack.mean(0) - 1.5 * stack.std(0), atol=1e-5)


def test_ipm_is_the_same_for_every_attacker() -> None:
    ctx = context()
    stack = np.stack(list(ctx.honest.values()))
    assert np.allclose(forged("ipm_0.5", ctx), -0.5 * stack.mean(0), atol=1e-5)
    assert np.array_equal(forged("ipm_0.5", ctx), forged("ipm_0.5", context(own=-ctx.own)))


def test_replay_repeats_its_first_update() -> None:
    ctx = context()
    first = forged("replay", ctx)
    again = forged("replay", context(own=-ctx.own, memory=ctx.memory))
    assert np.array_equal(first, ctx.own)
    assert np.array_equal(again, first)


def test_zero_is_zero() -> None:
    assert not forged("zero", context()).any()


def test_label_flip_poisons_and_hands_in_what_training_gave() -> None:
    ctx = context()
    assert ATTACKS["label_flip"].poisons == "labels"
    assert np.array_equal(forged("label_flip", ctx), ctx.own)


def test_malformed_has_exactly_one_forbidden_byte() -> None:
    ctx = context()
    forgery = ATTACKS["malformed"]().act(ctx)
    assert isinstance(forgery, ForgedBytes)
    assert (forgery.values == -128).sum() == 1
    assert (forgery.values != quantise(ctx.own).values).sum() == 1


def test_copycat_names_an_honest_victim() -> None:
    assert ATTACKS["copycat"]().act(context()) == CopiedRoot(victim=1)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attack_without_anybody_honest_still_acts(name: str) -> None:
    assert ATTACKS[name]().act(context(honest={}, known_seed=None)) is not None


def word_of(gradient: NDArray[np.float32], seed: bytes) -> int:
    done = quantise(gradient)
    reading = read_update(WorkerUpdate(0, done.values, done.exponent, 1), SeedSigns(seed)).reading
    assert reading is not None
    return reading.code


def test_null_space_hides_a_reversed_update_from_the_seed_it_knows_and_from_no_other() -> None:
    rng = np.random.default_rng(5)
    own = rng.standard_normal(20_000, dtype=np.float32)
    known, fresh = bytes(range(32)), bytes(range(1, 33))
    crafted = conceal(-own, own, known)
    assert cosine(crafted, own) < -0.95
    same_bits = 256 - (word_of(crafted, known) ^ word_of(own, known)).bit_count()
    assert same_bits >= 250
    fresh_bits = 256 - (word_of(crafted, fresh) ^ word_of(own, fresh)).bit_count()
    assert fresh_bits < 40


def test_null_space_aims_at_the_last_seed_and_only_reverses_without_one() -> None:
    ctx = context()
    assert np.array_equal(forged("null_space", context(known_seed=None)), -ctx.own)
    crafted = forged("null_space", ctx)
    assert 256 - (word_of(crafted, bytes(32)) ^ word_of(ctx.own, bytes(32))).bit_count() >= 245


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_goes_through_a_fleet(name: str) -> None:
    fleet = Fleet(attacked(name))
    work = fleet.train_round(1, fleet.theta)
    work = fleet.train_round(2, fleet.theta, known_seed=bytes(32))
    assert [update.worker for update in work.updates] == [0, 1, 2, 3]
    assert [update.attack for update in work.updates] == ["", "", name, name]
    signs = SeedSigns(bytes(range(32)))
    statuses = [read_update(update, signs).status for update in work.updates]
    expected = Status.MALFORMED if name in ("copycat", "malformed") else Status.COMMITTED
    assert statuses == [Status.COMMITTED, Status.COMMITTED, expected, expected]


def test_copycat_hands_in_its_victims_bytes() -> None:
    fleet = Fleet(attacked("copycat"))
    updates = fleet.train_round(1, fleet.theta).updates
    assert [update.copies for update in updates] == [None, None, 0, 1]
    assert np.array_equal(updates[2].values, updates[0].values)


def test_decorrelated_backdoors_add_noise_of_the_named_length() -> None:
    ctx = context()
    size = np.linalg.norm(ctx.own)
    for factor in (1, 2, 4):
        added = forged(f"decorrelated_backdoor_x{factor}", ctx) - ctx.own
        assert np.isclose(np.linalg.norm(added), factor * size, rtol=1e-3)
        assert abs(cosine(added, ctx.own)) < 0.1


def test_sybils_share_one_update_and_noise_tells_them_apart() -> None:
    peers = {4: context().own, 5: -2 * context().own}
    shared = [forged("sybil", context(worker=w, own=peers[w], peers=peers)) for w in peers]
    assert np.array_equal(shared[0], shared[1])
    assert np.isclose(np.linalg.norm(shared[0]), context().largest_honest_norm(), rtol=1e-4)
    rngs = (np.random.default_rng(1), np.random.default_rng(2))
    noisy = [forged("sybil_noise_1", context(peers=peers, rng=rng)) for rng in rngs]
    assert 0.4 < cosine(noisy[0], noisy[1]) < 0.6


@pytest.mark.parametrize("name", ["min_max", "min_max_unit"])
def test_min_max_stays_within_the_honest_diameter_and_reaches_it(name: str) -> None:
    ctx = context()
    honest = list(ctx.honest.values())
    diameter = max(np.linalg.norm(a - b) for a in honest for b in honest)
    furthest = max(np.linalg.norm(forged(name, ctx) - one) for one in honest)
    assert 0.99 * diameter < furthest <= diameter * 1.0001


def test_min_sum_is_bounded_by_the_largest_honest_sum() -> None:
    ctx = context()
    honest = list(ctx.honest.values())
    bound = max(sum(float(np.sum((a - b) ** 2)) for b in honest) for a in honest)
    found = sum(float(np.sum((forged("min_sum", ctx) - b) ** 2)) for b in honest)
    assert 0.99 * bound < found <= bound * 1.0001


def test_mimic_copies_the_first_honest_worker_and_drift_meets_the_mean_halfway() -> None:
    ctx = context()
    assert np.array_equal(forged("mimic", ctx), ctx.honest[0])
    assert np.allclose(forged("drift", ctx), (ctx.honest_mean() + ctx.own) / 2, atol=1e-5)


def test_sleeper_and_on_off_turn_when_they_should() -> None:
    ctx = context()
    turned = [np.array_equal(forged("sleeper", context(round_number=r)), -ctx.own) for r in (1, 7, 8)]
    assert turned == [False, False, True]
    turned = [np.array_equal(forged("on_off", context(round_number=r)), -ctx.own) for r in range(1, 6)]
    assert turned == [False, False, True, True, False]


def test_tiny_is_just_too_short_to_be_alive() -> None:
    ctx = context()
    assert np.isclose(np.linalg.norm(forged("tiny", ctx)) * 18, ctx.largest_honest_norm(), rtol=1e-4)


def test_stale_parent_trains_from_the_model_of_five_rounds_ago() -> None:
    attack, memory = ATTACKS["stale_parent"](), {}  # type: ignore[var-annotated]
    models = {r: np.full(3, r, np.float32) for r in range(1, 15)}
    chosen = {r: int(attack.parent(r, models[r], memory)[0]) for r in models}
    assert [chosen[r] for r in (1, 3, 6, 7, 14)] == [1, 1, 1, 2, 9]


def test_null_space_aims_at_a_fixed_projection_where_there_is_one() -> None:
    ctx = context(projection=np.random.default_rng(2).standard_normal((D, 32)).astype(np.float32))
    crafted = forged("null_space_x20", ctx)
    assert ctx.projection is not None
    atoms = crafted @ ctx.projection, ctx.honest_mean() @ ctx.projection
    assert cosine(*atoms) > 0.999
    assert cosine(crafted, ctx.own) < -0.95


def test_adaptive_hides_poison_behind_half_of_an_honest_cosine() -> None:
    ctx = context(peers={4: -context().own})
    mean = ctx.honest_mean()
    assert 0.2 < cosine(forged("adaptive", ctx), mean) < 0.8


def test_threshold_moves_with_the_evidence_recorded_against_it() -> None:
    def angle(llr: int) -> float:
        memory = {"angle": np.full(1, 1.0, np.float32)}
        record = PublicRecord({4: 50}, {4: llr}, 60.0)
        forged("threshold", context(memory=memory, record=record, peers={4: -context().own}))
        return float(memory["angle"][0])

    assert np.isclose(angle(-1000), 1.1)
    assert np.isclose(angle(900), 0.8)


def test_the_adaptive_attacker_knows_the_gates_own_threshold() -> None:
    assert round(GateParameters().coalition_threshold_q16 / 65536, 2) == COALITION_SHARE


def test_backdoor_success_is_measured_by_the_task() -> None:
    fleet = Fleet(attacked("backdoor"))
    success = fleet.poison_success(fleet.theta)
    assert success is not None
    assert 0 <= success <= 1
    assert Fleet(attacked("label_flip")).poison_success(fleet.theta) is None
    assert Fleet(tiny_run()).poison_success(fleet.theta) is None


@pytest.mark.parametrize("kind", ["backdoor", "targeted"])
@pytest.mark.parametrize("task", ["digits_mlp", "byte_lm"])
def test_poisoned_batches_carry_the_wish(task: str, kind: str) -> None:
    made = load_task(task, TaskSetup(4, "iid", 220, 0))
    batch = made.sample(0, 64, torch.Generator().manual_seed(0))
    poisoned = made.poison(batch, kind, torch.Generator().manual_seed(1))
    assert poisoned.inputs.shape == batch.inputs.shape
    assert not torch.equal(poisoned.targets, batch.targets)
    assert torch.equal(poisoned.inputs, batch.inputs) == (kind == "targeted")
    assert isinstance(made, PoisonTest)
    success = made.poison_success(made.build_model(0), kind)
    assert success is not None
    assert success < 0.6
    assert made.poison_success(made.build_model(0), "labels") is None
