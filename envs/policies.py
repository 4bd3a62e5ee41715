"""Policies that collect episodes: noisy experts that visit random goals, and temporally correlated random actions.

A policy lives for one episode. All its randomness comes from the generator that it is given, and every action that it
returns is within the limits of its environment: a policy saturates its own commands.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from envs.mujoco_env import Action, MujocoGoalEnv, State
from envs.reacher import SUCCESS_ANGLE_RAD, ReacherEnv, angle_differences_rad
from envs.two_room import SUCCESS_DISTANCE_M, TwoRoomEnv

EXPERT_SHARE = 0.6
_SLOWEST_EXPERT, _FASTEST_EXPERT = 0.3, 1.0  # shares of the action limit
_LONGEST_HOLD_STEPS = 10


class Policy(Protocol):
    """Acts from simulator truth; `name` is stored with the episode."""

    name: str

    def act(self, state: State) -> Action:
        """The action, float32 [A] in physical units, for `state`, float64 [S]."""
        ...


class CorrelatedNoise:
    """Ornstein-Uhlenbeck noise, unitless [A]: stationary with the given std, forgotten over `memory_steps`."""

    def __init__(self, size: int, std: float, memory_steps: float, rng: np.random.Generator) -> None:
        self._keep = float(np.exp(-1.0 / memory_steps))
        self._fresh = std * float(np.sqrt(1.0 - self._keep**2))
        self._rng = rng
        self._value = rng.normal(0.0, std, size)

    def sample(self) -> NDArray[np.float64]:
        """The next value."""
        self._value = self._keep * self._value + self._fresh * self._rng.normal(size=self._value.shape)
        return self._value


class HeldRandomPolicy:
    """Piecewise-constant actions held for 1 to 10 steps: anywhere in the box, on its faces and corners, or none at all.

    The planner's candidates are piecewise constant too, so this is where the model learns them, walls included.
    """

    name = "random_held"

    def __init__(self, env: MujocoGoalEnv, rng: np.random.Generator) -> None:
        self._high = np.asarray(env.action_high)
        self._rng = rng
        self._steps_left = 0
        self._unitless = np.zeros(len(self._high))

    def act(self, state: State) -> Action:
        if self._steps_left == 0:
            self._steps_left = int(self._rng.integers(1, _LONGEST_HOLD_STEPS + 1))
            self._unitless = self._draw()
        self._steps_left -= 1
        return _saturated(self._unitless, self._high)

    def _draw(self) -> NDArray[np.float64]:
        kind, uniform = self._rng.random(), self._rng.uniform(-1.0, 1.0, len(self._high))
        if kind < 0.1:
            return np.zeros_like(uniform)
        if kind < 0.3:
            return np.clip(2.0 * uniform, -1.0, 1.0)  # half of the components saturate
        return uniform


class WanderingRandomPolicy:
    """Ornstein-Uhlenbeck actions: smooth, with a memory and strength of the episode's own."""

    name = "random_wandering"

    def __init__(self, env: MujocoGoalEnv, rng: np.random.Generator) -> None:
        self._high = np.asarray(env.action_high)
        self._noise = CorrelatedNoise(len(self._high), rng.uniform(0.3, 1.0), rng.uniform(2.0, 10.0), rng)

    def act(self, state: State) -> Action:
        return _saturated(self._noise.sample(), self._high)


