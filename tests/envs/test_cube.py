"""Cube: what is gripped is held, what is let go falls, nothing explodes; the expert knows how."""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

import os
from collections.abc import Iterator

os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco
import numpy as np
import pytest

from envs.arm_control import ToolPose
from envs.cube import WORKSPACE, CubeEnv
from envs.cube_policies import CubeExpert, CubePlay, look

CUBE = slice(8, 11)
IN_THE_AIR = ToolPose(np.array([0.0, 0.0, 0.12]), 0.3)
UP, DOWN = np.array([0, 0, 0.3, 0, 0]), np.array([0, 0, -0.3, 0, 0])
OPEN, CLOSE, STILL = np.array([0, 0, 0, 0, 0.15]), np.array([0, 0, 0, 0, -0.15]), np.zeros(5)


@pytest.fixture
def env() -> CubeEnv:
    return CubeEnv(render_mode=None)


def act(env: CubeEnv, action: np.ndarray, steps: int) -> np.ndarray:
    """Every state on the way, [steps, S]."""
    return np.stack([env.advance(action) for _ in range(steps)])


def cube_in_hand(env: CubeEnv) -> np.ndarray:
    """The cube's centre seen from the gripper's tip, in world axes."""
    state = env.get_state()
    return state[CUBE] - env.tool_pose(state).position


def over_the_cube(env: CubeEnv, height_m: float, sideways_m: float = 0.0, yaw: float = 0.0) -> None:
    tool = ToolPose(np.array([0.0, sideways_m, height_m]), yaw)
    env.set_state(env.state_at(tool, 0.08, np.array([0.0, 0.0, env.cube_size_m / 2]), 0.0))


def pick(env: CubeEnv) -> None:
    act(env, DOWN, 10)
    act(env, CLOSE, 10)
    act(env, UP, 8)


@pytest.mark.parametrize("sideways_m", [0.0, 0.012])
@pytest.mark.parametrize("yaw", [0.0, 0.25])
def test_a_cube_is_picked_up_though_the_gripper_is_not_centred(env: CubeEnv, sideways_m: float, yaw: float) -> None:
    over_the_cube(env, 0.1, sideways_m, yaw)
    pick(env)
    assert env.get_state()[10] > 0.1
    assert np.abs(cube_in_hand(env)).max() < 0.012


def test_the_grasp_yaw_is_parallel_to_the_faces_of_a_tumbled_cube(env: CubeEnv) -> None:
    for quaternion in ([1, 0, 0, 0], [0.5**0.5, 0, 0.5**0.5, 0], [0.5, 0.5, 0.5, 0.5], [0, 1, 0, 0]):
        turn = np.array([np.cos(0.15), 0, 0, np.sin(0.15)])  # 0.3 rad about the world's z
        state = env.state_at(ToolPose(np.array([0.0, 0.0, 0.15]), 0.1), 0.08, np.array([0.0, 0.0, 0.02]), 0.0)
        mujoco.mju_mulQuat(state[11:15], turn, np.asarray(quaternion, float))
        assert look(env, state).grasp_yaw == pytest.approx(0.3)


def test_an_open_gripper_lifts_nothing(env: CubeEnv) -> None:
    over_the_cube(env, 0.1)
    act(env, DOWN, 10)
    assert act(env, UP, 10)[-1, 10] == pytest.approx(env.cube_size_m / 2, abs=1e-3)


@pytest.mark.parametrize("friction", [0.6, 1.0, 1.5])
@pytest.mark.parametrize("size_m", [0.03, 0.05])
def test_a_held_cube_stays_in_the_gripper_for_ten_seconds(env: CubeEnv, friction: float, size_m: float) -> None:
    env.set_variation(env.variation_class.from_options({"cube_friction": friction, "cube_size_m": size_m}))
    env.set_state(env.holding_state(IN_THE_AIR))
    act(env, STILL, 200)
    assert np.abs(cube_in_hand(env)).max() < 0.003
    assert env.distance(env.get_state(), env.holding_state(IN_THE_AIR)) < 0.025, "sinks faster than 2 mm/s"


def test_a_held_cube_does_not_slip_when_shaken(env: CubeEnv) -> None:
    env.set_state(env.holding_state(IN_THE_AIR))
    shake = np.array([0.3, 0.3, 0.3, 2.0, 0.0])
    for _ in range(10):
        act(env, shake, 2)
        act(env, -shake, 2)
    assert np.linalg.norm(cube_in_hand(env)) < 0.012


