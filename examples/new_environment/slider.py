"""Slider: a cart on a rail must get to a place. A template: copy it, and change it into your own task."""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

import dataclasses

import mujoco
import numpy as np

from envs.mujoco_env import Action, MujocoGoalEnv, State, at_rest
from envs.random_policies import CorrelatedNoise, saturated
from envs.sensors import StateSensor, vector_sensor
from envs.variation import Variation, factor

RAIL_HALF_M = 1.0
MAX_SPEED_M_S = 1.0
SUCCESS_DISTANCE_M = 0.1
# The rail's ends are soft: a cart driven against one overshoots by less than this.
_OVERSHOOT_M = 0.05

_POSITION = StateSensor(
    vector_sensor(
        "position",
        names=("cart_x",),
        units=("m",),
        low=(-RAIL_HALF_M - _OVERSHOOT_M,),
        high=(RAIL_HALF_M + _OVERSHOOT_M,),
    ),
    lambda state: state[:1],
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliderVariation(Variation):
    """Factors of variation of Slider worlds; ranges in the fields.

    Names that end in `_rgb` or begin with `light_` change the look of a world and nothing else.
    """

    cart_rgb: tuple[float, ...] = factor((0.85, 0.1, 0.1), 0.0, 1.0, "1", "colour of the cart")
    floor_rgb: tuple[float, ...] = factor((0.86, 0.84, 0.78), 0.0, 1.0, "1", "colour of the floor")
    light_intensity: float = factor(0.6, 0.3, 0.8, "1", "diffuse light; the ambient light of 0.4 is added")
    camera_x_m: float = factor(0.0, -0.1, 0.1, "m", "camera offset along x")
    rail_friction_n_s_m: float = factor(1.0, 0.0, 5.0, "N s/m", "force that resists a velocity of the cart")


class SliderEnv(MujocoGoalEnv):
    """A cart on a rail must get to the place that the goal image shows.

    Action, float32 [1]:

    | index | meaning          | min  | max | actuator | unit |
    |-------|------------------|------|-----|----------|------|
    | 0     | velocity along x | -1.0 | 1.0 | velocity | m/s  |

    State (simulator truth, in `info` and `get_state`), float64 [2]:

    | index | meaning          | min  | max | joint  | unit |
    |-------|------------------|------|-----|--------|------|
    | 0     | position along x | -1.0 | 1.0 | cart_x | m    |
    | 1     | velocity along x | -inf | inf | cart_x | m/s  |

    Success: the cart is nearer than 0.1 m to the goal. Start and goal: random places at rest. Control step: 0.1 s.
    Observation, reward and info: see `MujocoGoalEnv`.

    Version history: v0, first release.
    """

    # The table that `MujocoGoalEnv` asks for.
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - declared so by Gymnasium
    asset_name = "slider.xml"
    variation_class = SliderVariation
    dt_s = 0.1
    action_names = ("velocity",)
    action_units = ("m/s",)
    action_high = (MAX_SPEED_M_S,)
    state_names = ("position_x", "velocity_x")
    state_units = ("m", "m/s")
    feature_names = ("position_x",)
    goal_tolerances = {("position_x",): SUCCESS_DISTANCE_M}  # noqa: RUF012 - declared so by MujocoGoalEnv
    distance_unit = "m"
    success_distance = SUCCESS_DISTANCE_M
    state_sensors = (_POSITION,)

    def state_error(self, state: State) -> str | None:
        if abs(state[0]) <= RAIL_HALF_M + _OVERSHOOT_M:
            return None
        return f"the rail ends at +-{RAIL_HALF_M} m; give a position on it"

    def sample_state(self, rng: np.random.Generator) -> State:
        return at_rest(rng.uniform(-RAIL_HALF_M, RAIL_HALF_M))

    def distance(self, state: State, goal_state: State) -> float:
        return float(abs(state[0] - goal_state[0]))

    def state_features(self, state: State) -> State:
        return state[..., :1].copy()

    def _apply_variation(self, spec: mujoco.MjSpec, variation: SliderVariation) -> None:
        for name in ("cart", "floor"):
            spec.geom(name).rgba = [*getattr(variation, f"{name}_rgb"), 1]
        spec.light("sun").diffuse = [variation.light_intensity] * 3
        spec.camera("top").pos = [variation.camera_x_m, 0, 4]
        spec.joint("cart_x").damping = [variation.rail_friction_n_s_m, 0, 0]  # linear, no higher order


class SliderExpert:
    """Drives to random places one after another, at a speed and with a noise of the episode's own."""

    name = "expert"
    _GAIN_PER_S = 5.0

    def __init__(self, env: SliderEnv, rng: np.random.Generator) -> None:
        self._env, self._rng = env, rng
        self._high = np.asarray(env.action_high)
        self._speed = rng.uniform(0.3, 1.0)
        self._noise = CorrelatedNoise(1, rng.uniform(0.05, 0.4), rng.uniform(1.0, 6.0), rng)
        self._goal = env.sample_state(rng)

    def act(self, state: State) -> Action:
        if self._env.distance(state, self._goal) < SUCCESS_DISTANCE_M / 2:
            self._goal = self._env.sample_state(self._rng)
        command = self._GAIN_PER_S * (self._goal[:1] - state[:1]) / self._high
        return saturated(np.clip(command, -self._speed, self._speed) + self._noise.sample(), self._high)
