"""Policies that push the T: play takes any side, the expert takes the one that moves the T to where it should be.

Both choose a contact (a point on the outline and a push into it), drive around the T to it, push for a while, and
choose again. They differ in which contact is best, and in when to leave it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.mujoco_env import Action, State
from envs.push_t import ARENA_HALF_M, SUCCESS_ANGLE_RAD, SUCCESS_DISTANCE_M, PushTEnv, block_error, wrapped_rad
from envs.random_policies import CorrelatedNoise, saturated
from envs.tee import Points, rotated

_CANDIDATES = 24
_STANDOFF_M = 0.04  # a push begins this far from the outline, and on its way the robot keeps this distance
_SLIPPED_M = 0.05  # and has failed when the robot is this far from it
_TILT_RAD = 0.4  # within the friction cone of the nominal robot (arctan 0.5)
_PATIENCE_STEPS = 30
_GAIN_PER_S = 8.0


@dataclass(frozen=True)
class Contacts:
    """Candidates for the next push, in the T's frame, k of them."""

    points: Points  # [k, 2]
    pushes: Points  # unit vectors [k, 2]
    standoffs: Points  # where the robot's centre begins [k, 2]


class PushingPolicy(ABC):
    """Contact after contact. A leaf says which contact is best, and when to leave one."""

    name: str
    _careful: bool  # whether it keeps clear of the T on its way to a contact
    _SLOWEST_PUSH, _FASTEST_PUSH = 0.4, 1.0  # shares of the speed limit

    def __init__(self, env: PushTEnv, rng: np.random.Generator) -> None:
        self._rng = rng
        self._tee, self._radius_m = env.tee, env.agent_radius_m
        self._high = np.asarray(env.action_high)
        self._push_speed = rng.uniform(self._SLOWEST_PUSH, self._FASTEST_PUSH)
        self._noise = CorrelatedNoise(2, rng.uniform(0.05, 0.35), rng.uniform(1.0, 6.0), rng)
        self._steps_left = 0
        self._pushing = False
        self._contact = Contacts(*np.zeros((3, 1, 2)))

    def act(self, state: State) -> Action:
        agent = rotated(state[:2] - state[2:4], -state[4])  # in the T's frame
        self._steps_left -= 1
        if self._steps_left < 0 or (self._pushing and self._finished(state, agent)):
            self._contact, self._pushing = self._choose(state, agent), False
            self._steps_left = _PATIENCE_STEPS
        standoff = self._contact.standoffs[0]
        if not self._pushing and np.linalg.norm(standoff - agent) < _STANDOFF_M:
            self._pushing, self._steps_left = True, self._push_steps()
        if self._pushing:
            velocity = self._contact.pushes[0] * self._push_speed
        else:
            velocity = self._approach(state, agent, standoff)
        return saturated(rotated(velocity, state[4]) + self._noise.sample(), self._high)

    @abstractmethod
    def _score(self, state: State, contacts: Contacts, way_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Which contact to take: that of the highest score, [k]; `way_m` is how far each is to drive."""

    @abstractmethod
    def _push_steps(self) -> int:
        """For how long to push at most."""

    def _finished(self, state: State, agent: Points) -> bool:
        return bool(self._tee.distance_m(agent) - self._radius_m > _SLIPPED_M)

    def _choose(self, state: State, agent: Points) -> Contacts:
        points, normals = self._tee.outline(self._rng.random(_CANDIDATES))
        tilts = self._rng.uniform(-_TILT_RAD, _TILT_RAD, _CANDIDATES)
        pushes = np.stack([rotated(normal, tilt) for normal, tilt in zip(normals, tilts, strict=True)])
        contacts = Contacts(points, pushes, points - normals * (self._radius_m + _STANDOFF_M))
        around_rad = np.abs(np.angle(np.exp(1j * (_polar_rad(contacts.standoffs) - _polar_rad(agent)))))
        way_m = np.maximum(np.linalg.norm(contacts.standoffs - agent, axis=1), around_rad * self._tee.reach_m)
        score = self._score(state, contacts, way_m)
        score[~self._possible(state, contacts)] = -np.inf
        best = [int(np.argmax(score))]
        return Contacts(points[best], pushes[best], contacts.standoffs[best])

    def _possible(self, state: State, contacts: Contacts) -> NDArray[np.bool_]:
        """The robot fits there, and a T near a wall is not pushed into it."""
        room_m = ARENA_HALF_M - self._radius_m
        fits = np.abs(rotated(contacts.standoffs, state[4]) + state[2:4]).max(1) < room_m
        free = self._tee.distance_m(contacts.standoffs) > self._radius_m
        outward = rotated(contacts.pushes, state[4]) * np.sign(state[2:4]) > 0
        into_a_wall = (outward & (np.abs(state[2:4]) > ARENA_HALF_M - self._tee.reach_m)).any(1)
        return fits & free & ~into_a_wall

    def _approach(self, state: State, agent: Points, target: Points) -> Points:
        """The unitless velocity, at most 1 long, that drives to `target`, around the T when that is between."""
        line = agent + np.linspace(0.0, 1.0, 8)[:, None] * (target - agent)
        if (self._tee.distance_m(line[1:]) < self._radius_m).any():
            ahead = np.angle(np.exp(1j * (_polar_rad(target) - _polar_rad(agent))))
            angle = _polar_rad(agent) + np.clip(ahead, -0.7, 0.7)
            circle_m = self._tee.reach_m + self._radius_m + _STANDOFF_M
            waypoint = rotated(circle_m * np.array([np.cos(angle), np.sin(angle)]), state[4]) + state[2:4]
            room_m = ARENA_HALF_M - self._radius_m
            target = rotated(np.clip(waypoint, -room_m, room_m) - state[2:4], -state[4])
        velocity = _GAIN_PER_S * (target - agent) / self._high
        velocity = velocity / max(1.0, float(np.linalg.norm(velocity)))
        return self._clear_of_the_t(agent, velocity) if self._careful else velocity

    def _clear_of_the_t(self, agent: Points, velocity: Points) -> Points:
        """Close to the T, only what leads along its surface, and a little away from it."""
        near = 1.0 - float(self._tee.distance_m(agent) - self._radius_m) / _STANDOFF_M
        if near <= 0.0:
            return velocity
        nudges = 1e-4 * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        right, left, up, down = self._tee.distance_m(agent + nudges)
        away = np.array([right - left, up - down]) / max(float(np.hypot(right - left, up - down)), 1e-9)
        return velocity + away * max(0.0, min(near, 1.0) * 0.5 - float(velocity @ away))


class PushTPlay(PushingPolicy):
    """Pushes any side, rather a near one, and for long, and brushes against the T on its way."""

    name = "play"
    _careful = False

    def _score(self, state: State, contacts: Contacts, way_m: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._rng.gumbel(size=len(way_m)) - way_m / 0.1

    def _push_steps(self) -> int:
        return int(self._rng.integers(5, 31))


class PushTExpert(PushingPolicy):
    """Pushes the T to random poses one after another, each time where a push leads nearest to the pose."""

    name = "expert"
    _careful = True
    _WORTH = 0.2  # cosine between where a push leads and where the T should go; below it, another side is better

    def __init__(self, env: PushTEnv, rng: np.random.Generator) -> None:
        super().__init__(env, rng)
        self._env = env
        self._goal = env.sample_state(rng)

    def act(self, state: State) -> Action:
        away_m, turned_rad = block_error(state, self._goal)
        if away_m < SUCCESS_DISTANCE_M / 2 and turned_rad < SUCCESS_ANGLE_RAD / 2:
            self._goal = self._env.sample_state(self._rng)
            self._steps_left = 0
        return super().act(state)

    def _score(self, state: State, contacts: Contacts, way_m: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._progress(state, contacts) - 0.8 * way_m

    def _push_steps(self) -> int:
        return int(self._rng.integers(5, 21))

    def _finished(self, state: State, agent: Points) -> bool:
        return super()._finished(state, agent) or self._progress(state, self._contact)[0] < self._WORTH

    def _progress(self, state: State, contacts: Contacts) -> NDArray[np.float64]:
        """Cosine between the T's motion under each push and its way to the goal, [k]."""
        motion = self._tee.motion(contacts.points, contacts.pushes)
        way = rotated(self._goal[2:4] - state[2:4], -state[4])
        turn = wrapped_rad(float(self._goal[4] - state[4])) * self._tee.gyration_radius_m
        wanted = np.array([*way, turn])
        return motion @ wanted / (np.linalg.norm(motion, axis=1) * max(float(np.linalg.norm(wanted)), 1e-9))


def _polar_rad(points: Points) -> NDArray[np.float64]:
    return np.arctan2(points[..., 1], points[..., 0])
