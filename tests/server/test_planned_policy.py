"""Episodes that a model's plans drive: whole plans, toward what the task's own policies reach, the same every time."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from envs import env_class
from envs.collect import collect
from envs.collect_config import CollectConfig
from envs.mujoco_env import Action, SensorReadings, State
from envs.rollout import EpisodeKey, rollout
from server import planned_policy
from server.planned_policy import PlannedPolicy, plans_of
from tests.tiny import (
    TOP,
    WRIST,
    write_tiny_checkpoint,
    write_tiny_encoder_checkpoint,
    write_tiny_policy_checkpoint,
)
from worldmodel import load_checkpoint

ENV_ID = "telos/TwoRoom-v0"
PLAN_STEPS = 25


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_checkpoint(tmp_path, "tworoom-lewm", ENV_ID)


class Still:
    name = "still"

    def act(self, state: State) -> Action:
        return np.zeros(2, np.float32)


def test_plans_are_carried_out_whole_and_made_from_where_the_last_one_led(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[np.ndarray] = []
    seen: list[np.ndarray] = []

    def planned(self: PlannedPolicy, readings: SensorReadings, goal: SensorReadings) -> np.ndarray:
        seen.extend((readings["top"], goal["top"]))
        made.append(plan(self, readings, goal))
        return made[-1]

    plan = PlannedPolicy._planned
    monkeypatch.setattr(PlannedPolicy, "_planned", planned)
    env = env_class(ENV_ID)(image_size=32)
    driver = plans_of(model, ENV_ID, 32, 1.0)
    trajectory = rollout(
        env, ENV_ID, EpisodeKey(namespace="collect", seed=1, index=0), steps=60, policies=driver.policies
    )
    assert [len(each) for each in made] == [PLAN_STEPS] * 3
    assert np.array_equal(np.concatenate(made)[:60], trajectory.actions)
    for plan_index, step in enumerate((0, 25, 50)):
        assert np.array_equal(seen[2 * plan_index], env.render_state(trajectory.states[step]))
    assert trajectory.policy == "planned"


def test_looking_for_a_goal_leaves_the_simulation_where_it_was(model: Path) -> None:
    env = env_class(ENV_ID)(image_size=32)
    env.reset(seed=0)
    before = env.get_state()
    policy = PlannedPolicy(load_checkpoint(model), env, np.random.default_rng(0), lambda env, rng: Still())
    goal = policy._goal(before)
    assert np.array_equal(env.get_state(), before)
    assert np.array_equal(goal["top"], env.render_state(before)), "nobody moved, so the goal is what is seen"


def test_the_same_episodes_come_again_whoever_collects_them(model: Path, tmp_path: Path) -> None:
    driver = plans_of(model, ENV_ID, 32, 0.5)
    for name, workers in (("one", 1), ("two", 2)):
        collect(
            CollectConfig(
                env_id=ENV_ID, episodes=4, steps=30, seed=2, image_size=32, episodes_per_shard=2, driver=driver
            ),
            tmp_path / name,
            workers=workers,
            progress=False,
        )
    for shard in ("shard-00000.h5", "shard-00001.h5"):
        with h5py.File(tmp_path / "one" / shard) as one, h5py.File(tmp_path / "two" / shard) as two:
            assert np.array_equal(one["actions"], two["actions"], equal_nan=True)
            assert np.array_equal(one["sensors/top"], two["sensors/top"])


def test_a_driver_says_whose_plans_it_carries_out_and_is_small(model: Path) -> None:
    driver = plans_of(model, ENV_ID, 32, 0.25)
    manifest = load_checkpoint(model).manifest
    assert driver.name.startswith(f"plans of tworoom-lewm 1, weights {manifest.weights.sha256[:12]}, in ")
    assert driver.share == 0.25
    assert len(pickle.dumps(driver)) < 2000


def test_a_process_reads_the_checkpoint_once(model: Path) -> None:
    env, rng = env_class(ENV_ID)(image_size=32), np.random.default_rng(0)
    policies = plans_of(model, ENV_ID, 32, 1.0).policies
    planned_policy._checkpoint.cache_clear()
    for _ in range(3):
        policies(env, rng)
    assert planned_policy._checkpoint.cache_info().misses == 1


@pytest.mark.parametrize(("env_id", "image_size"), [("telos/PushT-v0", 32), (ENV_ID, 64), ("telos/Nowhere-v0", 32)])
def test_plans_of_another_task_or_size_are_refused(env_id: str, image_size: int, model: Path) -> None:
    with pytest.raises(ValueError, match=f"not for {env_id} at {image_size}x{image_size}; name a model of this task"):
        plans_of(model, env_id, image_size, 0.5)


def test_a_model_that_only_encodes_drives_nothing(tmp_path: Path) -> None:
    folder = write_tiny_encoder_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="cannot plan: it has neither a world model nor a policy"):
        plans_of(folder, ENV_ID, 32, 0.5)


def test_sensors_that_the_episodes_do_not_store_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path, "two-cameras", ENV_ID, sensors=(TOP, WRIST))
    for stored in (None, ["top"]):
        with pytest.raises(ValueError, match="these episodes store top: collect with --sensors top,wrist"):
            plans_of(folder, ENV_ID, 32, 0.5, stored)


def test_a_policy_without_a_world_model_drives_too(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(write_tiny_policy_checkpoint(tmp_path))
    env = env_class(ENV_ID)(image_size=32)
    env.reset(seed=0)
    policy = PlannedPolicy(checkpoint, env, np.random.default_rng(0), lambda env, rng: Still())
    assert policy.act(env.get_state()).shape == (2,)
