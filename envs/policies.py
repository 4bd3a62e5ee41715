"""Collection policies: for each task, a mixture of noisy experts that visit random goals and of random actions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.cube_policies import CubeExpert, CubePlay
from envs.mujoco_env import Action, MujocoGoalEnv, State
from envs.push_t_policies import PushTExpert, PushTPlay
from envs.random_policies import LONGEST_HOLD_STEPS, CollectionPolicy, CorrelatedNoise, random_policy, saturated
from envs.reacher import SUCCESS_ANGLE_RAD, ReacherEnv, angle_differences_rad
from envs.two_room import SUCCESS_DISTANCE_M, TwoRoomEnv

_SLOWEST_EXPERT, _FASTEST_EXPERT = 0.3, 1.0  # shares of the action limit


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
        return saturated(velocity / self._high + self._noise.sample(), self._high)

    def _waypoint(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Next target: the near doorstep, then through the door to the far one, then the goal."""
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
            return saturated(np.zeros(2), self._high)
        differences = angle_differences_rad(state, self._goal)
        self._patience -= 1
        if np.max(np.abs(differences)) < self._ARRIVED_RAD or self._patience <= 0:
            self._new_goal()
            self._maybe_hold()
        command = np.clip(self._GAIN_PER_S * differences / self._high, -self._speed, self._speed)
        return saturated(command + self._noise.sample(), self._high)

    def _new_goal(self) -> None:
        self._goal = self._env.sample_state(self._rng)
        self._patience = self._PATIENCE_STEPS

    def _maybe_hold(self) -> None:
        if self._rng.random() < self._HOLD_PROBABILITY:
            self._hold_steps = int(self._rng.integers(1, LONGEST_HOLD_STEPS + 1))


PolicyFactory = Callable[[Any, np.random.Generator], CollectionPolicy]
"""Makes the policy of one episode for an environment of its own class."""


@dataclass(frozen=True)
class Mixture:
    """Chooses a policy for each episode with one random number."""

    shares: Mapping[str, tuple[float, PolicyFactory]]
    """Share of the episodes and factory of each policy, by name."""

    def __call__(self, env: MujocoGoalEnv, rng: np.random.Generator) -> CollectionPolicy:
        shares, factories = zip(*self.shares.values(), strict=True)
        chosen = int(np.searchsorted(np.cumsum(shares)[:-1], rng.random(), side="right"))
        return factories[chosen](env, rng)

    @property
    def description(self) -> str:
        """The mixture in words, for dataset.json."""
        shares = ", ".join(f"{share:.0%}".replace("%", f" % {name}") for name, (share, _) in self.shares.items())
        return f"collection mixture: {shares}"


COLLECTION_POLICIES: dict[str, Mixture] = {
    "telos/TwoRoom-v0": Mixture({"expert": (0.6, TwoRoomExpert), "random": (0.4, random_policy)}),
    "telos/Reacher-v0": Mixture({"expert": (0.6, ReacherExpert), "random": (0.4, random_policy)}),
    "telos/PushT-v0": Mixture(
        {"expert": (0.45, PushTExpert), "play": (0.45, PushTPlay), "random": (0.1, random_policy)}
    ),
    "telos/Cube-v0": Mixture({"expert": (0.6, CubeExpert), "play": (0.25, CubePlay), "random": (0.15, random_policy)}),
}