class TwoRoomExpert:
    """Drives to random places one after another, through the door when the place is in the other room."""

    name = "expert"
    _ARRIVED_M = SUCCESS_DISTANCE_M / 2
    _DOORWAY_M = 0.11  # nearer to the middle of the dividing wall than this, a robot is between the door posts
    _DOORSTEP_M = 0.2  # waypoints this far on either side of it
    _ALIGNED_M = 0.1
    _GAIN_PER_S = 5.0

    def __init__(self, env: TwoRoomEnv, rng: np.random.Generator) -> None:
        self._env, self._rng = env, rng
        self._high = np.asarray(env.action_high)
        self._speed_m_s = rng.uniform(_SLOWEST_EXPERT, _FASTEST_EXPERT) * self._high[0]
        self._noise = CorrelatedNoise(2, rng.uniform(0.05, 0.4), rng.uniform(1.0, 6.0), rng)
        self._goal = env.sample_state(rng)[:2]

    def act(self, state: State) -> Action:
        position = state[:2]
        if np.linalg.norm(self._goal - position) < self._ARRIVED_M:
            self._goal = self._env.sample_state(self._rng)[:2]
        velocity = self._GAIN_PER_S * (self._waypoint(position) - position)
        velocity *= min(1.0, self._speed_m_s / max(float(np.linalg.norm(velocity)), 1e-9))
        return _saturated(velocity / self._high + self._noise.sample(), self._high)

    def _waypoint(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where to head now: the near doorstep, then through the door to the far one, then the goal."""
        side = 1.0 if self._goal[0] > 0 else -1.0
        depth_m = side * position[0]  # how far into the goal's room; negative in the other one
        door_y_m = self._env.door_y_m
        if depth_m >= self._DOORWAY_M or (depth_m > -self._DOORWAY_M and abs(self._goal[0]) < self._DOORWAY_M):
            return self._goal
        at_the_door = depth_m > -self._DOORWAY_M or abs(position[1] - door_y_m) < self._ALIGNED_M
        return np.array([side * self._DOORSTEP_M * (1.0 if at_the_door else -1.0), door_y_m])


class ReacherExpert:
    """Moves to random postures one after another, holding still for a moment in some of them."""

    name = "expert"
    _ARRIVED_RAD = SUCCESS_ANGLE_RAD
    _GAIN_PER_S = 8.0
    _HOLD_PROBABILITY = 0.5
    _PATIENCE_STEPS = 40  # strong noise may keep the arm from arriving

    def __init__(self, env: ReacherEnv, rng: np.random.Generator) -> None:
        self._env, self._rng = env, rng
        self._high = np.asarray(env.action_high)
        self._speed = rng.uniform(_SLOWEST_EXPERT, _FASTEST_EXPERT)
        self._noise = CorrelatedNoise(2, rng.uniform(0.02, 0.3), rng.uniform(1.0, 6.0), rng)
        self._hold_steps = 0
        self._new_goal()

    def act(self, state: State) -> Action:
        if self._hold_steps > 0:
            self._hold_steps -= 1
            return _saturated(np.zeros(2), self._high)
        differences = angle_differences_rad(state, self._goal)
        self._patience -= 1
        if np.max(np.abs(differences)) < self._ARRIVED_RAD or self._patience <= 0:
            self._new_goal()
            self._maybe_hold()
        command = np.clip(self._GAIN_PER_S * differences / self._high, -self._speed, self._speed)
        return _saturated(command + self._noise.sample(), self._high)

    def _new_goal(self) -> None:
        self._goal = self._env.sample_state(self._rng)
        self._patience = self._PATIENCE_STEPS

    def _maybe_hold(self) -> None:
        if self._rng.random() < self._HOLD_PROBABILITY:
            self._hold_steps = int(self._rng.integers(1, _LONGEST_HOLD_STEPS + 1))


PolicyFactory = Callable[[MujocoGoalEnv, np.random.Generator], Policy]


def two_room_mixture(env: MujocoGoalEnv, rng: np.random.Generator) -> Policy:
    """The policy of one TwoRoom episode: 60 % expert, 40 % random."""
    assert isinstance(env, TwoRoomEnv)
    return TwoRoomExpert(env, rng) if rng.random() < EXPERT_SHARE else _random_policy(env, rng)


def reacher_mixture(env: MujocoGoalEnv, rng: np.random.Generator) -> Policy:
    """The policy of one Reacher episode: 60 % expert, 40 % random."""
    assert isinstance(env, ReacherEnv)
    return ReacherExpert(env, rng) if rng.random() < EXPERT_SHARE else _random_policy(env, rng)


COLLECTION_POLICIES: dict[str, PolicyFactory] = {
    "telos/TwoRoom-v0": two_room_mixture,
    "telos/Reacher-v0": reacher_mixture,
}


def _random_policy(env: MujocoGoalEnv, rng: np.random.Generator) -> Policy:
    return HeldRandomPolicy(env, rng) if rng.random() < 0.75 else WanderingRandomPolicy(env, rng)


def _saturated(unitless: NDArray[np.float64], high: NDArray[np.float64]) -> Action:
    return (np.clip(unitless, -1.0, 1.0) * high).astype(np.float32)
