"""TwoRoom: a point robot, two rooms, one door."""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

import dataclasses

import mujoco
import numpy as np

from envs.mujoco_env import MujocoGoalEnv, State, at_rest
from envs.sensors import agent_position
from envs.variation import Variation, factor

ARENA_HALF_M = 1.0
DIVIDER_HALF_THICKNESS_M = 0.05
DOOR_HALF_WIDTH_M = 0.18
# 16 px of a 224 px arena in the TwoRoom of LeWorldModel (arXiv 2603.19312): 7 % of the arena's side, here 2 m.
SUCCESS_DISTANCE_M = 0.14
MAX_SPEED_M_S = 1.0
_WALL_HALF_HEIGHT_M = 0.05
# Contacts are soft: a robot that runs into a wall at full speed sinks in by up to 5 mm for an instant.
_PENETRATION_M = 0.01
_WALLS = ("wall_north", "wall_south", "wall_east", "wall_west", "divider_north", "divider_south")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoRoomVariation(Variation):
    """Factors of variation of TwoRoom worlds; ranges in the fields."""

    agent_rgb: tuple[float, ...] = factor((0.85, 0.1, 0.1), 0.0, 1.0, "1", "colour of the robot")
    floor_rgb: tuple[float, ...] = factor((0.86, 0.84, 0.78), 0.0, 1.0, "1", "colour of the floor")
    wall_rgb: tuple[float, ...] = factor((0.13, 0.16, 0.24), 0.0, 1.0, "1", "colour of every wall")
    light_intensity: float = factor(0.6, 0.3, 0.8, "1", "diffuse light; the ambient light of 0.4 is added")
    light_tilt_x: float = factor(0.0, -0.8, 0.8, "1", "slope of the light along x: 0 is straight down")
    light_tilt_y: float = factor(0.0, -0.8, 0.8, "1", "slope of the light along y: 0 is straight down")
    camera_x_m: float = factor(0.0, -0.1, 0.1, "m", "camera offset along x")
    camera_y_m: float = factor(0.0, -0.1, 0.1, "m", "camera offset along y")
    camera_height_m: float = factor(4.0, 3.8, 4.4, "m", "camera height over the floor")
    agent_radius_m: float = factor(0.07, 0.05, 0.1, "m", "radius of the robot")
    agent_friction: float = factor(0.1, 0.0, 1.0, "1", "sliding friction between robot and walls")
    door_y_m: float = factor(0.4, -0.7, 0.7, "m", "centre of the door along the dividing wall")


