"""The source files of the five packages, for every check that reads them."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("telos", "worldmodel", "planner", "envs", "server")
GENERATED = {ROOT / "telos" / "wire", ROOT / "server" / "engine" / "wire"}
FILES = [
    path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if path.parent not in GENERATED
]


def name_of(path: Path) -> str:
    """The file's path from the root of the repository."""
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
