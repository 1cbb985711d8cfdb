import json
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from bench.robustness.catalogue import catalogue
from bench.robustness.grid import Choice, plan
from bench.robustness.runner import fill
from tests.trainer.toys import attacked
from trainer.attacks import ATTACKS, attack_named
from trainer.attacks.zero import Zero
from trainer.defences import DEFENCES, defence_named
from trainer.defences.mean import Mean
from trainer.errors import ConfigError
from trainer.plugins import PluginError, find
from trainer.simulate import simulate
from trainer.tasks import TaskSetup, load_task
from trainer.tasks.digits import DigitsMlp

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that announces one plug-in of each kind."""
    found = {
        "hallmark.attacks": EntryPoint("nothing", "trainer.attacks.zero:Zero", "hallmark.attacks"),
        "hallmark.defences": EntryPoint("average", "trainer.defences.mean:Mean", "hallmark.defences"),
        "hallmark.tasks": EntryPoint("numbers", "trainer.tasks.digits:DigitsMlp", "hallmark.tasks"),
    }
    monkeypatch.setattr("trainer.plugins.entry_points", lambda group: (found[group],))


def test_announced_plugins_are_found_and_listed(installed: None) -> None:
    assert isinstance(attack_named("nothing"), Zero)
    assert defence_named("average") is Mean
    assert isinstance(load_task("numbers", TaskSetup(4, "iid", 100, 0)), DigitsMlp)
    listed = catalogue()
    assert "nothing" in listed["attacks"]
    assert "average" in listed["defences"]
    assert "numbers" in listed["tasks"]
    assert simulate(attacked("nothing"), "average").rounds[0].approved == (True,) * 4


def test_built_in_name_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mean", "trainer.defences.krum:Krum", "hallmark.defences")
    monkeypatch.setattr("trainer.plugins.entry_points", lambda **_: (entry,))
    assert defence_named("mean") is Mean


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sign_flap", "unknown attack"),
        ("a:", "unknown attack"),
        ("no_such_module_here:x", "cannot import"),
        ("math:nothing", "no callable"),
        ("math:pi", "no callable"),
    ],
)
def test_name_that_stands_for_nothing_raises(name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        find("attack", name, ATTACKS)


def test_hint_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as raised:
        defence_named("halmark")
    assert "hallmark" in raised.value.hint


@pytest.mark.parametrize("name", ["collections:OrderedDict", "trainer.attacks.zero:Zero"])
def test_class_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no"):
        defence_named(name)
    with pytest.raises(ConfigError, match="is no"):
        attack_named("collections:OrderedDict")


def test_example_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mine.py").write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        cells = plan(
            Choice(
                splits=["iid"], attacks=["mine:Mirror"], defences=["mine:NearestHalf"], seeds=[0], rounds=2
            )
        )
        (row,) = fill(cells, tmp_path, 1, lambda _: None)
    finally:
        sys.modules.pop("mine", None)
    assert row["attack"] == "mine:Mirror"
    assert row["malicious_refused"] is not None
    assert np.isclose(row["honest_refused"] * 6 + row["malicious_refused"] * 4, 5, atol=1e-3)
    assert json.loads((tmp_path / "results.jsonl").read_text()) == row


def test_every_built_in_defence_has_its_own_name() -> None:
    assert {name: policy.name for name, policy in DEFENCES.items()} == {name: name for name in DEFENCES}
