"""How large things may be: arguments of a function, lines of a function, files in a room."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import FILES, ROOT, name_of, tree_of

MOST_PARAMETERS = 8
LONGEST_MEDIAN = 7
"""Lines of a function, from `def` to its last line, docstring included."""
MOST_FILES_AT_THE_ROOT = 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions_of(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def parameters_of(function: Function) -> list[str]:
    """Everything that a caller may give: without self and cls, `*args` and `**kwargs` as one each."""
    given = function.args
    listed = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [each.arg for each in listed if each is not None and each.arg not in ("self", "cls")]


def crowded(tree: ast.Module) -> Iterator[str]:
    for function in functions_of(tree):
        if (count := len(parameters_of(function))) > MOST_PARAMETERS:
            yield f"{function.name}, line {function.lineno}: {count} parameters"


def lines_of(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_function_has_few_parameters(path: Path) -> None:
    """More than a few belong together: give them a frozen dataclass, which may have as many fields as it needs."""
    assert list(crowded(tree_of(path))) == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def f(a, b, c, d, e, f, g, h): ...", 0),
        ("class C:\n    def f(self, a, b, c, d, e, f, g, h): ...", 0),
        ("def f(a, b, c, d, e, f, g, h, i): ...", 1),
        ("async def f(a, b, c, d, /, e, f, *, g, h, i): ...", 1),
        ("def f(a, b, c, d, e, f, g, *h, **i): ...", 1),
        ("def f():\n    def inner(a, b, c, d, e, f, g, h, i): ...", 1),
    ],
)
def test_the_check_above_has_eyes(source: str, count: int) -> None:
    assert len(list(crowded(ast.parse(source)))) == count


def test_functions_are_short() -> None:
    lengths = {
        f"{name_of(path)}:{function.lineno} {function.name}": lines_of(function)
        for path in FILES
        for function in functions_of(tree_of(path))
    }
    median = statistics.median(lengths.values())
    longest = "\n".join(f"{lengths[name]:4} {name}" for name in sorted(lengths, key=lengths.__getitem__)[:-16:-1])
    assert median <= LONGEST_MEDIAN, (
        f"the median of {len(lengths)} functions is {median} lines; the longest:\n{longest}"
    )


def test_the_root_of_worldmodel_is_small() -> None:
    """What has a room lives in it; a file at the root is for what every room needs."""
    files = sorted(path.name for path in (ROOT / "worldmodel").iterdir() if path.is_file())
    assert len(files) <= MOST_FILES_AT_THE_ROOT, f"{len(files)} files at the root of worldmodel: {', '.join(files)}"
