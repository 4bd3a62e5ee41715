"""PushT: a disc must push a T into a pose."""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

import dataclasses

import mujoco
import numpy as np

from envs.mujoco_env import MujocoGoalEnv, State, at_rest
from envs.sensors import agent_position
from envs.tee import Tee, rotated
from envs.variation import Variation, factor

ARENA_HALF_M = 1.0
MAX_SPEED_M_S = 0.5
# Push-T of LeWorldModel (arXiv 2603.19312): 20 of 512 pixels, here of 2 m, and 20 degrees.
SUCCESS_DISTANCE_M = 20 / 512 * 2 * ARENA_HALF_M
SUCCESS_ANGLE_RAD = np.pi / 9
_WALLS = ("wall_north", "wall_south", "wall_east", "wall_west")
_START_HALF_M = 0.6  # blocks start away from the walls, so that every side can be pushed
# Contacts are soft: squeezed between robot and wall, surfaces sink into each other by less than this.
_PENETRATION_M = 0.02


@dataclasses.dataclass(frozen=True, kw_only=True)
class PushTVariation(Variation):
    """Factors of variation of PushT worlds; ranges in the fields."""

    agent_rgb: tuple[float, ...] = factor((0.1, 0.3, 0.8), 0.0, 1.0, "1", "colour of the robot")
    bar_rgb: tuple[float, ...] = factor((0.85, 0.1, 0.1), 0.0, 1.0, "1", "colour of the T's bar")
    stem_rgb: tuple[float, ...] = factor((0.1, 0.6, 0.25), 0.0, 1.0, "1", "colour of the T's stem")
    floor_rgb: tuple[float, ...] = factor((0.86, 0.84, 0.78), 0.0, 1.0, "1", "colour of the table")
    wall_rgb: tuple[float, ...] = factor((0.13, 0.16, 0.24), 0.0, 1.0, "1", "colour of every wall")
    light_intensity: float = factor(0.6, 0.3, 0.8, "1", "diffuse light; the ambient light of 0.4 is added")
    light_tilt_x: float = factor(0.0, -0.8, 0.8, "1", "slope of the light along x: 0 is straight down")
    light_tilt_y: float = factor(0.0, -0.8, 0.8, "1", "slope of the light along y: 0 is straight down")
    camera_x_m: float = factor(0.0, -0.1, 0.1, "m", "camera offset along x")
    camera_y_m: float = factor(0.0, -0.1, 0.1, "m", "camera offset along y")
    camera_height_m: float = factor(4.0, 3.8, 4.4, "m", "camera height over the table")
    agent_radius_m: float = factor(0.075, 0.05, 0.1, "m", "radius of the robot")
    agent_friction: float = factor(0.5, 0.0, 1.0, "1", "sliding friction between the robot and what it touches")
    block_length_m: float = factor(0.6, 0.45, 0.65, "m", "length of the T's bar; the rest is in proportion")
    table_friction_n_s_m: float = factor(10.0, 5.0, 20.0, "N s/m", "force that resists a velocity of the T")


