"""What the documents promise is true."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import COMMANDS, hallmark
from trainer.config import resolve_config
from trainer.simulate import simulate

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def test_task_of_the_document_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tasks.md").read_text(), re.DOTALL)
    (tmp_path / "blobs.py").write_text(code[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    table = {"task": "blobs:Blobs", "workers": 4, "rounds": 3, "inner": {"steps": 5, "lr": 0.05}}
    result = simulate(resolve_config(table), "mean")
    assert result.final.value > 0.85


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_options_in_documents_exist(path: Path) -> None:
    for line in re.findall(r"^\s*(?:PYTHONPATH=\S+ )?hallmark ([a-z].*)$", path.read_text(), re.MULTILINE):
        words = line.split("#")[0].split()
        assert words[0] in COMMANDS, line
        help_path = words[:2] if words[0] in ("chain", "bench") else words[:1]
        shown = CliRunner().invoke(hallmark, [*help_path, "--help"]).output
        for option in (word for word in words if word.startswith("-")):
            assert option in shown, f"{line}: no {option}"


def test_tests_that_show_a_rule_exist() -> None:
    sources = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "contracts" / "assurance").glob("*.t.sol")]
    pattern = r"\b(?:def|function) ((?:test|testFuzz|check|invariant)_\w+)\("
    existing = {name for path in sources for name in re.findall(pattern, path.read_text())}
    named = re.findall(
        r"`((?:test|testFuzz|check|invariant)_\w+)`", (ROOT / "docs" / "security.md").read_text()
    )
    assert len(set(named)) > 50
    assert set(named) <= existing, sorted(set(named) - existing)


def test_every_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert block
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    for name in re.findall(r'"([A-Za-z0-9_-]+)', block[1]):
        assert f"| {name} |" in reasons, f"{name} has no line in docs/dependencies.md"
