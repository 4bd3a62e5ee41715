"""What is true of every source file."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import FILES, PACKAGES, ROOT, name_of, tree_of

LONGEST = 400
DOCUMENTED = ("worldmodel", "planner")
RUN_DATA = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
"""Modules whose way of reading can run what it reads."""
OPENS_PICKLES = "worldmodel/published/lewm.py"
"""Published LeWorldModel weights are a pickle: the importer alone may open one, and only with `weights_only=True`."""


@pytest.fixture(params=FILES, ids=name_of)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def dangerous(tree: ast.Module) -> Iterator[str]:
    """What could run data as code."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (f"import {alias.name}" for alias in names if alias.name.split(".")[0] in RUN_DATA)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in RUN_DATA:
                yield f"from {module}"
            case ast.ImportFrom(module="torch", names=names) if any(alias.name == "load" for alias in names):
                yield "from torch import load"
            case ast.Call(func=ast.Name(id="eval" | "exec" | "compile" | "__import__" as called)):
                yield f"{called}("
            case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
                yield "torch.load"
            case ast.keyword(arg="weights_only", value=value) if not is_true(value):
                yield "weights_only=False"
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                yield "allow_pickle=True"
            case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                yield "shell=True"


def is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def test_nothing_runs_data_as_code(path: Path) -> None:
    allowed = ["torch.load"] if name_of(path) == OPENS_PICKLES else []
    assert list(dangerous(tree_of(path))) == allowed


def test_the_one_pickle_is_opened_for_tensors_only() -> None:
    calls = [node for node in ast.walk(tree_of(ROOT / OPENS_PICKLES)) if isinstance(node, ast.Call)]
    (load,) = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    assert any(keyword.arg == "weights_only" and is_true(keyword.value) for keyword in load.keywords)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import pickle as data",
        "from dill import load",
        "from torch import load",
        "torch.load(path)",
        "load = torch.load",
        "torch_load(path, weights_only=False)",
        "eval('1')",
        "exec(code)",
        "__import__(name)",
        "numpy.load(path, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_the_check_above_has_eyes(line: str) -> None:
    assert list(dangerous(ast.parse(line)))


def test_the_check_above_lets_evaluation_mode_pass() -> None:
    assert not list(dangerous(ast.parse("model.eval()\nre.compile('x')\ntorch.compile(model)")))


def test_files_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{name_of(path)} has {lines} lines; split it by idea"


def test_a_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), f"{name_of(path)} has no docstring"


def test_a_files_name_says_what_it_holds(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "misc", "common", "tools"}


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_listed(package: str) -> None:
    """A list of public names that nobody checks ends up naming what is not there."""
    module = importlib.import_module(package)
    listed = getattr(module, "__all__", [])
    assert len(set(listed)) == len(listed)
    assert all(hasattr(module, name) for name in listed)
    imported = {
        alias.asname or alias.name
        for node in tree_of(ROOT / package / "__init__.py").body
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package
        for alias in node.names
    }
    assert imported <= set(listed), f"{package}/__init__.py imports what its __all__ does not list"


def public_without_docstring(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("_") or node.name == "forward":
                continue
            if not ast.get_docstring(node):
                yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from public_without_docstring(node.body, f"{prefix}{node.name}.")


@pytest.mark.parametrize("path", [path for path in FILES if name_of(path).startswith(DOCUMENTED)], ids=name_of)
def test_what_is_public_has_a_docstring(path: Path) -> None:
    assert list(public_without_docstring(tree_of(path).body)) == []