class PushTEnv(MujocoGoalEnv):
    """A disc must push a T on a table into the pose of the goal image.

    The table is 2 m by 2 m (x, y in [-1, 1]) with walls around it. The T's bar is 0.6 m long and 0.15 m thick, its stem
    0.45 m long; the robot's radius is 0.075 m: 1.28 times the sizes of Push-T, relative to the table. A T that is not
    pushed stops: friction is strong and proportional to velocity over the whole footprint. Bar and stem have colours of
    their own, so that an image of 64 px says which way the T points.

    Action, float32 [2]:

    | index | meaning             | min  | max | actuator   | unit |
    |-------|---------------------|------|-----|------------|------|
    | 0     | velocity along x    | -0.5 | 0.5 | velocity_x | m/s  |
    | 1     | velocity along y    | -0.5 | 0.5 | velocity_y | m/s  |

    State (simulator truth, in `info` and `get_state`), float64 [10]:

    | index | meaning                        | min  | max | joint       | unit  |
    |-------|--------------------------------|------|-----|-------------|-------|
    | 0     | robot's position along x       | -1.0 | 1.0 | agent_x     | m     |
    | 1     | robot's position along y       | -1.0 | 1.0 | agent_y     | m     |
    | 2     | T's centre of mass along x     | -1.0 | 1.0 | block_x     | m     |
    | 3     | T's centre of mass along y     | -1.0 | 1.0 | block_y     | m     |
    | 4     | T's angle (turns counted)      | -inf | inf | block_angle | rad   |
    | 5..8  | velocities of 0..3             | -inf | inf | as above    | m/s   |
    | 9     | velocity of 4                  | -inf | inf | block_angle | rad/s |

    Success: the T's centre is nearer than 0.078 m to the goal's and its angle within 20 degrees, the published limits
    (20 of 512 pixels); where the robot is does not count. Whole success is the published test: the robot's and the T's
    errors together, as one vector of four numbers, are below 0.078 m too. `distance` is the larger of the T's errors,
    each as a share of its limit: below 1 is success. Start and goal: random poses at rest. Control step: 0.1 s.
    Observation, reward and info: see `MujocoGoalEnv`.

    Version history: v0, first release.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - declared so by Gymnasium
    asset_name = "push_t.xml"
    state_sensors = (agent_position(ARENA_HALF_M),)
    variation_class = PushTVariation
    dt_s = 0.1
    action_names = ("velocity_x", "velocity_y")
    action_units = ("m/s", "m/s")
    action_high = (MAX_SPEED_M_S, MAX_SPEED_M_S)
    state_names = (
        *("agent_x", "agent_y", "block_x", "block_y", "block_angle"),
        *("agent_velocity_x", "agent_velocity_y", "block_velocity_x", "block_velocity_y", "block_turn_rate"),
    )
    state_units = ("m", "m", "m", "m", "rad", "m/s", "m/s", "m/s", "m/s", "rad/s")
    feature_names = ("agent_x", "agent_y", "block_x", "block_y", "sin_block", "cos_block")
    goal_tolerances = {  # noqa: RUF012 - declared so by MujocoGoalEnv
        ("block_x", "block_y"): SUCCESS_DISTANCE_M,
        ("sin_block", "cos_block"): 2 * float(np.sin(SUCCESS_ANGLE_RAD / 2)),
    }
    distance_unit = "tolerances"
    success_distance = 1.0

    @property
    def tee(self) -> Tee:
        """The T's shape in the present world."""
        return Tee(self._factors.block_length_m)

    @property
    def agent_radius_m(self) -> float:
        """Radius of the robot in the present world."""
        return self._factors.agent_radius_m

    def state_error(self, state: State) -> str | None:
        return self._overlap(state, _PENETRATION_M)

    def sample_state(self, rng: np.random.Generator) -> State:
        while True:
            agent = rng.uniform(-ARENA_HALF_M, ARENA_HALF_M, size=2)
            block = rng.uniform(-_START_HALF_M, _START_HALF_M, size=2)
            state = at_rest(*agent, *block, rng.uniform(-np.pi, np.pi))
            if self._overlap(state, 0.0) is None:
                return state

    def distance(self, state: State, goal_state: State) -> float:
        away_m, turned_rad = block_error(state, goal_state)
        return max(away_m / SUCCESS_DISTANCE_M, turned_rad / SUCCESS_ANGLE_RAD)

    def is_whole_success(self, state: State, goal_state: State) -> bool:
        away_m = float(np.linalg.norm(goal_state[:4] - state[:4]))
        return away_m < SUCCESS_DISTANCE_M and self.is_success(state, goal_state)

    def state_features(self, state: State) -> State:
        angle = state[..., 4]
        return np.concatenate([state[..., :4], np.stack([np.sin(angle), np.cos(angle)], axis=-1)], axis=-1)

    @property
    def _factors(self) -> PushTVariation:
        assert isinstance(self.variation, PushTVariation)
        return self.variation

    def _overlap(self, state: State, allowed_m: float) -> str | None:
        """Overlap deeper than `allowed_m`, in words; None where there is none."""
        agent, block, angle = state[:2], state[2:4], state[4]
        radius, tee = self.agent_radius_m, self.tee
        depths_m = {
            "the robot in a wall": np.abs(agent).max() + radius - ARENA_HALF_M,
            "the T in a wall": np.abs(rotated(tee.corners, angle) + block).max() - ARENA_HALF_M,
            "the robot in the T": radius - tee.distance_m(rotated(agent - block, -angle)),
        }
        for what, depth_m in depths_m.items():
            if depth_m > allowed_m:
                return f"{what} would be {depth_m:.3f} m deep; move them apart"
        return None

    def _apply_variation(self, spec: mujoco.MjSpec, variation: PushTVariation) -> None:
        for name in ("agent", "bar", "stem", "floor"):
            spec.geom(name).rgba = [*getattr(variation, f"{name}_rgb"), 1]
        for name in _WALLS:
            spec.geom(name).rgba = [*variation.wall_rgb, 1]
        spec.light("sun").diffuse = [variation.light_intensity] * 3
        spec.light("sun").dir = [variation.light_tilt_x, variation.light_tilt_y, -1]
        spec.camera("top").pos = [variation.camera_x_m, variation.camera_y_m, variation.camera_height_m]
        spec.geom("agent").size = [variation.agent_radius_m, 0, 0]
        spec.geom("agent").friction = [variation.agent_friction, 0.005, 0.0001]
        tee, friction = Tee(variation.block_length_m), variation.table_friction_n_s_m
        for name, (x, y, half_x, half_y) in zip(("bar", "stem"), tee.boxes, strict=True):
            box = spec.geom(name)
            box.pos, box.size = [x, y, 0], [half_x, half_y, box.size[2]]
        for name in ("block_x", "block_y"):
            spec.joint(name).damping = [friction, 0, 0]  # linear, no higher order
        spec.joint("block_angle").damping = [friction * tee.gyration_radius_m**2, 0, 0]


def block_error(state: State, goal_state: State) -> tuple[float, float]:
    """Error of the T's pose: (metres, radians), the angle at most half a turn."""
    away_m = float(np.hypot(*(goal_state[2:4] - state[2:4])))
    return away_m, abs(wrapped_rad(float(goal_state[4] - state[4])))


def wrapped_rad(angle_rad: float) -> float:
    """The same angle in [-pi, pi)."""
    return (angle_rad + np.pi) % (2 * np.pi) - np.pi
