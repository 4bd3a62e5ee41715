"""By which names packages enter each other: `worldmodel` by its public names, a recipe by the table of recipes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import FILES, ROOT, name_of, tree_of

OUTSIDE = [path for folder in ("benchmarks", "examples") for path in sorted((ROOT / folder).rglob("*.py"))]
TABLE = "worldmodel/recipes/"
RECIPES = frozenset(path.stem for path in (ROOT / TABLE).glob("*.py") if path.stem != "__init__")


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module or name that a file imports, in full; `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def through_the_wall(tree: ast.Module) -> list[str]:
    """What a file takes from inside `worldmodel`, past its public names."""
    inside = [name for name in imported(tree) if name.startswith("worldmodel.")]
    return [name for name in inside if name.count(".") > 1 or is_module(name)]


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def recipes_named(tree: ast.Module) -> list[str]:
    """Modules of recipes that a file imports, or imports from."""
    parts = [name.split(".") for name in imported(tree)]
    return [".".join(each) for each in parts if each[:2] == ["worldmodel", "recipes"] and RECIPES & set(each[2:3])]


@pytest.mark.parametrize(
    "path", [path for path in FILES + OUTSIDE if not name_of(path).startswith("worldmodel/")], ids=name_of
)
def test_worldmodel_is_imported_by_its_public_names(path: Path) -> None:
    """`from worldmodel import X`; tests alone may look inside."""
    assert through_the_wall(tree_of(path)) == []


@pytest.mark.parametrize("path", [path for path in FILES + OUTSIDE if TABLE not in name_of(path)], ids=name_of)
def test_a_recipe_is_found_through_the_table(path: Path) -> None:
    assert recipes_named(tree_of(path)) == []


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("from worldmodel import Checkpoint, load_checkpoint", False),
        ("import worldmodel", False),
        ("from worldmodel.checkpoint import load_checkpoint", True),
        ("from worldmodel import checkpoint", True),
        ("import worldmodel.parts.attention", True),
        ("def f():\n    from worldmodel.recipe import Recipe", True),
        ("from worldmodel import recipes", True),
    ],
)
def test_the_wall_has_eyes(line: str, seen: bool) -> None:
    assert bool(through_the_wall(ast.parse(line))) == seen


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("from worldmodel.recipes import RECIPES", False),
        ("from worldmodel.recipe import Recipe", False),
        ("from worldmodel.recipes.lewm import LeWM", True),
        ("from worldmodel.recipes import lewm", True),
        ("import worldmodel.recipes.lewm as recipe", True),
    ],
)
def test_the_table_has_eyes(line: str, seen: bool) -> None:
    assert bool(recipes_named(ast.parse(line))) == seen
