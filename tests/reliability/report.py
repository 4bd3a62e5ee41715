"""What a reliability test measured, kept for the report that `make reliability` writes.

A test says which row of the plan it belongs to, and measures against its target:

    pytestmark = pytest.mark.reliability(11)

    def test_the_engine_comes_back(measure: Measure) -> None:
        ...
        measure("ready again after kill -9, worst of 50", worst_s, at_most=5.0, unit="s")

`measure` keeps the figure and then fails the test when it misses the target. A test that measures nothing counts as a
row too: how many of its cases passed. What takes long is `@pytest.mark.slow`, which pytest leaves out unless it is
told `-m ""`; give such a test a small sibling that `make test` runs. Rows are written with
`--reliability-report FILE`, and `--reliability NUMBER` leaves all other tests out; a test that is skipped or dies
before it measured has not passed.
"""

import dataclasses
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Protocol

import pytest

from server.benchmark.targets import Row, judge

_TEST = "reliability test"
_ROW = "reliability row"


class Measure(Protocol):
    def __call__(
        self,
        name: str,
        measured: float,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        unit: str = "",
    ) -> None:
        """Keep a figure, then fail the test unless it is on target."""


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Measure:
    marker = request.node.get_closest_marker("reliability")
    assert marker is not None, "a test that measures says which one it is: @pytest.mark.reliability(number)"

    def measured_against_target(name: str, measured: float, **target: Any) -> None:
        row = judge(marker.args[0], name, measured, **target)
        request.node.user_properties.append((_ROW, dataclasses.asdict(row)))
        assert row.passed, str(row)

    return measured_against_target


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability-report", type=Path, metavar="FILE", help="JSON of what reliability tests measured")
    parser.addoption(
        "--reliability", type=int, action="append", metavar="NUMBER", help="only tests of this row; may be repeated"
    )


def pytest_configure(config: pytest.Config) -> None:
    path: Path | None = config.getoption("--reliability-report")
    if path is not None:
        config.pluginmanager.register(Report(path))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    numbers: list[int] | None = config.getoption("--reliability")
    if numbers is not None:
        others = [item for item in items if _number(item) not in numbers]
        items[:] = [item for item in items if _number(item) in numbers]
        config.hook.pytest_deselected(items=others)


def pytest_itemcollected(item: pytest.Item) -> None:
    number = _number(item)
    if number is not None:
        item.user_properties.append((_TEST, number))


class Report:
    """Gathers rows while tests run, and writes them when the session ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._measured: list[Row] = []
        self._cases: dict[tuple[int, str], list[str]] = defaultdict(list)
        """By test number and name: why each case did not pass, empty for one that did."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties: dict[str, Any] = dict(report.user_properties)
        if _TEST not in properties or (report.when != "call" and report.passed):
            return
        kept: list[tuple[str, Any]] = report.user_properties
        rows = [Row(**value) for name, value in kept if name == _ROW]
        if report.when == "call":
            self._measured += rows
        if not rows or (not report.passed and all(row.passed for row in rows)):
            self._cases[properties[_TEST], _name(report.nodeid)].append(_failure(report))

    def pytest_sessionfinish(self) -> None:
        cases = [_counted(number, name, failures) for (number, name), failures in self._cases.items()]
        rows = sorted([*self._measured, *cases], key=lambda row: row.id)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps({"tests": [dataclasses.asdict(row) for row in rows]}, indent=1) + "\n")


def _number(item: pytest.Item) -> int | None:
    """Its row of the plan."""
    marker = item.get_closest_marker("reliability")
    return None if marker is None else marker.args[0]


def _counted(number: int, name: str, failures: list[str]) -> Row:
    good, all_of_them = failures.count(""), len(failures)
    reason = next((f": {failure}" for failure in failures if failure), "")
    measured = f"{good} of {all_of_them}{reason}"
    return Row(id=number, name=name, target="every case passes", measured=measured, passed=good == all_of_them)


def _failure(report: pytest.TestReport) -> str:
    if report.passed:
        return ""
    if report.skipped:
        return "not run"
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message.splitlines()[0] if crash else f"failed in {report.when}"


def _name(nodeid: str) -> str:
    """`tests/x.py::test_a_b[case]` as words: `a b`."""
    return nodeid.split("[")[0].split("::")[-1].removeprefix("test_").replace("_", " ")
