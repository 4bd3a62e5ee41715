"""Published rates are those of the result files beside them, and of test pairs, which no choice has seen."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PUBLISHED = [ROOT / "README.md", ROOT / "docs" / "results.md"]
OTHERS = sorted(
    {*(ROOT / "docs").glob("*.md"), ROOT / "checkpoints" / "README.md", ROOT / "DECISIONS.md"} - {*PUBLISHED}
)
RATE = r"\*\*([\d.]+) %\*\* \(([\d.]+) to ([\d.]+)\)"
README_ROW = re.compile(rf"^\|[^|]*\| `(\w[\w-]*)-lewm` \| {RATE}", re.MULTILINE)


def evaluation(name: str) -> dict[str, Any] | None:
    """A result of `telos evaluate`; None where the file is of another command."""
    result = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return result if "split" in result else None


def named_results(text: str) -> set[str]:
    """Result files that a text links, names, or tells a command to write."""
    names = set(re.findall(r"([\w-]+\.json)\b", text))
    return {name for name in names if (RESULTS / name).exists()}


@pytest.mark.parametrize("page", PUBLISHED, ids=lambda page: page.name)
def test_published_rates_are_of_test_pairs(page: Path) -> None:
    for name in named_results(page.read_text(encoding="utf-8")):
        result = evaluation(name)
        assert result is None or result["split"] == "test", f"{name} is of {result['split']} pairs"  # type: ignore[index]


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.name)
def test_a_section_with_rates_of_development_pairs_says_so(page: Path) -> None:
    introduction, *sections = re.split(r"^(?=## )", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for section in sections:
        of_development = [name for name in named_results(section) if (evaluation(name) or {}).get("split") != "test"]
        if any(evaluation(name) for name in of_development):
            assert "development pairs" in introduction + section, f"{section.splitlines()[0]}: {of_development}"


def test_readme_has_the_rates_of_the_result_files() -> None:
    rows = README_ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {row[0] for row in rows} == {"tworoom", "reacher", "cube", "cube-sensors", "pusht"}
    for task, *published in rows:
        result = evaluation(f"{task}-offset25.json")
        assert result is not None and result["episodes"] >= 600 and len(result["seeds"]) >= 3
        measured = [
            [f"{100 * value:.1f}" for value in (result[f"{rule}success_rate"], *result[f"{rule}ci95"])]
            for rule in ("", "whole_")
        ]
        assert [f"{float(value):.1f}" for value in published] in measured, f"{task}: {published} is not in {measured}"
