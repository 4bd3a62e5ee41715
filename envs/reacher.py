"""Reacher: a two-link arm that must take up a posture."""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

import dataclasses

import mujoco
import numpy as np

from envs.mujoco_env import MujocoGoalEnv, State, at_rest
from envs.sensors import StateSensor, vector_sensor
from envs.variation import Variation, factor

ELBOW_LIMIT_RAD = 2.6
# The Reacher test of LeWorldModel (arXiv 2603.19312). Departure: theirs does not wrap the shoulder, so that a full turn
# fails although the images are equal; here the shoulder's difference is taken modulo a full turn.
SUCCESS_ANGLE_RAD = 0.05
MAX_JOINT_SPEED_RAD_S = 3.0
# The elbow's limit is soft: a joint driven against it overshoots by less than this.
_OVERSHOOT_RAD = 0.1


def _angles(state: State) -> State:
    shoulder, elbow = state[:2]
    return np.array([(shoulder + np.pi) % (2 * np.pi) - np.pi, elbow])


_JOINT_ANGLES = StateSensor(
    vector_sensor(
        "joint_angles",
        names=("shoulder_within_a_turn", "elbow"),
        units=("rad", "rad"),
        low=(-np.pi, -ELBOW_LIMIT_RAD - _OVERSHOOT_RAD),
        high=(np.pi, ELBOW_LIMIT_RAD + _OVERSHOOT_RAD),
    ),
    _angles,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReacherVariation(Variation):
    """Factors of variation of Reacher worlds; ranges in the fields."""

    upper_arm_rgb: tuple[float, ...] = factor((0.1, 0.3, 0.8), 0.0, 1.0, "1", "colour of the upper arm")
    forearm_rgb: tuple[float, ...] = factor((0.1, 0.6, 0.25), 0.0, 1.0, "1", "colour of the forearm")
    fingertip_rgb: tuple[float, ...] = factor((0.85, 0.1, 0.1), 0.0, 1.0, "1", "colour of the fingertip")
    base_rgb: tuple[float, ...] = factor((0.15, 0.15, 0.18), 0.0, 1.0, "1", "colour of the base")
    floor_rgb: tuple[float, ...] = factor((0.86, 0.84, 0.78), 0.0, 1.0, "1", "colour of the table")
    light_intensity: float = factor(0.6, 0.3, 0.8, "1", "diffuse light; the ambient light of 0.4 is added")
    light_tilt_x: float = factor(0.0, -0.8, 0.8, "1", "slope of the light along x: 0 is straight down")
    light_tilt_y: float = factor(0.0, -0.8, 0.8, "1", "slope of the light along y: 0 is straight down")
    camera_x_m: float = factor(0.0, -0.1, 0.1, "m", "camera offset along x")
    camera_y_m: float = factor(0.0, -0.1, 0.1, "m", "camera offset along y")
    camera_height_m: float = factor(4.0, 3.8, 4.4, "m", "camera height over the table")
    link_radius_m: float = factor(0.08, 0.05, 0.1, "m", "half the thickness of both links")
    upper_arm_length_m: float = factor(0.5, 0.4, 0.5, "m", "shoulder to elbow")
    forearm_length_m: float = factor(0.5, 0.4, 0.5, "m", "elbow to fingertip")
    joint_damping_n_m_s_rad: float = factor(0.1, 0.0, 3.0, "N m s/rad", "viscous friction of both joints")


class ReacherEnv(MujocoGoalEnv):
    """A planar two-link arm must take up the posture of the goal image.

    Both links are 0.5 m long, the shoulder is at the origin and turns without limit; the links pass over each other.

    Action, float32 [2]:

    | index | meaning              | min  | max | actuator          | unit  |
    |-------|----------------------|------|-----|-------------------|-------|
    | 0     | velocity of shoulder | -3.0 | 3.0 | velocity_shoulder | rad/s |
    | 1     | velocity of elbow    | -3.0 | 3.0 | velocity_elbow    | rad/s |

    State (simulator truth, in `info` and `get_state`), float64 [4]:

    | index | meaning                        | min  | max | joint    | unit  |
    |-------|--------------------------------|------|-----|----------|-------|
    | 0     | shoulder angle (turns counted) | -inf | inf | shoulder | rad   |
    | 1     | elbow angle, 0 is stretched    | -2.6 | 2.6 | elbow    | rad   |
    | 2     | shoulder velocity              | -inf | inf | shoulder | rad/s |
    | 3     | elbow velocity                 | -inf | inf | elbow    | rad/s |

    Success: both joint angles are within 0.05 rad of the goal's, the shoulder's difference wrapped to half a turn. The
    published test (LeWorldModel) is 0.05 rad too, unwrapped. `distance` is the larger of the two differences, in rad.
    Start and goal: random postures at rest. Control step: 0.05 s. Observation, reward and info: see `MujocoGoalEnv`.

    Version history: v0, first release.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 - declared so by Gymnasium
    asset_name = "reacher.xml"
    state_sensors = (_JOINT_ANGLES,)
    variation_class = ReacherVariation
    dt_s = 0.05
    action_names = ("velocity_shoulder", "velocity_elbow")
    action_units = ("rad/s", "rad/s")
    action_high = (MAX_JOINT_SPEED_RAD_S, MAX_JOINT_SPEED_RAD_S)
    state_names = ("angle_shoulder", "angle_elbow", "velocity_shoulder", "velocity_elbow")
    state_units = ("rad", "rad", "rad/s", "rad/s")
    feature_names = ("sin_shoulder", "cos_shoulder", "sin_elbow", "cos_elbow", "fingertip_x", "fingertip_y")
    goal_tolerances = {  # noqa: RUF012 - declared so by MujocoGoalEnv
        ("sin_shoulder", "cos_shoulder"): 2 * float(np.sin(SUCCESS_ANGLE_RAD / 2)),
        ("sin_elbow", "cos_elbow"): 2 * float(np.sin(SUCCESS_ANGLE_RAD / 2)),
    }
    distance_unit = "rad"
    success_distance = SUCCESS_ANGLE_RAD

    def state_error(self, state: State) -> str | None:
        if abs(state[1]) <= ELBOW_LIMIT_RAD + _OVERSHOOT_RAD:
            return None
        return f"the elbow's limit is +-{ELBOW_LIMIT_RAD} rad; give a smaller angle"

    def sample_state(self, rng: np.random.Generator) -> State:
        return at_rest(rng.uniform(-np.pi, np.pi), rng.uniform(-ELBOW_LIMIT_RAD, ELBOW_LIMIT_RAD))

    def distance(self, state: State, goal_state: State) -> float:
        return float(np.max(np.abs(angle_differences_rad(state, goal_state))))

    def state_features(self, state: State) -> State:
        shoulder, elbow = state[..., 0], state[..., 1]
        upper, fore = self._factors.upper_arm_length_m, self._factors.forearm_length_m
        tip_x = upper * np.cos(shoulder) + fore * np.cos(shoulder + elbow)
        tip_y = upper * np.sin(shoulder) + fore * np.sin(shoulder + elbow)
        return np.stack([np.sin(shoulder), np.cos(shoulder), np.sin(elbow), np.cos(elbow), tip_x, tip_y], axis=-1)

    @property
    def _factors(self) -> ReacherVariation:
        assert isinstance(self.variation, ReacherVariation)
        return self.variation

    def _apply_variation(self, spec: mujoco.MjSpec, variation: ReacherVariation) -> None:
        for name in ("upper_arm", "forearm", "fingertip", "base", "floor"):
            spec.geom(name).rgba = [*getattr(variation, f"{name}_rgb"), 1]
        spec.light("sun").diffuse = [variation.light_intensity] * 3
        spec.light("sun").dir = [variation.light_tilt_x, variation.light_tilt_y, -1]
        spec.camera("top").pos = [variation.camera_x_m, variation.camera_y_m, variation.camera_height_m]
        for name in ("upper_arm", "forearm"):
            link = spec.geom(name)
            link.fromto = [0, 0, 0, getattr(variation, f"{name}_length_m"), 0, 0]
            link.size = [variation.link_radius_m, 0, 0]
        spec.body("forearm").pos = [variation.upper_arm_length_m, 0, 0.1]
        spec.geom("fingertip").pos = [variation.forearm_length_m, 0, 0.05]
        for name in ("shoulder", "elbow"):
            spec.joint(name).damping = [variation.joint_damping_n_m_s_rad, 0, 0]  # linear, no higher order


def angle_differences_rad(state: State, goal_state: State) -> State:
    """Goal minus state for (shoulder, elbow), float64 [2]; the shoulder's is wrapped to [-pi, pi)."""
    shoulder, elbow = goal_state[:2] - state[:2]
    return np.array([(shoulder + np.pi) % (2 * np.pi) - np.pi, elbow])
