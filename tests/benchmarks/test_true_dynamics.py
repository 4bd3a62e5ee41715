"""Planning on true dynamics: a search that sees the real future must reach what is near."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from benchmarks.true_dynamics import TrueDynamicsAgent, missed, plan_again, summary
from envs.two_room import TwoRoomEnv
from planner.presets import PRESETS, Preset
from tests.tiny import write_tiny_checkpoint
from worldmodel.checkpoint import load_checkpoint

EVALUATION = {
    "model": "tiny-lewm",
    "task": "telos/TwoRoom-v0",
    "weights_sha256": "",
    "protocol": "offset25",
    "preset": "fast",
    "split": "test",
    "seeds": [0, 1, 2],
    "episodes": 3,
    "rows": [
        {"seed": 0, "success": True, "least_distance": 0.1},
        {"seed": 1, "success": False, "least_distance": 0.5},
        {"seed": 2, "success": False, "least_distance": 0.6},
    ],
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_tiny_checkpoint(folder, task="telos/TwoRoom-v0")
    return folder


def test_only_what_was_missed_is_planned_again() -> None:
    assert missed(EVALUATION, 10) == [1, 2] and missed(EVALUATION, 1) == [1]


@pytest.mark.parametrize("preset", ["guided", "reactive"])
def test_what_the_model_proposes_cannot_be_planned_again(preset: str) -> None:
    with pytest.raises(ValueError, match=f"of preset '{preset}', which uses a policy"):
        missed({**EVALUATION, "preset": preset}, 10)


def test_the_world_is_left_as_it_was_and_the_real_future_is_what_is_scored(checkpoints: Path) -> None:
    env, futures = TwoRoomEnv(image_size=32), TwoRoomEnv(image_size=32)
    env.reset(seed=0)
    state = env.get_state()
    agent = TrueDynamicsAgent(env, futures, load_checkpoint(checkpoints / "tiny-lewm"), "fast", 0, env.observe(state))
    actions = agent.act(env.observe(state))
    assert np.array_equal(env.get_state(), state) and actions.shape == (5, 2)
    moved = [np.linalg.norm(env.advance(action.astype(np.float32))[:2] - state[:2]) for action in actions]
    assert max(moved) < 0.3, "the goal is where the robot is, and the encoder of random weights sees that"
    futures.close()
    env.close()


def test_a_pair_is_planned_again_and_counted(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "fast", Preset(candidates=4, elites=2, iterations=1))
    row = plan_again(argparse.Namespace(checkpoints=checkpoints), EVALUATION, 1)
    assert row["index"] == 1 and row["least_distance_imagined"] == 0.5 and row["least_distance"] >= 0
    result = summary(EVALUATION, [row], {"commit": "abc"})
    assert result["planned_again"] == 1 and result["reached"] == int(row["success"])
