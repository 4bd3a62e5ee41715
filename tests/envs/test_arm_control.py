"""The tool goes where it is told, stays upright, and stays inside."""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

import os

os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco
import numpy as np
import pytest

from envs.arm_control import ToolPose
from envs.cube import WORKSPACE, CubeEnv

FAR_CUBE = np.array([0.5, 0.5, 0.02])


@pytest.fixture
def env() -> CubeEnv:
    return CubeEnv(render_mode=None)


def put(env: CubeEnv, tool: ToolPose, opening_m: float = 0.06) -> None:
    env.set_state(env.state_at(tool, opening_m, FAR_CUBE, 0.0))


def pose(env: CubeEnv) -> np.ndarray:
    tool = env.tool_pose(env.get_state())
    return np.array([*tool.position, tool.yaw])


def test_the_arm_takes_up_every_pose_of_the_workspace(env: CubeEnv) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        wanted = rng.uniform(WORKSPACE.low, WORKSPACE.high)
        put(env, ToolPose(wanted[:3], wanted[3]))
        np.testing.assert_allclose(pose(env), wanted, atol=1e-6)


def test_an_arm_that_is_not_told_to_move_stays(env: CubeEnv) -> None:
    put(env, ToolPose(np.array([0.05, -0.1, 0.1]), 0.4))
    before = env.get_state()
    for _ in range(100):
        env.advance(np.zeros(5))
    np.testing.assert_allclose(env.get_state()[:8], before[:8], atol=2e-4)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_commanded_velocity_is_there_after_one_control_step(env: CubeEnv, axis: int, sign: float) -> None:
    put(env, ToolPose(np.array([0.0, 0.0, 0.1]), 0.0))
    action = np.zeros(5)
    action[axis] = sign * env.action_high[axis]
    env.advance(action)
    first = pose(env)
    env.advance(action)
    velocity = (pose(env) - first) / env.dt_s
    np.testing.assert_allclose(velocity, action[:4], atol=0.03 * env.action_high[axis])


def test_the_tool_stays_upright_and_inside_whatever_it_is_told(env: CubeEnv) -> None:
    rng = np.random.default_rng(1)
    slack = np.array([0.005, 0.005, 0.005, 0.03])
    put(env, ToolPose(np.array([0.0, 0.0, 0.1]), 0.0))
    for _ in range(30):
        action = env.action_high * rng.choice([-1.0, 1.0], 5)
        for _ in range(15):
            env.advance(action)
            here = pose(env)
            assert (here >= WORKSPACE.low - slack).all() and (here <= WORKSPACE.high + slack).all()
    data = mujoco.MjData(env._model)
    data.qpos[:] = env.get_state()[: env._model.nq]
    mujoco.mj_kinematics(env._model, data)
    assert data.site("grip").xmat[8] > 0.999, "the tool leans"


def test_the_edge_of_the_workspace_is_reached(env: CubeEnv) -> None:
    put(env, ToolPose(np.array([0.0, 0.0, 0.1]), 0.0))
    for sign, edge in ((1.0, WORKSPACE.high), (-1.0, WORKSPACE.low)):
        for _ in range(40):
            env.advance(sign * np.asarray(env.action_high))
        np.testing.assert_allclose(pose(env), edge, atol=0.003)
