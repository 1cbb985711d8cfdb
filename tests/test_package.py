"""What an installed package needs is in it."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("guard", "ledger", "trainer", "bench", "cli")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_compiled_contract_is_package_data() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["contracts"]
    packed = {path for pattern in patterns for path in (ROOT / "contracts").glob(pattern)}
    assert packed == set((ROOT / "contracts" / "artifacts").rglob("*.json"))


def test_packages_import_nothing_that_only_developers_have() -> None:
    extras = PROJECT["project"]["optional-dependencies"]["dev"]
    banned = {"tests", "byzfl", *(re.split(r"[^A-Za-z0-9_-]", name)[0].replace("-", "_") for name in extras)}
    assert "pytest" in banned
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module or "")
            found = {name.split(".")[0] for name in names} & banned
            assert not found, f"{path.relative_to(ROOT)} imports {found}"
