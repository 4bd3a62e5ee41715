"""The report tells what happened: also of what failed, was skipped, or never came to measure."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.benchmark.targets import judge
from tests.server.test_serve import ROOT

TESTS = """
import numpy
import pytest

pytestmark = pytest.mark.reliability(7)

def test_on_target(measure):
    measure("latency", 3.0, at_most=5.0, unit="ms")
    measure("goodput", numpy.float64(0.95), at_least=0.9)

def test_off_target(measure):
    measure("errors", 2, at_most=0)

def test_dies_before_it_measured(measure):
    raise RuntimeError("boom")

def test_dies_after_it_measured(measure):
    measure("restarts", 1, at_least=1)
    raise RuntimeError("bang")

@pytest.mark.parametrize("case", range(3))
def test_without_figures(case):
    assert case < 2

@pytest.mark.skip
def test_left_out(measure):
    measure("nothing", 0, at_most=0)

@pytest.fixture
def broken():
    raise RuntimeError("no set-up")

def test_without_its_fixture(broken):
    pass

@pytest.mark.reliability(9)
def test_of_another_row():
    pass
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a test session of its own."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "test_planted.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = reliability(number)\n")
    return folder


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return reported(folder)


def reported(folder: Path, *options: str) -> dict[str, dict[str, Any]]:
    """Rows by name."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.reliability.report", "-c", str(folder / "pytest.ini")]
    report = folder / "report.json"
    command = [*command, *options, "--reliability-report", str(report), str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    return {row["name"]: row for row in json.loads(report.read_text())["tests"]}


@pytest.mark.parametrize(
    ("name", "number", "target", "measured", "passed"),
    [
        ("latency", 7, "≤ 5 ms", "3 ms", True),
        ("goodput", 7, "≥ 0.9", "0.95", True),
        ("errors", 7, "≤ 0", "2", False),
        ("dies before it measured", 7, "every case passes", "0 of 1: RuntimeError: boom", False),
        ("restarts", 7, "≥ 1", "1", True),
        ("dies after it measured", 7, "every case passes", "0 of 1: RuntimeError: bang", False),
        ("without figures", 7, "every case passes", "2 of 3: assert 2 < 2", False),
        ("left out", 7, "every case passes", "0 of 1: not run", False),
        ("without its fixture", 7, "every case passes", "0 of 1: RuntimeError: no set-up", False),
        ("of another row", 9, "every case passes", "1 of 1", True),
    ],
)
def test_every_test_has_its_row(
    rows: dict[str, dict[str, Any]], name: str, number: int, target: str, measured: str, passed: bool
) -> None:
    assert rows[name] == {"id": number, "name": name, "target": target, "measured": measured, "passed": passed}


def test_nothing_else_is_reported(rows: dict[str, dict[str, Any]]) -> None:
    assert len(rows) == 10


def test_some_rows_alone(folder: Path) -> None:
    assert set(reported(folder, "--reliability", "9")) == {"of another row"}


def test_targets() -> None:
    assert not judge(1, "drift", float("nan"), at_most=1.0).passed
    assert judge(1, "both sides", 2, at_least=2, at_most=2).target == "= 2"
    assert judge(1, "between", 2, at_least=1, at_most=3, unit="s").target == "≥ 1 s and ≤ 3 s"
    with pytest.raises(ValueError, match="no target"):
        judge(1, "aimless", 1.0)
