"""Laws that every sensor of every environment obeys."""

import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import pytest

from envs import ENVS, MujocoGoalEnv
from envs.rollout import rollout_states


@pytest.fixture(params=ENVS)
def env_id(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def sensing(env_id: str) -> Iterator[MujocoGoalEnv]:
    """The environment with every sensor that it has."""
    made = ENVS[env_id](image_size=32, sensors=sensor_names(env_id))
    yield made
    made.close()


def sensor_names(env_id: str) -> list[str]:
    return [sensor.name for sensor in ENVS[env_id].every_sensor(32)]


def random_actions(env: MujocoGoalEnv, count: int) -> np.ndarray:
    high = np.asarray(env.action_high, np.float32)
    return np.random.default_rng(0).uniform(-high, high, (count, len(high))).astype(np.float32)


def test_an_observation_holds_the_sensors_that_were_asked_for_as_they_declare_themselves(env_id: str) -> None:
    every = sensor_names(env_id)
    for chosen in (None, every, *([name] for name in every)):
        env = ENVS[env_id](image_size=32, sensors=chosen)
        observation, _ = env.reset(seed=0)
        assert [sensor.name for sensor in env.sensors] == (chosen or [env.camera_names[0]])
        assert set(observation) == {"observation", "goal"}
        for part in observation.values():
            assert list(part) == [sensor.name for sensor in env.sensors]
            for sensor in env.sensors:
                assert part[sensor.name].shape == sensor.shape and part[sensor.name].dtype == sensor.dtype
        env.close()


def test_the_main_camera_comes_first(env_id: str) -> None:
    every = ENVS[env_id].every_sensor(32)
    cameras = [sensor.name for sensor in every if sensor.is_camera]
    assert [sensor.name for sensor in every[: len(cameras)]] == list(ENVS[env_id].camera_names) == cameras
    assert len({sensor.name for sensor in every}) == len(every)


def test_vectors_stay_within_their_ranges(sensing: MujocoGoalEnv, env_id: str) -> None:
    """Whatever drives, even against the limits of the joints."""
    vectors = [sensor for sensor in sensing.sensors if not sensor.is_camera]
    assert vectors, "every task has a vector sensor"
    high = np.asarray(sensing.action_high, np.float32)
    corners = np.random.default_rng(0).choice([-1, 1], (5, len(high))).astype(np.float32) * high
    driven = [rollout_states(env_id, 0, index, 60, variation="random").states for index in range(8)]
    for corner in corners:
        sensing.reset(seed=1)
        driven.append(np.stack([sensing.advance(corner) for _ in range(80)]))
    for sensor in vectors:
        readings = np.stack([sensing.observe(state)[sensor.name] for states in driven for state in states])
        assert (readings >= np.float32(sensor.low)).all() and (readings <= np.float32(sensor.high)).all()
        assert (readings.std(0) > 0).all(), "a number that says nothing"


def test_to_observe_disturbs_nothing(sensing: MujocoGoalEnv) -> None:
    sensing.reset(seed=3)
    actions = random_actions(sensing, 20)
    saved = sensing.get_state()
    plain = [sensing.advance(action) for action in actions]
    sensing.set_state(saved)
    rng = np.random.default_rng(0)
    watched = []
    for action in actions:
        before = sensing.get_state()
        sensing.observe(sensing.sample_state(rng))
        assert np.array_equal(sensing.get_state(), before)
        watched.append(sensing.advance(action))
    assert np.array_equal(plain, watched)


def test_the_same_state_is_seen_the_same(sensing: MujocoGoalEnv, env_id: str) -> None:
    """Whatever was seen before, by whichever sensors besides, and in any environment of the same world."""
    rng = np.random.default_rng(1)
    states = [sensing.sample_state(rng) for _ in range(4)]
    first = [sensing.observe(state) for state in states]
    again = [sensing.observe(state) for state in reversed(states)][::-1]
    for name in sensor_names(env_id):
        alone = ENVS[env_id](image_size=32, sensors=[name])
        for state, one, other in zip(states, first, again, strict=True):
            assert np.array_equal(one[name], other[name])
            assert np.array_equal(one[name], alone.observe(state)[name])
        assert len({one[name].tobytes() for one in first}) > 1, f"{name} sees no difference"
        alone.close()


def test_the_goal_is_observed_as_the_goal_state_is(sensing: MujocoGoalEnv) -> None:
    observation, _ = sensing.reset(seed=4)
    seen = sensing.observe(sensing.goal_state)
    for name, reading in observation["goal"].items():
        assert np.array_equal(reading, seen[name]) and np.array_equal(reading, sensing.goal_observation[name])
        reading[...] = 0
        assert np.array_equal(sensing.goal_observation[name], seen[name]), "who wrote into it has changed the goal"
    sensing.advance(random_actions(sensing, 1)[0])
    assert all(np.array_equal(sensing.goal_observation[name], seen[name]) for name in seen)


def test_an_observation_is_of_the_present_state(sensing: MujocoGoalEnv) -> None:
    sensing.reset(seed=5)
    for action in random_actions(sensing, 5):
        observation, _, _, _, info = sensing.step(action)
        seen = sensing.observe(info["state"])
        assert all(np.array_equal(observation["observation"][name], seen[name]) for name in seen)


def test_any_camera_can_be_rendered_and_no_other(sensing: MujocoGoalEnv, env_id: str) -> None:
    env = ENVS[env_id](image_size=32)
    state = env.sample_state(np.random.default_rng(2))
    for camera in env.camera_names:
        assert np.array_equal(env.render_state(state, camera), sensing.observe(state)[camera])
    assert np.array_equal(env.render_state(state), env.render_state(state, env.camera_names[0]))
    with pytest.raises(ValueError, match="camera='behind'; give one of"):
        env.render_state(state, "behind")
    env.close()


@pytest.mark.parametrize("wrong", [None, "home", {}, [0.0], float("nan")])
def test_only_a_state_can_be_observed(sensing: MujocoGoalEnv, wrong: Any) -> None:
    for look in (sensing.observe, sensing.render_state):
        with pytest.raises(ValueError, match=r"state=.*; give \d+ finite numbers"):
            look(wrong)


def test_looks_change_pictures_and_no_vector(sensing: MujocoGoalEnv) -> None:
    """So vectors have no twins."""
    cls = sensing.variation_class
    state = sensing.sample_state(np.random.default_rng(6))
    nominal = sensing.observe(state)
    sensing.set_variation(cls.sample(np.random.default_rng(0), cls.looks()))
    varied = sensing.observe(state)
    for sensor in sensing.sensors:
        assert np.array_equal(nominal[sensor.name], varied[sensor.name]) != sensor.is_camera
