import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config import AttackConfig, ChainConfig, RunConfig, load_config, parse_config, resolve_config
from trainer.errors import ConfigError
from trainer.worker import InnerConfig


def test_defaults_are_a_valid_run() -> None:
    config = parse_config("")
    assert config == RunConfig()
    assert config.malicious == ()


def test_to_toml_round_trips_with_everything_changed() -> None:
    config = resolve_config(
        {
            "task": "digits_mlp",
            "workers": 7,
            "guards": 5,
            "rounds": 5,
            "seed": 2**62,
            "split": "dirichlet_0.3",
            "root_samples": 50,
            "out": 'runs/"odd" \\ name',
            "attack": {"name": "alie", "share": 0.25, "guards": 2},
            "inner": {"steps": 3, "lr": 1e-5, "weight_decay": 0},
            "gate": {"ban_from": 8000, "evidence_min": -1000},
            "chain": {"rpc_url": "http://127.0.0.1:8545"},
        }
    )
    assert parse_config(config.to_toml()) == config


@settings(deadline=None, max_examples=50)
@given(
    lr=st.floats(min_value=1e-9, max_value=1e3),
    share=st.floats(min_value=0, max_value=0.999),
    out=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20),
    seed=st.integers(0, 2**63 - 1),
)
def test_to_toml_round_trips(lr: float, share: float, out: str, seed: int) -> None:
    config = RunConfig(seed=seed, out=out, inner=InnerConfig(lr=lr), attack=AttackConfig("zero", share))
    assert parse_config(config.to_toml()) == config


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("wrokers = 3", "wrokers", "workers"),
        ("[inner]\nlearning = 1.0", "inner.learning", "inner.lr"),
        ("[inner]\nbatchsize = 1", "inner.batchsize", "inner.batch_size"),
        ("[gate]\nban_form = 1", "gate.ban_form", "gate.ban_from"),
        ("[atack]\nname = 'zero'", "atack", "attack"),
    ],
)
def test_unknown_key_is_named_with_the_nearest_known_ones(text: str, key: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert caught.value.key == key
    assert key in str(caught.value)
    assert nearest in caught.value.hint


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("workers = true", "workers"),
        ("workers = 3.0", "workers"),
        ("workers = 0", "workers"),
        ("workers = 256", "workers"),
        ("guards = 0", "guards"),
        ("guards = 2", "guards"),
        ("guards = 17", "guards"),
        ("guards = 3.0", "guards"),
        ("workers = 254\nguards = 3", "guards"),
        ("guards = 3\n[attack]\nguards = 4", "attack.guards"),
        ("[attack]\nguards = -1", "attack.guards"),
        ("rounds = 0", "rounds"),
        ("rounds = 2147483648", "rounds"),
        ("seed = -1", "seed"),
        ("root_samples = 0", "root_samples"),
        ("out = ''", "out"),
        ('out = "a\\u0000b"', "out"),
        ('[chain]\nblobs = "a\\u0000b"', "chain.blobs"),
        ("task = 3", "task"),
        ("task = 'digits_cn'", "task"),
        ("task = 'no_such_module:factory'", "task"),
        ("split = 'idd'", "split"),
        ("split = 'dirichlet_x'", "split"),
        ("split = 'dirichlet_-1'", "split"),
        ("attack = 'zero'", "attack"),
        ("[attack]\nname = 'sing_flip'", "attack.name"),
        ("[attack]\nshare = 1.0", "attack.share"),
        ("[attack]\nshare = nan", "attack.share"),
        ("[inner]\nlr = nan", "inner.lr"),
        ("[inner]\nlr = inf", "inner.lr"),
        ("[inner]\nlr = 0", "inner.lr"),
        ("[inner]\nlr = true", "inner.lr"),
        ("[inner]\nlr = '1'", "inner.lr"),
        (f"[inner]\nlr = 1{'0' * 400}", "inner.lr"),
        ("[inner]\nsteps = 0", "inner.steps"),
        ("[inner]\nsteps = 2147483648", "inner.steps"),
        ("[inner]\nbatch_size = 2147483648", "inner.batch_size"),
        ("[inner]\nwarmup_steps = -1", "inner.warmup_steps"),
        ("[inner]\nbeta2 = 1.0", "inner.beta2"),
        ("[inner]\ngrad_clip = 0", "inner.grad_clip"),
        ("[gate]\nban_from = 9000", "gate"),
        ("[gate]\nban_from = 1.5", "gate.ban_from"),
    ],
)
def test_wrong_type_or_range_names_the_key(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert caught.value.key == key


def test_attack_that_does_not_exist_hints_at_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config("[attack]\nname = 'sing_flip'")
    assert "sign_flip" in caught.value.hint


def test_direct_construction_is_checked_too() -> None:
    with pytest.raises(ConfigError):
        RunConfig(workers=0)
    with pytest.raises(ConfigError, match="UTF-8"):
        RunConfig(out="runs/\udcff")  # as the command line gives a name that is no UTF-8
    with pytest.raises(ConfigError):
        RunConfig(inner=InnerConfig(lr=float("nan")))


def test_malicious_are_the_last_workers() -> None:
    config = RunConfig(attack=AttackConfig("zero", 0.4))
    assert config.malicious == (6, 7, 8, 9)
    assert dataclasses.replace(config, workers=1).malicious == ()
    assert dataclasses.replace(config, attack=AttackConfig("none", 0.4)).malicious == ()


def test_cheating_guards_are_the_last_ones() -> None:
    assert RunConfig(guards=5, attack=AttackConfig(guards=2)).cheating_guards == (3, 4)
    assert RunConfig(attack=AttackConfig(guards=1)).cheating_guards == (0,)
    assert RunConfig(guards=15).cheating_guards == ()
    RunConfig(workers=241, guards=15)  # 256 members


def test_train_digest_is_pinned_and_knows_how_many_guards_there_are() -> None:
    """Another digest means that no run of before is continued: the gate's constants are in it."""
    before = "ee3d9d93ef02311a0e43386e62796017df45f4caf9d8a3ada796030c87bf120f"
    assert RunConfig().train_digest == before
    assert RunConfig(guards=3).train_digest != before
    assert RunConfig(attack=AttackConfig(guards=1)).train_digest != before


def test_preset_of_a_task_lies_under_what_the_file_says() -> None:
    assert parse_config("task = 'byte_lm'").workers == 8
    config = parse_config("task = 'byte_lm'\nworkers = 3\n[inner]\nlr = 0.5")
    assert (config.workers, config.inner.lr, config.inner.batch_size) == (3, 0.5, 8)


def test_train_digest_ignores_what_does_not_change_the_training() -> None:
    config = RunConfig()
    same = dataclasses.replace(config, rounds=99, out="elsewhere", chain=ChainConfig(rpc_url="http://x"))
    assert same.train_digest == config.train_digest
    for other in (
        dataclasses.replace(config, seed=1),
        dataclasses.replace(config, inner=InnerConfig(lr=0.1)),
        dataclasses.replace(config, attack=AttackConfig("zero")),
    ):
        assert other.train_digest != config.train_digest


def test_train_digest_does_not_tell_zero_from_zero_point_zero() -> None:
    whole = RunConfig(inner=InnerConfig(weight_decay=0))
    assert whole.train_digest == RunConfig(inner=InnerConfig(weight_decay=0.0)).train_digest


def test_load_config_reads_a_file_and_wraps_what_goes_wrong(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("workers = 3")
    assert load_config(path).workers == 3
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.toml")
    path.write_text("workers = = 3")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(path)
    path.write_text("seed = " + 5000 * "9")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(path)
    path.write_bytes(b"out = '\xff'")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(path)


@pytest.mark.parametrize(
    "chain", [{"max_fee_gwei": 0}, {"max_fee_gwei": -3}, {"confirmations": -2}, {"confirmations": 65}]
)
def test_ways_to_send_that_cannot_be_meant(chain: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        resolve_config({"chain": chain})


def test_ways_to_send_are_no_part_of_the_training_and_survive_the_file() -> None:
    config = resolve_config({"chain": {"max_fee_gwei": 7, "confirmations": 3}})
    assert (config.chain.policy.max_fee_wei, config.chain.policy.confirmations) == (7 * 10**9, 3)
    assert parse_config(config.to_toml()) == config
    assert config.train_digest == RunConfig().train_digest
    assert RunConfig().chain.policy.confirmations is None
