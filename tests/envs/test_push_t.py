"""PushT: the T yields to a push, stops without one, and the policies keep pushing."""

import numpy as np
import pytest

from envs.mujoco_env import at_rest
from envs.push_t import SUCCESS_DISTANCE_M, PushTEnv, block_error
from envs.push_t_policies import PushTExpert, PushTPlay
from envs.tee import rotated

GOAL = at_rest(0.0, 0.0, 0.3, -0.2, 3.0)


@pytest.fixture
def env() -> PushTEnv:
    return PushTEnv(render_mode=None)


def moved(
    agent: tuple[float, float] = (0.0, 0.0), block: tuple[float, float] = (0.0, 0.0), turn: float = 0.0
) -> np.ndarray:
    return GOAL + at_rest(*agent, *block, turn)


def test_success_is_the_published_tolerance_of_the_block_alone(env: PushTEnv) -> None:
    assert pytest.approx(0.078125) == SUCCESS_DISTANCE_M
    assert env.is_success(moved(agent=(0.5, 0.5)), GOAL)
    assert env.is_success(moved(block=(0.055, 0.055)), GOAL) and not env.is_success(moved(block=(0.056, 0.056)), GOAL)
    assert env.is_success(moved(turn=np.radians(19.9)), GOAL) and not env.is_success(moved(turn=np.radians(20.1)), GOAL)


def test_whole_success_is_the_published_test_of_robot_and_block_together(env: PushTEnv) -> None:
    assert env.is_whole_success(moved(agent=(0.055, 0.0), block=(0.0, 0.055)), GOAL)
    assert not env.is_whole_success(moved(agent=(0.056, 0.0), block=(0.0, 0.056)), GOAL)
    assert not env.is_whole_success(moved(turn=np.radians(20.1)), GOAL)


def test_the_angle_is_wrapped(env: PushTEnv) -> None:
    assert env.distance(moved(turn=2 * np.pi), GOAL) == pytest.approx(0.0, abs=1e-9)
    assert block_error(moved(turn=4 * np.pi - 0.1), GOAL)[1] == pytest.approx(0.1)
    assert env.distance(moved(turn=np.pi), GOAL) == pytest.approx(9.0)


def test_distance_is_the_larger_error_as_a_share_of_its_limit(env: PushTEnv) -> None:
    assert env.distance(moved(block=(0.078125, 0.0), turn=np.radians(60)), GOAL) == pytest.approx(3.0)


def test_a_push_moves_the_block_and_without_one_it_stops(env: PushTEnv) -> None:
    env.set_state(at_rest(0.0, 0.4, 0.0, 0.0, 0.0))  # above the bar's middle
    states = np.stack([env.advance([0.0, -0.5]) for _ in range(10)])
    assert states[-1, 3] < -0.2 and np.abs(states[-1, [2, 4]]).max() < 0.01, "straight down, without a turn"
    assert np.abs(env.advance([0.0, 0.5])[7:]).max() < 0.01, "let go for one control step"
    rest = env.advance([0.0, 0.5])[2:5]
    assert np.abs(env.advance([0.0, 0.5])[2:5] - rest).max() < 1e-4


def test_an_unpushed_block_stays_where_it_is(env: PushTEnv) -> None:
    env.set_state(at_rest(-0.9, -0.9, 0.3, 0.3, 1.0))
    assert np.array_equal(env.advance([0.5, 0.0])[2:5], [0.3, 0.3, 1.0])


@pytest.mark.parametrize("share", [0.02, 0.1, 0.26, 0.34, 0.42, 0.5, 0.66, 0.74, 0.9, 0.98])
def test_a_push_moves_the_block_as_the_geometry_says(env: PushTEnv, share: float) -> None:
    """Without friction at the robot, force is along the normal; velocity must be in proportion to it."""
    env.set_variation(env.variation_class.from_options({"agent_friction": 0.0}))
    points, pushes = env.tee.outline(np.array([share]))
    angle, block = 0.7, np.array([0.1, -0.2])
    agent = rotated(points - (env.agent_radius_m + 1e-3) * pushes, angle)[0] + block
    env.set_state(at_rest(*agent, *block, angle))
    state = env.advance(rotated(pushes, angle)[0] * 0.5)
    way = np.array([*rotated(state[2:4] - block, -angle), (state[4] - angle) * env.tee.gyration_radius_m])
    said = env.tee.motion(points, pushes)[0]
    assert way @ said > 0.98 * np.linalg.norm(way) * np.linalg.norm(said)


def test_walls_stop_the_block_and_the_robot(env: PushTEnv) -> None:
    env.set_state(at_rest(0.0, 0.4, 0.0, 0.0, 0.0))
    for _ in range(60):
        state = env.advance([0.0, -0.5])
        env.set_state(state)  # refused if anything were inside a wall
    assert state[3] + env.tee.corners[:, 1].min() == pytest.approx(-1.0, abs=0.02)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (at_rest(0.95, 0.0, 0.0, 0.0, 0.0), "robot in a wall"),
        (at_rest(-0.8, -0.8, 0.8, 0.0, 0.0), "T in a wall"),
        (at_rest(0.0, 0.1, 0.0, 0.0, 0.0), "robot in the T"),
    ],
)
def test_an_impossible_state_is_refused_with_what_overlaps(env: PushTEnv, state: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        env.set_state(state)


@pytest.mark.parametrize(("policy_class", "share"), [(PushTExpert, 0.3), (PushTPlay, 0.5)])
def test_policies_keep_the_block_moving(env: PushTEnv, policy_class: type, share: float) -> None:
    moving = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        env.set_state(env.sample_state(rng))
        policy = policy_class(env, rng)
        poses = np.stack([env.advance(policy.act(env.get_state()))[2:5] for _ in range(100)])
        moving.append(np.abs(np.diff(poses, axis=0)).max(1) > 2e-3)
    assert np.mean(moving) > share


def test_the_expert_brings_the_block_to_its_goal(env: PushTEnv) -> None:
    reached = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        env.set_state(env.sample_state(rng))
        expert = PushTExpert(env, rng)
        first_goal = expert._goal
        reached += any(env.is_success(env.advance(expert.act(env.get_state())), first_goal) for _ in range(400))
    assert reached >= 14
