"""`telos benchmark planning` measures what it says, and says what it measured."""

import json
from pathlib import Path

import pytest
import torch

from planner.protocols import RolloutModel
from server.benchmark import machine
from server.benchmark.models import REFERENCE, random_models, rollout_flops
from server.benchmark.planning import PUBLISHED, SEARCHES
from server.cli import main


@pytest.fixture(autouse=True)
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SIDES", (64,))


def test_one_run_measures_reference_and_fast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = [
        "--recipes",
        "small",
        "--presets",
        "fast",
        "--robots",
        "1",
        "2",
        "--plans",
        "1",
        "--iterations",
        "1",
    ]
    assert main(["benchmark", "planning", *quick, "--json", "--out", str(tmp_path / "planning.json")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "planning.json").read_text())
    assert result["speedup_over_reference"].keys() == {"float32", "bfloat16"}
    assert {(row["preset"], row["robots"], row["model"], row["dtype"]) for row in result["rows"]} == {
        ("fast", robots, model, dtype)
        for robots in (1, 2)
        for model, dtype in ((REFERENCE, "float32"), ("fast", "float32"), ("fast", "bfloat16"))
    }
    for gains in (result["speedups"], result["plans_of_most_robots_over_fewest"]):
        assert gains.keys() == {"small fast"}
        assert all(ratio > 0 for of_case in gains.values() for ratio in of_case.values())
    assert {"command", "commit", "versions", "machine"} <= result.keys()
    assert {"device", "threads", "cpu_flags", "compiled"} <= result["machine_used"].keys()
    for row in result["rows"]:
        assert 0 < row["plan_ms"]["p50"] <= row["plan_ms"]["p95"]
        assert row["candidates_per_s"] > 0 and row["gflops"] > 0


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["benchmark", "planning", "--recipes", "small", "--presets", "fast", "--robots", "1", "--plans", "2"]) == 0
    )
    shown = capsys.readouterr().out
    assert "reference" in shown and "small fast: fast over reference" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipes", "giant"], "giant: not known; choose from paper, small"),
        (["--presets", "best"], "best: not known; choose from 300x30, fast, default, thorough"),
        (["--robots", "0"], "must be at least 1"),
        pytest.param(
            ["--device", "cuda"],
            "no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_what_cannot_be_measured(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "planning", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_both_models_fit_the_planner() -> None:
    assert all(isinstance(each.world_model, RolloutModel) for each in random_models("small", "cpu").values())


def test_arithmetic_is_counted_as_the_analysis_has_it() -> None:
    """Published model, one context frame, five steps: 0.139 GMAC a candidate plainly, 0.092 with exact savings."""
    plain, fast = (rollout_flops("paper", SEARCHES[PUBLISHED], name) / 2e9 for name in (REFERENCE, "float32"))
    assert plain == pytest.approx(0.139, abs=0.002)
    assert fast == pytest.approx(0.090, abs=0.003)
