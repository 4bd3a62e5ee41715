"""What must not go wrong, measured in one run: every reliability test, slow ones too, and the load benchmarks.

    python benchmarks/reliability.py --out benchmarks/results/reliability.json

Takes about an hour on two cores and wants them for itself. A test of the plan that left no row has failed.
"""

import argparse
import dataclasses
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from server.benchmark.targets import Row
from server.provenance import provenance

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
"""What must have a row, by number. 12 wants a GPU; 21 is `make soak`."""

DEVICE_MS = "20"
"""What a plan takes of the scripted device that is overloaded: fifty plans a second, whatever the machine."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="without what is slow: minutes, and no figure to publish")
    arguments = parser.parse_args()
    rows = [row for part in gather(arguments.out.parent, quick=arguments.quick) for row in part["tests"]]
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


def gather(folder: Path, *, quick: bool) -> Iterator[Mapping[str, Any]]:
    """What every part reports, one after the other: they would disturb each other's figures."""
    with tempfile.TemporaryDirectory() as temporary:
        yield run(pytest_command(quick=quick), Path(temporary) / "tests.json")
    for name, command in () if quick else benchmarks().items():
        yield run(command, folder.absolute() / f"{name}.json")


def pytest_command(*, quick: bool) -> list[str]:
    everything = ["-m", "not gpu", "--timeout", "1800"] if not quick else []
    return ["-m", "pytest", *everything, "tests/reliability", "--reliability-report"]


def benchmarks() -> dict[str, list[str]]:
    """By the name of the JSON file that each leaves beside the report."""
    service = ["-m", "server.cli", "benchmark", "service"]
    overload = ["--planner-cost", DEVICE_MS, "--rates", "10", "20", "30", "40", "50"]
    return {
        "service-overhead": [*service, "--planner-cost", "zero", "--out"],
        "service-overload": [*service, *overload, "--out"],
        "robot-in-the-loop": ["-m", "benchmarks.robot_in_the_loop", "--out"],
    }


def run(command: list[str], report: Path) -> Mapping[str, Any]:
    """A part in a process of its own. When it dies without a report, its rows are missing, and that is a failure."""
    sys.stderr.write(f"{' '.join(command)}\n")
    report.unlink(missing_ok=True)
    subprocess.run([sys.executable, *command, str(report)], cwd=ROOT, check=False)
    return json.loads(report.read_text(encoding="utf-8")) if report.exists() else {"tests": []}


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
