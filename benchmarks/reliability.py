"""Reliability, measured in one run: every reliability test, slow ones too, and the load benchmarks.

    python -m benchmarks.reliability --out benchmarks/results/reliability.json

Takes about three quarters of an hour on two cores and wants them for itself. `--only` measures some numbers of the plan
again and keeps the other rows as they were; each says at which commit it was measured. A number without a row has
failed.
"""

import argparse
import dataclasses
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from server.benchmark.targets import Row
from server.provenance import git_commit, provenance

ROOT = Path(__file__).resolve().parent.parent

PLAN = {
    1: "hostile requests by the OpenAPI description",
    2: "hostile HTTP",
    3: "hostile gRPC",
    4: "hostile images",
    5: "numbers that are not finite, and limits",
    6: "the way there and back",
    7: "overload",
    8: "deadline storm",
    9: "cancelled and gone",
    10: "slow clients",
    11: "a killed, stopped or crashed engine",
    13: "memory",
    14: "corrupt checkpoints",
    15: "models swapped under load",
    16: "sessions",
    17: "determinism",
    18: "clocks that jump",
    19: "a network that fails",
    20: "stopping",
    22: "security",
    23: "one answer on every transport",
    24: "a robot in the loop",
}
"""Numbers of the tests that must have a row. 12 wants a GPU; 21 is `make soak`."""

DEVICE_MS = "20"
"""Time of a plan on the scripted device that is overloaded: fifty plans a second on any machine."""
_SERVICE = ["server.cli", "benchmark", "service"]
BENCHMARKS = {
    "service-overhead": (6, [*_SERVICE, "--planner-cost", "zero", "--out"]),
    "service-overload": (7, [*_SERVICE, "--planner-cost", DEVICE_MS, "--rates", "30", "40", "50", "--out"]),
    "robot-in-the-loop": (24, ["benchmarks.robot_in_the_loop", "--out"]),
}
"""By the name of the JSON file that each leaves beside ours: number in the plan, module with its arguments."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", type=int, nargs="+", choices=tuple(PLAN), default=tuple(PLAN), metavar="NUMBER")
    arguments = parser.parse_args()
    numbers = tuple(arguments.only)
    before = json.loads(arguments.out.read_text(encoding="utf-8"))["tests"] if arguments.out.exists() else []
    commit = git_commit()
    rows = [row for row in before if row["id"] not in numbers]
    rows += [row | {"commit": commit} for row in measured(numbers, arguments.out.parent.absolute())]
    rows += [dataclasses.asdict(row) for row in missing(rows)]
    rows.sort(key=lambda row: row["id"])
    result = {
        **provenance(),
        "command": shlex.join(["python", *sys.argv]),
        "passed": sum(row["passed"] for row in rows),
        "failed": sum(not row["passed"] for row in rows),
        "tests": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(table(rows))
    return 1 if result["failed"] else 0


def measured(numbers: Sequence[int], folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the plan's `numbers`: of the tests, then of each benchmark."""
    only = [f"--reliability={number}" for number in numbers]
    tests = ["pytest", "-m", "not gpu", "--timeout", "1800", "tests/reliability", *only, "--reliability-report"]
    with tempfile.TemporaryDirectory() as temporary:
        yield from run(tests, Path(temporary) / "tests.json")
    for name, (number, command) in BENCHMARKS.items():
        if number in numbers:
            yield from run(command, folder / f"{name}.json")


def run(command: list[str], report: Path) -> list[dict[str, Any]]:
    """Rows of a module in a process of its own: they would disturb each other's figures.

    When it dies without a report, its rows are missing, and that is a failure.
    """
    command = ["-m", *command, str(report)]
    sys.stderr.write(f"{shlex.join(command)}\n")
    report.unlink(missing_ok=True)
    subprocess.run([sys.executable, *command], cwd=ROOT, check=False)
    return json.loads(report.read_text(encoding="utf-8"))["tests"] if report.exists() else []


def missing(rows: list[dict[str, Any]]) -> list[Row]:
    there = {row["id"] for row in rows}
    wanted = PLAN.items()
    return [
        Row(id=number, name=name, target="is measured", measured="no test", passed=False)
        for number, name in wanted
        if number not in there
    ]


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'':>3}  {'':<4}  {'measured':<24}{'target':<24}"]
    for row in rows:
        verdict = "ok" if row["passed"] else "FAIL"
        lines.append(f"{row['id']:>3}  {verdict:<4}  {row['measured']:<24}{row['target']:<24}{row['name']}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
