import numpy as np
import pytest
from numpy.typing import NDArray

from guard.gate import Status
from guard.signs import SeedSigns
from tests.trainer.toys import attacked, cosine
from trainer.attacks import ATTACKS, AttackContext, CopiedRoot, Forged, ForgedBytes, attack_named
from trainer.attacks.null_space import conceal
from trainer.errors import ConfigError
from trainer.fleet import Fleet, WorkerUpdate
from trainer.quantise import quantise
from trainer.simulate import read_update

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
    assert len(ATTACKS) == 11
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
