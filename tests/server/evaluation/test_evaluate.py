"""The evaluation, end to end, with a model that knows nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from envs import env_class
from server.cli import main
from server.evaluation.agents import NoOpAgent
from server.evaluation.episode import run_episode
from server.evaluation.protocols import StartAndGoal
from telos.replies import ActionInfo
from tests.tiny import write_tiny_checkpoint

ACTION = ActionInfo(
    names=("x", "y"), units=("m/s", "m/s"), low=(-1.0, -1.0), high=(1.0, 1.0), dt_ms=100, control_steps=5
)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_tiny_checkpoint(folder, task="telos/TwoRoom-v0")
    return folder


def _evaluate(checkpoints: Path, out: Path) -> dict:
    command = ["evaluate", "--model", "tiny-lewm", "--checkpoints", str(checkpoints), "--episodes", "3", "--quiet"]
    assert main([*command, "--preset", "fast", "--seed", "5", "--out", str(out)]) == 0
    return json.loads(out.read_text())


def test_the_result_says_everything_and_repeats(checkpoints: Path, tmp_path: Path):
    first, again = (_evaluate(checkpoints, tmp_path / name) for name in ("a.json", "b.json"))
    assert {
        "success_rate",
        "ci95",
        "tight_success_rate",
        "tight_ci95",
        "whole_success_rate",
        "whole_ci95",
        "random_success_rate",
        "noop_success_rate",
        "commit",
        "versions",
    } <= set(first)
    assert first["protocol"] == "offset25" and first["budget_steps"] == 50 and first["episodes"] == 3
    assert set(first["plan_latency_ms"]) == {"p50", "p95"}
    assert first["success_rate"] == np.mean([row["success"] for row in first["rows"]]).round(4)
    for ours, theirs in zip(first["rows"], again["rows"], strict=True):
        del ours["plan_latencies_ms"], theirs["plan_latencies_ms"]
        assert ours == theirs


def _scripted(actions: list[list[float]]):
    class Scripted(NoOpAgent):
        def act(self, image: np.ndarray) -> np.ndarray:
            return np.tile(actions.pop(0), (5, 1))

    return lambda goal: Scripted(ACTION)


def test_success_is_at_any_step_and_the_end_is_told_apart():
    """Drive over the goal and on: reached, but not at the end."""
    env = env_class("telos/TwoRoom-v0")(image_size=32)
    start, goal = np.array([-0.8, -0.8, 0, 0]), np.array([-0.8, -0.4, 0, 0])
    pair = StartAndGoal(episode=0, first_step=0, start=start, goal=goal, excluded_before=0)
    over = run_episode(env, pair, 15, _scripted([[0, 1], [0, 1], [0, 1]]))
    assert over.success and not over.success_at_end
    assert over.steps_to_success in (3, 4)  # 0.4 m at 1 m/s and 0.1 s a step, within 0.14 m
    stay = run_episode(env, pair, 15, _scripted([[0, 0.8], [0, 0], [0, 0]]))
    assert stay.success and stay.success_at_end and stay.tight_success and stay.whole_success
    near = run_episode(env, pair, 15, _scripted([[0, 0.6], [0, 0], [0, 0]]))
    assert near.success and not near.tight_success  # 0.1 m short of the goal: within 0.14 m, not within half of it
    still = run_episode(env, pair, 15, lambda goal: NoOpAgent(ACTION))
    assert not still.success and still.least_distance == pytest.approx(0.4, abs=0.01)
    assert len(still.latencies_s) == 3