def test_a_cube_that_is_let_go_falls_and_comes_to_rest(env: CubeEnv) -> None:
    env.set_state(env.holding_state(IN_THE_AIR))
    states = act(env, OPEN, 8)
    assert states[-1, 10] < 0.06, "falls"
    end = act(env, STILL, 40)[-1]
    assert end[10] == pytest.approx(env.cube_size_m / 2, abs=1e-3)
    assert np.abs(end[15:29]).max() < 1e-2


def test_a_cube_pressed_into_the_table_survives(env: CubeEnv) -> None:
    over_the_cube(env, 0.1)
    act(env, CLOSE, 15)
    pressed = act(env, DOWN, 60)
    assert all(env.state_error(state) is None for state in pressed)
    assert np.abs(pressed[:, 23:26]).max() < 0.5, "it may tip over, but is not flung away"
    act(env, UP, 10)
    after = act(env, STILL, 10)[-1]
    assert after[10] == pytest.approx(env.cube_size_m / 2, abs=2e-3) and np.abs(after[15:29]).max() < 1e-2


def test_a_closed_gripper_pushes_the_cube_along(env: CubeEnv) -> None:
    tool = ToolPose(np.array([0.0, 0.1, 0.02]), 0.0)
    env.set_state(env.state_at(tool, 0.0, np.array([0.0, 0.04, 0.02]), 0.0))
    end = act(env, np.array([0, -0.2, 0, 0, 0]), 15)[-1]
    assert end[9] < 0.0 and abs(end[8]) < 0.02


def test_the_grip_force_is_bounded(env: CubeEnv) -> None:
    """The set point follows the fingers, so that closing for long neither crushes nor delays opening."""
    env.set_state(env.holding_state(IN_THE_AIR))
    for state in act(env, CLOSE, 100):
        assert abs(state[-1] - state[6:8].sum()) < 0.012
    opened = act(env, OPEN, 3)[-1]
    assert opened[6:8].sum() > env.cube_size_m + 0.005


def test_success_is_the_published_distance_of_the_cubes_alone(env: CubeEnv) -> None:
    goal = env.sample_state(np.random.default_rng(0))
    other = env.sample_state(np.random.default_rng(1))
    for offset_m, success in ((0.039, True), (0.041, False)):
        other[CUBE] = goal[CUBE] + [0, offset_m, 0]
        assert env.is_success(other, goal) == success
        assert env.distance(other, goal) == pytest.approx(offset_m)


def test_features_are_where_things_are(env: CubeEnv) -> None:
    tool = ToolPose(np.array([0.05, -0.1, 0.09]), -0.5)
    state = env.state_at(tool, 0.06, np.array([-0.03, 0.02, 0.02]), 1.0)
    wanted = [-0.03, 0.02, 0.02, 0.05, -0.1, 0.09, np.sin(-0.5), np.cos(-0.5), 0.06]
    np.testing.assert_allclose(env.state_features(state), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: 7.0}, "angle_shoulder_pan"),
        ({6: 0.06}, "finger_left"),
        ({10: 0.0}, "table"),
        ({8: 3.0}, "table"),
        ({11: 0.5}, "quaternion"),
        ({29: 0.2}, "set point"),
    ],
)
def test_an_impossible_state_is_refused_with_its_reason(env: CubeEnv, change: dict[int, float], message: str) -> None:
    state = env.sample_state(np.random.default_rng(0))
    for index, value in change.items():
        state[index] = value
    with pytest.raises(ValueError, match=message):
        env.set_state(state)


def test_starts_are_on_the_table_or_in_the_gripper(env: CubeEnv) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        state = env.sample_state(rng)
        env.set_state(state)
        before = cube_in_hand(env)
        held += bool(np.linalg.norm(before) < 0.01)
        still = act(env, STILL, 5)[-1]
        assert env.distance(state, still) < 0.003, "a start at rest stays at rest"
    assert 0.2 < held / 200 < 0.4


