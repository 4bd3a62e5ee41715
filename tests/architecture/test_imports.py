"""Who may import whom, held by import-linter; its contracts are in pyproject.toml."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_every_contract_is_kept() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(SETTINGS['contracts'])} kept, 0 broken" in result.stdout


@pytest.fixture
def empty_tree(tmp_path: Path) -> Path:
    """The same packages, with nothing in them."""
    modules = set(SETTINGS["root_packages"])
    for contract in SETTINGS["contracts"]:
        modules |= {module for module in contract.get("source_modules", []) if "." in module}
    for module in modules:
        path = tmp_path.joinpath(*module.split("."))
        if "." in module:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".py").touch()
        else:
            path.mkdir(parents=True, exist_ok=True)
            (path / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    return tmp_path


def test_planted_imports_break_every_contract(empty_tree: Path) -> None:
    """The contracts have power: each of these is found, in its file."""
    planted = {
        "worldmodel/goal.py": "import planner",
        "planner/model.py": "import worldmodel",
        "planner/sim.py": "import envs",
        "worldmodel/api.py": "import server",
        "server/service.py": "import envs",
        "server/serve.py": "import torch",
        "server/engine.py": "import h5py",
        "telos/client.py": "import worldmodel",
        "envs/policy.py": "import torch",
    }
    for path, line in planted.items():
        (empty_tree / path).write_text(line + "\n")
    result = lint(empty_tree)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"0 kept, {len(SETTINGS['contracts'])} broken" in result.stdout
    for path in planted:
        assert path.removesuffix(".py").replace("/", ".") in result.stdout, path