class TwoRoomEnv(MujocoGoalEnv):
    """A point robot must get to a place, often in the other room, through a door off the centre.

    The arena is 2 m by 2 m (x, y in [-1, 1]); the dividing wall stands along x = 0, 0.1 m thick, its door 0.36 m wide.

    Action, float32 [2]:

    | index | meaning             | min  | max | actuator   | unit |
    |-------|---------------------|------|-----|------------|------|
    | 0     | velocity along x    | -1.0 | 1.0 | velocity_x | m/s  |
    | 1     | velocity along y    | -1.0 | 1.0 | velocity_y | m/s  |

    State (simulator truth, in `info` and `get_state`), float64 [4]:

    | index | meaning          | min  | max | joint   | unit |
    |-------|------------------|------|-----|---------|------|
    | 0     | position along x | -1.0 | 1.0 | agent_x | m    |
    | 1     | position along y | -1.0 | 1.0 | agent_y | m    |
    | 2     | velocity along x | -inf | inf | agent_x | m/s  |
    | 3     | velocity along y | -inf | inf | agent_y | m/s  |

    Success: the robot's centre is nearer than 0.14 m to the goal's, the published threshold (16 of 224 pixels).
    Start: a random place at rest; the goal is forced into the other room in half of the episodes, else anywhere.
    Control step: 0.1 s. Observation, reward and info: see `MujocoGoalEnv`.

    Version history: v0, first release.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - declared so by Gymnasium
    asset_name = "two_room.xml"
    state_sensors = (agent_position(ARENA_HALF_M),)
    variation_class = TwoRoomVariation
    dt_s = 0.1
    action_names = ("velocity_x", "velocity_y")
    action_units = ("m/s", "m/s")
    action_high = (MAX_SPEED_M_S, MAX_SPEED_M_S)
    state_names = ("position_x", "position_y", "velocity_x", "velocity_y")
    state_units = ("m", "m", "m/s", "m/s")
    feature_names = ("position_x", "position_y")
    goal_tolerances = {("position_x", "position_y"): SUCCESS_DISTANCE_M}  # noqa: RUF012 - declared so by MujocoGoalEnv
    distance_unit = "m"
    success_distance = SUCCESS_DISTANCE_M

    @property
    def door_y_m(self) -> float:
        """Centre of the door in the present world."""
        return self._factors.door_y_m

    def clearance_m(self, x: float, y: float) -> float:
        """Distance of a point to the nearest wall; 0 or less inside one."""
        to_arena = ARENA_HALF_M - max(abs(x), abs(y))
        beyond_face = max(abs(x) - DIVIDER_HALF_THICKNESS_M, 0.0)
        inside_door = max(DOOR_HALF_WIDTH_M - abs(y - self.door_y_m), 0.0)
        return min(to_arena, float(np.hypot(beyond_face, inside_door)))

    def state_error(self, state: State) -> str | None:
        clearance, radius = self.clearance_m(state[0], state[1]), self._factors.agent_radius_m
        if clearance >= radius - _PENETRATION_M:
            return None
        return f"the robot (radius {radius} m) would be {clearance:.3f} m from a wall; give a free position"

    def sample_state(self, rng: np.random.Generator) -> State:
        while True:
            x, y = rng.uniform(-ARENA_HALF_M, ARENA_HALF_M, size=2)
            if self.clearance_m(x, y) >= self._factors.agent_radius_m:
                return at_rest(x, y)

    def sample_goal(self, rng: np.random.Generator, state: State) -> State:
        other_room = rng.random() < 0.5
        while True:
            goal = self.sample_state(rng)
            if not self.is_success(state, goal) and not (other_room and goal[0] * state[0] > 0):
                return goal

    def distance(self, state: State, goal_state: State) -> float:
        return float(np.hypot(state[0] - goal_state[0], state[1] - goal_state[1]))

    def pair_kind(self, start: State, goal: State) -> str:
        return "same room" if start[0] * goal[0] > 0 else "other room"

    def state_features(self, state: State) -> State:
        return state[..., :2].copy()

    @property
    def _factors(self) -> TwoRoomVariation:
        assert isinstance(self.variation, TwoRoomVariation)
        return self.variation

    def _apply_variation(self, spec: mujoco.MjSpec, variation: TwoRoomVariation) -> None:
        spec.geom("agent").rgba = [*variation.agent_rgb, 1]
        spec.geom("floor").rgba = [*variation.floor_rgb, 1]
        for name in _WALLS:
            spec.geom(name).rgba = [*variation.wall_rgb, 1]
        spec.light("sun").diffuse = [variation.light_intensity] * 3
        spec.light("sun").dir = [variation.light_tilt_x, variation.light_tilt_y, -1]
        spec.camera("top").pos = [variation.camera_x_m, variation.camera_y_m, variation.camera_height_m]
        spec.geom("agent").size = [variation.agent_radius_m, 0, 0]
        spec.geom("agent").friction = [variation.agent_friction, 0.005, 0.0001]
        _place_divider(spec.geom("divider_north"), variation.door_y_m + DOOR_HALF_WIDTH_M, ARENA_HALF_M)
        _place_divider(spec.geom("divider_south"), -ARENA_HALF_M, variation.door_y_m - DOOR_HALF_WIDTH_M)


def _place_divider(geom: mujoco.MjsGeom, low_y_m: float, high_y_m: float) -> None:
    geom.pos = [0, (low_y_m + high_y_m) / 2, _WALL_HALF_HEIGHT_M]
    geom.size = [DIVIDER_HALF_THICKNESS_M, (high_y_m - low_y_m) / 2, _WALL_HALF_HEIGHT_M]
