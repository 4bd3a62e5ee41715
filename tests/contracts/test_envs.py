"""Laws that every environment obeys."""

import dataclasses
import functools
import itertools
import os
import warnings
from collections.abc import Iterator

os.environ.setdefault("MUJOCO_GL", "egl")

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs import ENVS, MAX_EPISODE_STEPS, MujocoGoalEnv, env_class
from envs.mujoco_env import ASSETS, GoalObservation
from envs.policies import COLLECTION_POLICIES
from envs.random_policies import HeldRandomPolicy, WanderingRandomPolicy
from envs.rollout import EpisodeKey, Trajectory, rollout, rollout_states
from envs.variation import Variation

# States from which every actuator can move freely, for tasks whose actions are the velocities of the first joints.
# Cube's actions move the tool, whose velocity is in tests/envs/test_arm_control.py.
FREE = {
    "telos/TwoRoom-v0": [0.5, 0.0, 0.0, 0.0],
    "telos/Reacher-v0": [0.5, 0.0, 0.0, 0.0],
    "telos/PushT-v0": [-0.8, -0.8, 0.3, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
}
FACTORS = [(env_id, field.name) for env_id, cls in ENVS.items() for field in dataclasses.fields(cls.variation_class)]


@pytest.fixture(params=ENVS)
def env_id(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def env(env_id: str) -> Iterator[MujocoGoalEnv]:
    made = ENVS[env_id](image_size=32)
    yield made
    made.close()


def random_actions(env: MujocoGoalEnv, count: int, seed: int = 0) -> np.ndarray:
    high = np.asarray(env.action_high, np.float32)
    return np.random.default_rng(seed).uniform(-high, high, (count, len(high))).astype(np.float32)


def same_observation(one: GoalObservation, other: GoalObservation) -> bool:
    parts = ("observation", "goal")
    return all(np.array_equal(one[part][name], other[part][name]) for part in parts for name in one[part])


def test_gymnasium_checker_is_content(env_id: str) -> None:
    env = gymnasium.make(env_id, sensors=[sensor.name for sensor in ENVS[env_id].every_sensor(64)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Actions are in physical units by contract, so Gymnasium's advice to scale them to [-1, 1] does not apply.
        warnings.filterwarnings("ignore", message=".*recommend using a symmetric and normalized space.*")
        check_env(env.unwrapped)
    env.close()


def test_the_time_limit_truncates_and_nothing_else(env_id: str) -> None:
    env = gymnasium.make(env_id)
    unwrapped = env.unwrapped
    assert isinstance(unwrapped, MujocoGoalEnv)
    env.reset(seed=0)
    still = np.zeros(len(unwrapped.action_names), np.float32)
    flags = [env.step(still)[2:4] for _ in range(MAX_EPISODE_STEPS)]
    assert flags == [(False, False)] * (MAX_EPISODE_STEPS - 1) + [(False, True)]
    env.close()


def test_observations_are_in_their_space_and_numbers_are_finite(env_id: str) -> None:
    env = ENVS[env_id](image_size=32, sensors=[sensor.name for sensor in ENVS[env_id].every_sensor(32)])
    observation, info = env.reset(seed=1)
    for action in random_actions(env, 20):
        assert env.observation_space.contains(observation)
        assert np.isfinite(info["state"]).all() and np.isfinite(info["distance"]) and info["distance"] >= 0
        observation, _, _, _, info = env.step(action)
    env.close()


def test_tables_of_names_have_the_right_length(env: MujocoGoalEnv) -> None:
    state = env.get_state()
    assert len(env.state_names) == len(env.state_units) == state.size
    assert len(env.action_names) == len(env.action_units) == len(env.action_high)
    assert env.state_features(state).shape == (len(env.feature_names),)
    assert env.state_features(np.stack([state] * 5)).shape == (5, len(env.feature_names))
    assert env.metadata["render_fps"] == pytest.approx(1 / env.dt_s)


@pytest.mark.parametrize("image_size", [16, 96, 512])
def test_images_have_the_size_asked_for(env_id: str, image_size: int) -> None:
    env = ENVS[env_id](image_size=image_size)
    observation, _ = env.reset(seed=0)
    assert observation["observation"][env.camera_names[0]].shape == (image_size, image_size, 3)
    assert observation["observation"][env.camera_names[0]].std() > 10, "a picture of nothing"
    env.close()


def test_same_seed_same_pixels_and_trajectory(env: MujocoGoalEnv, env_id: str) -> None:
    other = ENVS[env_id](image_size=32)
    one_observation, one_info = env.reset(seed=5)
    other_observation, other_info = other.reset(seed=5)
    for action in random_actions(env, 15):
        assert same_observation(one_observation, other_observation)
        assert np.array_equal(one_info["state"], other_info["state"])
        one_observation, _, _, _, one_info = env.step(action)
        other_observation, _, _, _, other_info = other.step(action)
    other.close()


def test_state_round_trip_has_the_same_future(env: MujocoGoalEnv) -> None:
    env.reset(seed=2)
    actions = random_actions(env, 60)
    for action in actions[:30]:
        env.advance(action)
    saved = env.get_state()
    future = [env.advance(action) for action in actions[30:]]
    env.set_state(saved)
    assert np.array_equal(env.get_state(), saved)
    assert np.array_equal([env.advance(action) for action in actions[30:]], future)


def test_every_state_of_an_episode_can_be_set(env: MujocoGoalEnv, env_id: str) -> None:
    for index in range(10):
        for state in rollout_states(env_id, 0, index, 50).states:
            env.set_state(state)


def test_render_state_leaves_the_state_and_its_future_untouched(env: MujocoGoalEnv) -> None:
    env.reset(seed=3)
    actions = random_actions(env, 20)
    saved = env.get_state()
    plain = [env.advance(action) for action in actions]
    env.set_state(saved)
    rng = np.random.default_rng(0)
    watched = []
    for action in actions:
        env.render_state(env.sample_state(rng))
        watched.append(env.advance(action))
    assert np.array_equal(plain, watched)


def test_goal_image_is_the_render_of_the_goal_state(env: MujocoGoalEnv) -> None:
    observation, _ = env.reset(seed=4)
    goal = env.goal_state
    assert not np.array_equal(observation["observation"][env.camera_names[0]], observation["goal"][env.camera_names[0]])
    env.set_state(goal)
    assert np.array_equal(env.render(), observation["goal"][env.camera_names[0]])


def test_a_goal_reaches_itself(env: MujocoGoalEnv) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        state = env.sample_state(rng)
        assert env.distance(state, state) == 0 < env.success_distance and env.is_success(state, state)
        assert not env.is_success(state, env.sample_goal(rng, state))


def test_success_is_that_every_tolerance_is_kept(env_id: str, env: MujocoGoalEnv) -> None:
    """Of states along an episode, to which states a little later are goals: both near and far."""
    verdicts: list[bool] = []
    for index in range(4):
        states = rollout_states(env_id, 0, index, 60).states
        for ahead in (1, 3, 8, 20):
            for state, goal in zip(states[:-ahead], states[ahead:], strict=True):
                apart = dict(zip(env.feature_names, env.state_features(state) - env.state_features(goal), strict=True))
                kept = [
                    np.linalg.norm([apart[name] for name in names]) < within
                    for names, within in env.goal_tolerances.items()
                ]
                verdicts.append(env.is_success(state, goal))
                assert verdicts[-1] == all(kept)
    assert 0.05 < np.mean(verdicts) < 0.95, "one of both verdicts was hardly ever asked for"


def test_reward_and_termination_say_success(env: MujocoGoalEnv) -> None:
    env.reset(seed=6)
    goal = env.goal_state
    still = np.zeros(len(env.action_names), np.float32)
    for start in (goal, env.sample_state(np.random.default_rng(1))):
        env.set_state(start)
        _, reward, terminated, truncated, info = env.step(still)
        success = env.is_success(env.get_state(), goal)
        assert (reward, terminated, truncated, info["success"]) == (float(success), success, False, success)
    env.set_state(goal)
    assert env.step(still)[1] == 1.0


WRONG_ACTIONS = {
    "too large": lambda high: 1.01 * high,
    "nan": lambda high: high * np.nan,
    "infinite": lambda high: high * np.inf,
    "one short": lambda high: high[:-1],
    "one too many": lambda high: np.append(high, 0.0),
    "in a batch": lambda high: high[None],
    "none": lambda high: None,
    "words": lambda high: ["fast"] * len(high),
    "by name": lambda high: {"velocity": 0.0},
}


@pytest.mark.parametrize("wrong", WRONG_ACTIONS)
def test_a_wrong_action_is_refused_and_changes_nothing(env: MujocoGoalEnv, wrong: str) -> None:
    env.reset(seed=0)
    action = WRONG_ACTIONS[wrong](np.asarray(env.action_high))
    before = env.get_state()
    with pytest.raises(ValueError, match=env.action_names[0]):
        env.step(action)
    assert np.array_equal(env.get_state(), before)


@pytest.mark.parametrize("env_id", FREE)
def test_actions_at_the_limits_are_accepted_and_quickly_reached(env: MujocoGoalEnv, env_id: str) -> None:
    """One frame is nearly Markov: a commanded velocity is there at the end of the control step."""
    high = np.asarray(env.action_high, np.float32)
    env.set_state(FREE[env_id])
    velocity = np.split(env.advance(high), 2)[1][: len(high)]  # the actuated joints come first
    assert np.abs(velocity - high).max() < 0.05 * high.max()


def test_a_wrong_reset_is_refused(env: MujocoGoalEnv) -> None:
    size = len(env.state_names)
    scalar = next(each for each in dataclasses.fields(env.variation_class) if isinstance(each.default, float))
    for options, message in [
        ({"stat": None}, "unknown reset options"),
        ({"state": np.zeros(size - 1)}, "finite numbers"),
        ({"goal_state": np.full(size, np.nan)}, "finite numbers"),
        ({"state": "home"}, "finite numbers"),
        ({"state": np.full(size, 100.0)}, "impossible"),
        ({"variation": {"colour": 1}}, "unknown factors"),
        ({"variation": {scalar.name: scalar.metadata["high"] + 1}}, scalar.name),
        ({"variation": {scalar.name: float("nan")}}, scalar.name),
        ({"variation": 3}, "factors by name"),
    ]:
        with pytest.raises(ValueError, match=message):
            env.reset(options=options)


def test_wrong_constructor_arguments_are_refused(env_id: str) -> None:
    with pytest.raises(ValueError, match="image_size"):
        ENVS[env_id](image_size=8)
    for sensors in ([], ["smell"], [ENVS[env_id].camera_names[0]] * 2):
        with pytest.raises(ValueError, match=r"sensors=.*; give one or more of"):
            ENVS[env_id](sensors=sensors)
    with pytest.raises(ValueError, match="render_mode"):
        ENVS[env_id](render_mode="human")
    with pytest.raises(ValueError, match="known ones"):
        env_class("telos/Nothing-v0")


def test_reset_takes_state_and_goal_state(env: MujocoGoalEnv) -> None:
    rng = np.random.default_rng(9)
    start, goal = env.sample_state(rng), env.sample_state(rng)
    observation, info = env.reset(options={"state": start, "goal_state": goal})
    assert np.array_equal(info["state"], start) and np.array_equal(env.goal_state, goal)
    assert np.array_equal(observation["goal"][env.camera_names[0]], env.render_state(goal))


def test_every_element_is_named(env_id: str) -> None:
    model = mujoco.MjModel.from_xml_path(str(ASSETS / ENVS[env_id].asset_name))
    counts = {"BODY": model.nbody, "JOINT": model.njnt, "GEOM": model.ngeom, "CAMERA": model.ncam}
    counts |= {"ACTUATOR": model.nu, "LIGHT": model.nlight}
    for kind, count in counts.items():
        for index in range(count):
            assert mujoco.mj_id2name(model, getattr(mujoco.mjtObj, f"mjOBJ_{kind}"), index), (
                f"{kind} {index} has no name"
            )


def test_the_model_file_is_the_nominal_world(env: MujocoGoalEnv, env_id: str) -> None:
    """The numbers stand in two places (file and variation); they must agree."""
    written = mujoco.MjModel.from_xml_path(str(ASSETS / ENVS[env_id].asset_name))
    for name in dir(written):
        value = getattr(written, name, None)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            np.testing.assert_allclose(getattr(env._model, name), value, atol=1e-6, err_msg=name)


def test_a_variation_is_undone_exactly(env: MujocoGoalEnv) -> None:
    state = env.sample_state(np.random.default_rng(3))
    before = env.render_state(state)
    env.set_variation(env.variation_class.sample(np.random.default_rng(0)))
    assert not np.array_equal(env.render_state(state), before)
    env.reset(options={"state": state})
    assert env.variation == env.variation_class()
    assert np.array_equal(env.render_state(state), before)


def test_random_worlds_work(env: MujocoGoalEnv) -> None:
    for seed in range(10):
        variation = env.variation_class.sample(np.random.default_rng(seed))
        observation, _ = env.reset(seed=seed, options={"variation": variation})
        assert np.array_equal(observation["goal"][env.camera_names[0]], env.render_state(env.goal_state))
        for action in random_actions(env, 10, seed):
            assert np.isfinite(env.advance(action)).all()


@pytest.mark.parametrize(("varied_id", "factor"), FACTORS)
def test_every_factor_changes_pixels_or_dynamics(varied_id: str, factor: str) -> None:
    """In at least one collected episode: friction matters only where something is touched."""
    env = ENVS[varied_id](image_size=64)
    (low,) = (field.metadata["low"] for field in dataclasses.fields(env.variation_class) if field.name == factor)
    value = np.full_like(np.asarray(getattr(env.variation, factor), float), low)
    world = env.variation_class.from_options({factor: value})
    assert any(differs(env, world, episode) for episode in collected(varied_id))
    env.close()


@functools.cache
def collected(env_id: str) -> list[Trajectory]:
    return [rollout_states(env_id, 0, index, 60, namespace="collect") for index in range(10)]


def differs(env: MujocoGoalEnv, world: Variation, episode: Trajectory) -> bool:
    """Whether the first picture of the nominal episode, or the outcome of its actions, is another one in `world`."""
    start = episode.states[0]
    env.set_variation(env.variation_class())
    nominal = env.render_state(start)
    env.set_variation(world)
    if not np.array_equal(nominal, env.render_state(start)):
        return True
    if env.state_error(start) is not None:
        return False
    env.set_state(start)
    return not np.array_equal([env.advance(action) for action in episode.actions], episode.states[1:])


def test_policies_stay_within_limits_and_use_the_whole_box(env: MujocoGoalEnv, env_id: str) -> None:
    high = np.asarray(env.action_high, np.float32)
    episodes = [rollout_states(env_id, 0, index, 100, namespace="collect") for index in range(80)]
    actions = np.concatenate([episode.actions for episode in episodes]) / high
    assert actions.dtype == np.float32 and np.abs(actions).max() <= 1.0
    policies = {episode.policy for episode in episodes}
    assert "random_held" in policies, "random_policy has no share of the mixture"
    assert policies - {HeldRandomPolicy.name, WanderingRandomPolicy.name}, "no policy knows the task"
    for some in itertools.combinations(actions.T, min(2, len(high))):
        counts, _ = np.histogramdd(np.stack(some, axis=1), bins=5, range=[(-1, 1)] * len(some))
        assert counts.min() > 0.005 * len(actions), "a corner of the action box is hardly visited"


@pytest.mark.parametrize("policy_class", [HeldRandomPolicy, WanderingRandomPolicy])
def test_policies_are_functions_of_their_generator(env: MujocoGoalEnv, policy_class: type) -> None:
    def actions() -> np.ndarray:
        policy = policy_class(env, np.random.default_rng(1))
        return np.stack([policy.act(env.get_state()) for _ in range(30)])

    assert np.array_equal(actions(), actions())


def test_every_environment_has_a_collection_policy() -> None:
    assert set(COLLECTION_POLICIES) == set(ENVS)


def test_an_episode_does_not_depend_on_those_before_it(env: MujocoGoalEnv, env_id: str) -> None:
    """Or a store would depend on which worker collected which shard, and on interruptions."""
    for index in range(4):
        used = rollout(env, env_id, EpisodeKey(namespace="collect", seed=3, index=index), steps=40)
        fresh = rollout_states(env_id, 3, index, 40, namespace="collect")
        assert np.array_equal(used.states, fresh.states) and np.array_equal(used.actions, fresh.actions)


def test_heldout_episodes_differ_from_collected_ones(env_id: str) -> None:
    heldout, again = (rollout_states(env_id, 0, 0, 10, namespace="development") for _ in range(2))
    collected = rollout_states(env_id, 0, 0, 10, namespace="collect")
    assert np.array_equal(heldout.states, again.states) and np.array_equal(heldout.actions, again.actions)
    assert not np.array_equal(heldout.states[0], collected.states[0])
    with pytest.raises(ValueError, match="namespace"):
        rollout_states(env_id, 0, 0, 10, namespace="train")  # pyright: ignore[reportArgumentType]
