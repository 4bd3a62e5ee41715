"""A simulated robot in real time, whose plans come late (24). The curve is made by benchmarks/robot_in_the_loop.py."""

import shutil
from pathlib import Path

import pytest

from benchmarks.robot_in_the_loop import DelayedPlanner, measure, rows
from tests.reliability.report import Measure
from tests.server.live import serving, settings_for
from tests.server.test_serve import ROOT
from tests.tiny import write_tiny_checkpoint

pytestmark = [pytest.mark.reliability(24), pytest.mark.alone]


def run(checkpoints: Path, model: str, delays_ms: list[int], episodes: int) -> dict[tuple[str, int], dict[str, float]]:
    with serving(settings_for(checkpoints)) as live:
        with DelayedPlanner(f"http://127.0.0.1:{live.running.http_port}", timeout_s=3.0) as planner:
            curve = measure(planner, model, "fast", delays_ms, episodes, seed=0)
    return {(point["way"], point["delay_ms"]): point for point in curve}


@pytest.mark.slow
def test_a_late_plan_costs_steps_and_nothing_else(tmp_path: Path) -> None:
    """A model that learned nothing: what is checked is who holds, and for how long."""
    write_tiny_checkpoint(tmp_path, task="telos/TwoRoom-v0")
    curve = run(tmp_path, "tiny-lewm", [150], episodes=1)
    assert curve["stopped", 0]["held_steps_mean"] == 0
    assert 5 <= curve["committed", 150]["held_steps_mean"] < 25
    assert 1 <= curve["uncommitted", 150]["held_steps_mean"] < 25


def test_the_rows_hold_committed_plans_against_a_world_that_waits() -> None:
    point = {"way": "committed", "delay_ms": 100, "success_rate": 0.8}
    still = {"way": "stopped", "delay_ms": 0, "success_rate": 0.9}
    good, bad = rows([still, point, point | {"success_rate": 0.7}, point | {"way": "uncommitted", "success_rate": 0.1}])
    assert (good.passed, bad.passed) == (True, False)


@pytest.mark.slow
def test_a_trained_model_reaches_its_goals_with_late_plans(tmp_path: Path, measure: Measure) -> None:
    shutil.copytree(ROOT / "checkpoints" / "tworoom-lewm", tmp_path / "tworoom-lewm")
    curve = run(tmp_path, "tworoom-lewm", [200], episodes=10)
    measure("10 episodes, plans 200 ms late, committed: success", curve["committed", 200]["success_rate"], at_least=0.6)
