"""Policies that collect Cube episodes: a noisy expert that picks and places, and play around the cube.

Both look at the simulator's state anew at every step. All that they remember is what they want next.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.arm_control import ToolPose
from envs.cube import WORKSPACE, CubeEnv, rotation_of_cube
from envs.mujoco_env import Action, State
from envs.random_policies import LONGEST_HOLD_STEPS, CorrelatedNoise, Lapses, saturated

_SLOWEST, _FASTEST = 0.5, 1.0  # shares of the action limit
_GAIN_PER_S = 10.0
_QUARTER_TURN = np.pi / 2
_MARGIN_M = 0.02

Vector = NDArray[np.float64]


class Scene(NamedTuple):
    """One simulator state as the policies see it."""

    state: State
    tool: ToolPose
    opening_m: float
    cube: Vector
    """Its centre, [3] in m."""
    grasp_yaw: float
    """The yaw nearest to the tool's at which the fingers are parallel to two of the cube's faces."""


def look(env: CubeEnv, state: State) -> Scene:
    """The scene of a simulator state, float64 [S]."""
    tool = env.tool_pose(state)
    rotation = rotation_of_cube(state)
    edge = rotation[:, np.argmin(np.abs(rotation[2]))]  # the most horizontal one: a cube may have tumbled
    turn = (np.arctan2(edge[1], edge[0]) - tool.yaw + _QUARTER_TURN / 2) % _QUARTER_TURN - _QUARTER_TURN / 2
    yaw = tool.yaw + turn
    if abs(yaw) > WORKSPACE.high[3]:
        yaw -= np.sign(yaw) * _QUARTER_TURN
    return Scene(state, tool, float(state[6] + state[7]), state[8:11], float(yaw))


class Drive:
    """Turns a target for the tool into a noisy action, at the speed of its episode, with occasional lapses."""

    _LAPSE_PROBABILITY = 0.04

    def __init__(self, env: CubeEnv, rng: np.random.Generator, least_noise: float, most_noise: float) -> None:
        self._high = np.asarray(env.action_high)
        self._lapses = Lapses(env, rng, self._LAPSE_PROBABILITY)
        self._speed = rng.uniform(_SLOWEST, _FASTEST)
        self._noise = CorrelatedNoise(5, rng.uniform(least_noise, most_noise), rng.uniform(1.0, 6.0), rng)

    def towards(self, scene: Scene, place: Vector, yaw: float, gripper: float) -> Action:
        """float32 [A]; `gripper` is the unitless rate of opening."""
        if (lapse := self._lapses.act(scene.state)) is not None:
            return lapse
        wanted = np.array([*(place - scene.tool.position), yaw - scene.tool.yaw]) * _GAIN_PER_S
        unitless = wanted / self._high[:4]
        unitless[:3] *= min(1.0, self._speed / max(float(np.linalg.norm(unitless[:3])), 1e-9))
        unitless[3] = np.clip(unitless[3], -self._speed, self._speed)
        return saturated(np.append(unitless, gripper) + self._noise.sample(), self._high)


class CubeExpert:
    """Brings the cube to random places one after another: puts it down there, or holds it up there for a moment."""

    name = "expert"
    _HOVER_M = 0.07
    _ALIGNED_M = 0.012
    _AT_M = 0.012
    _CARRY_M = 0.05
    _ON_TABLE_M = 0.008
    _PATIENCE_STEPS = 60
    _AIR_SHARE, _AWAY_SHARE = 0.35, 0.3

    def __init__(self, env: CubeEnv, rng: np.random.Generator) -> None:
        self._env, self._rng = env, rng
        self._drive = Drive(env, rng, 0.02, 0.25)
        self._close, self._squeeze, self._open = -rng.uniform(0.3, 1.0), -rng.uniform(0.1, 1.0), rng.uniform(0.3, 1.0)
        self._hold_steps = 0
        self._want("place" if rng.random() > self._AIR_SHARE else "hold")

    def act(self, state: State) -> Action:
        scene = look(self._env, state)
        self._patience -= 1
        if self._patience <= 0:
            self._next()
        match self._task:
            case "away":
                return self._go_away(scene)
            case "place" | "hold" if self._grasps(scene):
                return self._carry(scene)
            case "place" if np.linalg.norm((scene.cube - self._goal)[:2]) < 2 * self._AT_M:
                self._next()
                return self._go_away(scene) if self._task == "away" else self._fetch(scene)
            case _:
                return self._fetch(scene)

    def _grasps(self, scene: Scene) -> bool:
        near = np.linalg.norm(scene.cube - scene.tool.position) < self._env.cube_size_m / 2
        return bool(near and scene.opening_m < self._env.cube_size_m + 0.002)

    def _fetch(self, scene: Scene) -> Action:
        """Over the cube, down a funnel, and close; up first when the hand is low beside it."""
        tip, cube = scene.tool.position, scene.cube
        away_m = float(np.linalg.norm((tip - cube)[:2]))
        aligned = away_m < self._ALIGNED_M and abs(scene.grasp_yaw - scene.tool.yaw) < 0.2
        if aligned and abs(tip[2] - cube[2]) < 0.008:
            return self._drive.towards(scene, cube, scene.grasp_yaw, self._close)
        ready = scene.opening_m > self._env.cube_size_m + 0.025
        low_m = cube[2] if aligned and ready else cube[2] + self._HOVER_M
        beside = away_m > 2 * self._ALIGNED_M and tip[2] < cube[2] + 0.6 * self._HOVER_M
        place = np.array([*(tip[:2] if beside else cube[:2]), max(low_m, WORKSPACE.low[2])])
        return self._drive.towards(scene, place, scene.grasp_yaw, self._open)

    def _carry(self, scene: Scene) -> Action:
        """Up, over and down; then open, or hold."""
        offset = self._goal - scene.cube
        away_m = float(np.linalg.norm(offset[:2]))
        if self._task == "hold":
            if np.linalg.norm(offset) < self._AT_M:
                self._hold_steps -= 1
                if self._hold_steps <= 0:
                    self._next()
            return self._drive.towards(scene, scene.tool.position + offset, self._yaw, self._squeeze)
        if away_m < self._AT_M and offset[2] > -self._ON_TABLE_M:
            return self._drive.towards(scene, scene.tool.position, scene.tool.yaw, self._open)
        offset[2] += min(self._CARRY_M, max(0.0, 2.0 * (away_m - self._AT_M)))
        return self._drive.towards(scene, scene.tool.position + offset, self._yaw, self._squeeze)

    def _go_away(self, scene: Scene) -> Action:
        away = self._goal - scene.tool.position
        if np.linalg.norm(away) < 2 * self._AT_M:
            self._next()
        beside = scene.tool.position[2] < scene.cube[2] + 0.6 * self._HOVER_M
        place = np.array([*scene.tool.position[:2], self._goal[2]]) if beside else self._goal
        return self._drive.towards(scene, place, self._yaw, self._open)

    def _next(self) -> None:
        kind = self._rng.random()
        if self._task == "place" and kind < self._AWAY_SHARE:
            self._want("away")
        else:
            self._want("hold" if self._rng.random() < self._AIR_SHARE else "place")

    def _want(self, task: Literal["place", "hold", "away"]) -> None:
        rng, low, high = self._rng, WORKSPACE.low, WORKSPACE.high
        self._task = task
        floor_m = {"place": self._env.cube_size_m / 2, "hold": 0.05, "away": 0.1}[task]
        ceiling_m = floor_m if task == "place" else high[2]
        self._goal = np.array(
            [*rng.uniform(low[:2] + _MARGIN_M, high[:2] - _MARGIN_M), rng.uniform(floor_m, ceiling_m)]
        )
        self._yaw = rng.uniform(low[3], high[3])
        self._patience = self._PATIENCE_STEPS
        self._hold_steps = int(rng.integers(1, LONGEST_HOLD_STEPS + 1))


class CubePlay:
    """Random places for the gripper, mostly low and near the cube, fingers at random: pushes, lifts and drops."""

    name = "play"
    _ARRIVED_M = 0.015
    _NEAR_SHARE, _LOW_SHARE = 0.75, 0.7
    _NEAR_M = 0.05
    _PATIENCE_STEPS = 25

    def __init__(self, env: CubeEnv, rng: np.random.Generator) -> None:
        self._env, self._rng = env, rng
        self._drive = Drive(env, rng, 0.05, 0.35)
        self._patience = self._gripper_steps = 0
        self._place, self._yaw, self._gripper = np.zeros(3), 0.0, 0.0

    def act(self, state: State) -> Action:
        scene = look(self._env, state)
        self._patience -= 1
        if self._patience <= 0 or np.linalg.norm(self._place - scene.tool.position) < self._ARRIVED_M:
            self._new_place(scene)
        self._gripper_steps -= 1
        if self._gripper_steps <= 0:
            self._gripper = self._rng.uniform(-1.0, 1.0)
            self._gripper_steps = int(self._rng.integers(5, 2 * LONGEST_HOLD_STEPS))
        return self._drive.towards(scene, self._place, self._yaw, self._gripper)

    def _new_place(self, scene: Scene) -> None:
        rng, low, high = self._rng, WORKSPACE.low, WORKSPACE.high
        place = rng.uniform(low[:3], high[:3])
        if rng.random() < self._NEAR_SHARE:
            place[:2] = scene.cube[:2] + rng.normal(0.0, self._NEAR_M, 2)
        if rng.random() < self._LOW_SHARE:
            place[2] = rng.uniform(low[2], 2 * self._env.cube_size_m)
        self._place = np.clip(place, low[:3], high[:3])
        self._yaw = scene.grasp_yaw if rng.random() < 0.5 else rng.uniform(low[3], high[3])
        self._patience = self._PATIENCE_STEPS
