"""Who may import whom, held by import-linter; its contracts are in pyproject.toml."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

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


def floors(contract: dict[str, Any]) -> list[str]:
    """Every module that a contract of layers places, whichever floor it is on."""
    return [module.strip() for layer in contract["layers"] for module in layer.split("|")]


@pytest.fixture
def empty_tree(tmp_path: Path) -> Path:
    """The same packages, with nothing in them; those whose modules are protected have one, `inside`."""
    modules, packages = set(), set(SETTINGS["root_packages"])
    for contract in SETTINGS["contracts"]:
        modules |= {module for module in contract.get("source_modules", []) if "." in module}
        modules |= {f"{folder}.{module}" for folder in contract.get("containers", []) for module in floors(contract)}
        packages |= {pattern.removesuffix(".*") for pattern in contract.get("protected_modules", [])}
        modules |= {pattern.replace("*", "inside") for pattern in contract.get("protected_modules", [])}
    for package in packages:
        folder = tmp_path.joinpath(*package.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
    for module in modules - packages:
        path = tmp_path.joinpath(*module.split("."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    return tmp_path


def test_planted_imports_break_every_contract(empty_tree: Path) -> None:
    """The contracts have power: each of these is found, in its file."""
    planted = {
        "worldmodel/recipe.py": "import planner",
        "planner/model.py": "import worldmodel",
        "planner/sim.py": "import envs",
        "worldmodel/clips.py": "import server",
        "worldmodel/observation.py": "import worldmodel.training",
        "worldmodel/training.py": "import worldmodel.recipes.inside",
        "worldmodel/checkpoint.py": "import h5py",
        "server/service.py": "import envs",
        "server/demo.py": "import server.commands",
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


UPWARDS_IN_WORLDMODEL = {
    "training": "published",
    "checkpoint": "training",
    "inference": "checkpoint",
    "heads": "inference",
    "recipes.inside": "heads",
    "parts": "data",
    "data": "recipes",
    "manifest": "parts",
    "recipe": "manifest",
    "clips": "recipe",
    "observation": "clips",
    "json_values": "observation",
    "errors": "json_values",
}


def test_planted_imports_upwards_and_sideways_in_worldmodel_are_found(empty_tree: Path) -> None:
    """One from each floor."""
    for importer, imported in UPWARDS_IN_WORLDMODEL.items():
        path = empty_tree.joinpath("worldmodel", *importer.split(".")).with_suffix(".py")
        path.write_text(f"import worldmodel.{imported}\n")
    result = lint(empty_tree)
    assert result.returncode == 1 and "1 broken" in result.stdout, result.stdout + result.stderr
    for importer, imported in UPWARDS_IN_WORLDMODEL.items():
        assert f"worldmodel.{importer} -> worldmodel.{imported}" in result.stdout, result.stdout


@pytest.mark.parametrize("importer", ["worldmodel/heads.py", "worldmodel/published.py", "server/commands.py"])
def test_a_recipe_imported_past_the_table_is_found(empty_tree: Path, importer: str) -> None:
    (empty_tree / importer).write_text("from worldmodel.recipes import inside\n")
    result = lint(empty_tree)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{importer.removesuffix('.py').replace('/', '.')} -> worldmodel.recipes.inside" in result.stdout


def test_a_module_of_worldmodel_without_a_floor_is_found(empty_tree: Path) -> None:
    (empty_tree / "worldmodel" / "attic.py").touch()
    result = lint(empty_tree)
    assert result.returncode == 1 and "attic" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("server/benchmark.py", "import server.commands"),
        ("server/evaluation.py", "from server import demo"),
        ("server/engine.py", "import server.service"),
        ("server/schemas.py", "import server.settings\nimport server.validation"),
        ("server/service.py", "import server.transport"),
        ("server/errors.py", "import server.cli"),
        ("server/demo.py", "import server.cli"),
        ("server/planned_policy.py", "import server.evaluation"),
    ],
)
def test_a_planted_import_upwards_is_found(empty_tree: Path, path: str, line: str) -> None:
    (empty_tree / path).write_text(line + "\n")
    result = lint(empty_tree)
    assert result.returncode == 1 and "1 broken" in result.stdout, result.stdout + result.stderr
    imported = line.splitlines()[-1].split()[-1].removeprefix("server.")
    assert f"{path.removesuffix('.py').replace('/', '.')} -> server.{imported}" in result.stdout


def test_a_room_without_a_floor_is_found(empty_tree: Path) -> None:
    (empty_tree / "server" / "attic.py").touch()
    result = lint(empty_tree)
    assert result.returncode == 1 and "attic" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("server.serve", "torch"),
        ("server.cli", "torch"),
        ("server.engine.__main__", "h5py"),
        ("envs", "torch"),
        ("telos", "pydantic"),
    ],
)
def test_a_process_loads_only_what_it_needs(module: str, absent: str) -> None:
    """What import-linter cannot see: `worldmodel` loads its modules when a name is asked for."""
    loaded = f"import {module}, sys; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, check=False).returncode == 0