def test_the_expert_brings_the_cube_to_its_goal(env: CubeEnv) -> None:
    reached = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        env.set_state(env.sample_state(rng))
        expert = CubeExpert(env, rng)
        goal = expert._goal
        states = [env.advance(expert.act(env.get_state())) for _ in range(60)]
        reached += min(float(np.linalg.norm(state[CUBE] - goal)) for state in states) < 0.02
    assert reached >= 14


@pytest.mark.parametrize(("policy_class", "moved_least"), [(CubeExpert, 0.9), (CubePlay, 0.6)])
def test_policies_move_the_cube(env: CubeEnv, policy_class: type, moved_least: float) -> None:
    moved = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        env.set_state(env.sample_state(rng))
        policy = policy_class(env, rng)
        cube = np.stack([env.advance(policy.act(env.get_state()))[CUBE] for _ in range(100)])
        moved.append(np.linalg.norm(cube - cube[0], axis=1).max() > 0.02)
    assert np.mean(moved) >= moved_least


def test_the_cube_stays_within_the_picture(env: CubeEnv) -> None:
    """What leaves the workspace stays near it: friction stops a cube that was pushed or dropped."""
    rng = np.random.default_rng(3)
    env.set_state(env.sample_state(rng))
    play = CubePlay(env, rng)
    cube = np.stack([env.advance(play.act(env.get_state()))[CUBE] for _ in range(400)])
    assert (np.abs(cube[:, :2]) < WORKSPACE.high[:2] + 0.08).all()


@pytest.fixture
def sensing() -> Iterator[CubeEnv]:
    made = CubeEnv(sensors=["front", "wrist", "proprioception"])
    yield made
    made.close()


def red_px(image: np.ndarray) -> np.ndarray:
    """Where the cube is seen: rows and columns, [n, 2]."""
    red, green, blue = image.astype(int).transpose(2, 0, 1)
    return np.argwhere(red > 2 * np.maximum(green, blue))


@pytest.mark.parametrize(("x", "y", "z", "yaw"), [(0, 0, 0.1, 0), (0.08, -0.1, 0.17, 0.8), (-0.1, 0.12, 0.05, -0.7)])
def test_the_wrist_sees_a_held_cube_between_the_fingers_wherever_the_arm_is(
    sensing: CubeEnv, x: float, y: float, z: float, yaw: float
) -> None:
    seen = red_px(sensing.render_state(sensing.holding_state(ToolPose(np.array([x, y, z]), yaw)), "wrist"))
    assert len(seen) > 200, "well visible: a twentieth of the picture and more"
    assert np.abs(seen.mean(0) - (23, 31.5)).max() < 3, "in the same place, for the camera moves with the hand"


@pytest.mark.parametrize("height_m", [0.02, 0.05, 0.1, 0.15, 0.18])
def test_the_wrist_sees_the_cube_that_the_gripper_is_over(sensing: CubeEnv, height_m: float) -> None:
    over_the_cube(sensing, height_m)
    seen = red_px(sensing.observe(sensing.get_state())["wrist"])
    assert len(seen) > 20 and 0 < seen.min() and seen.max() < 63, "whole, not cut off by the picture's edge"


def test_the_wrist_sees_more_of_the_cube_than_the_front_does(sensing: CubeEnv) -> None:
    """Or there would be no need for it."""
    rng = np.random.default_rng(0)
    held = [sensing.holding_state(ToolPose(rng.uniform([-0.1, -0.1, 0.04], [0.1, 0.1, 0.18]), 0.0)) for _ in range(20)]
    wrist, front = (
        np.mean([len(red_px(sensing.render_state(s, camera))) for s in held]) for camera in ("wrist", "front")
    )
    assert wrist > 5 * front


def test_proprioception_is_joint_angles_and_the_grippers_opening(sensing: CubeEnv) -> None:
    sensing.reset(seed=0)
    act(sensing, OPEN, 5)
    state = sensing.get_state()
    reading = sensing.observe(state)["proprioception"]
    np.testing.assert_allclose(reading, [*state[:6], state[6] + state[7]], rtol=1e-6)
    (sensor,) = (each for each in sensing.sensors if each.name == "proprioception")
    assert sensor.units == ("rad",) * 6 + ("m",)
    low, high = sensing._model.jnt_range[:6].T
    np.testing.assert_allclose((sensor.low[:6], sensor.high[:6]), (low - 0.1, high + 0.1))
    np.testing.assert_allclose((sensor.low[6], sensor.high[6]), (-0.01, 0.095))
