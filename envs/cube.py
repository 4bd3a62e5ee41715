"""Cube: an arm with a parallel gripper picks up a cube and puts it elsewhere."""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

import dataclasses
from collections.abc import Sequence

import mujoco
import numpy as np

from envs.arm_control import ToolControl, ToolPose, Workspace
from envs.mujoco_env import Action, MujocoGoalEnv, State
from envs.sensors import StateSensor, vector_sensor
from envs.variation import Variation, factor

# The cube test of OGBench (arXiv 2410.20092), which LeWorldModel uses: position only.
SUCCESS_DISTANCE_M = 0.04
MAX_SPEED_M_S = 0.3
MAX_YAW_RATE_RAD_S = 2.0
MAX_OPENING_RATE_M_S = 0.15
MAX_OPENING_M = 0.085
WORKSPACE = Workspace(np.array([-0.11, -0.15, 0.015, -0.9]), np.array([0.11, 0.15, 0.18, 0.9]))
HELD_START_SHARE = 0.3
_ARM_JOINTS = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
_JOINT_LIMITS_RAD = (6.28, 6.28, 3.14, 6.28, 6.28, 6.28)
_ELBOW_UP_RAD = (0.0, 0.17, 1.98, -0.57, -np.pi / 2, -np.pi / 2)
_MAX_JOINT_SPEED_RAD_S = 3.14
# The gripper's set point may be this far beyond where its fingers are: 2500 N/m of servo make it 25 N of grip.
_GRIP_LEAD_M = 0.01
_PADS_SINK_M = 0.001
_CUBE_MARGIN_M = 0.02
_CLEAR_OF_HAND_M = 0.08
# How far soft limits and contacts give way: joints beyond their limits, a cube that is pressed into the table.
_OVERSHOOT_RAD, _OVERSHOOT_M, _PENETRATION_M = 0.1, 0.005, 0.01
_TABLE_HALF_M = 1.6
_OPEN, _CUBE, _QUATERNION, _REST = slice(6, 8), slice(8, 11), slice(11, 15), slice(15, 29)


def _joints_and_opening(state: State) -> State:
    return np.append(state[:6], state[_OPEN].sum())


_PROPRIOCEPTION = StateSensor(
    vector_sensor(
        "proprioception",
        names=(*(f"angle_{joint}" for joint in _ARM_JOINTS), "gripper_opening"),
        units=(*("rad",) * 6, "m"),
        low=(*(-limit - _OVERSHOOT_RAD for limit in _JOINT_LIMITS_RAD), -2 * _OVERSHOOT_M),
        high=(*(limit + _OVERSHOOT_RAD for limit in _JOINT_LIMITS_RAD), MAX_OPENING_M + 2 * _OVERSHOOT_M),
    ),
    _joints_and_opening,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CubeVariation(Variation):
    """Factors of variation of Cube worlds; ranges in the fields."""

    cube_rgb: tuple[float, ...] = factor((0.85, 0.1, 0.1), 0.0, 1.0, "1", "colour of the cube")
    table_rgb: tuple[float, ...] = factor((0.86, 0.84, 0.78), 0.0, 1.0, "1", "colour of the table")
    arm_rgb: tuple[float, ...] = factor((0.62, 0.66, 0.72), 0.0, 1.0, "1", "colour of the arm's links")
    hand_rgb: tuple[float, ...] = factor((0.16, 0.17, 0.2), 0.0, 1.0, "1", "colour of the gripper's palm")
    left_finger_rgb: tuple[float, ...] = factor((0.1, 0.35, 0.85), 0.0, 1.0, "1", "colour of the left finger")
    right_finger_rgb: tuple[float, ...] = factor((0.1, 0.6, 0.25), 0.0, 1.0, "1", "colour of the right finger")
    light_intensity: float = factor(0.6, 0.3, 0.8, "1", "diffuse light; the ambient light of 0.4 is added")
    light_tilt_x: float = factor(-0.35, -0.8, 0.8, "1", "slope of the light along x: 0 is straight down")
    light_tilt_y: float = factor(0.3, -0.8, 0.8, "1", "slope of the light along y: 0 is straight down")
    camera_x_m: float = factor(0.843, 0.81, 0.88, "m", "camera position along x")
    camera_y_m: float = factor(0.0, -0.03, 0.03, "m", "camera position along y")
    camera_height_m: float = factor(0.787, 0.76, 0.82, "m", "camera height over the table")
    cube_size_m: float = factor(0.04, 0.03, 0.05, "m", "length of the cube's edges")
    cube_mass_kg: float = factor(0.032, 0.02, 0.06, "kg", "mass of the cube")
    cube_friction: float = factor(1.0, 0.6, 1.5, "1", "sliding friction between the cube and what it touches")


class CubeEnv(MujocoGoalEnv):
    """An arm must pick up a cube and bring it to where the goal image shows it, on the table or in the air.

    Six joints with the link lengths and limits of a UR5e, a parallel gripper of 85 mm stroke, a cube of 4 cm on a
    table. The gripper points down; its tip, between the fingers, stays in a workspace of x in [-0.11, 0.11], y in
    [-0.15, 0.15], z in [0.015, 0.18] m and yaw in [-0.9, 0.9] rad: a velocity that would leave it fades to zero at the
    edge. Velocities of the tip become joint velocities by damped least squares every 5 ms (`envs/arm_control.py`). The
    gripper holds its opening while its rate is 0, with up to 25 N. A cube in the gripper sinks by 2 mm/s while the tip
    is commanded to stand still, as velocity servos let it.

    Action, float32 [5]:

    | index | meaning                                | min   | max  | actuator   | unit  |
    |-------|----------------------------------------|-------|------|------------|-------|
    | 0     | velocity of the tip along x            | -0.3  | 0.3  | six joints | m/s   |
    | 1     | velocity of the tip along y            | -0.3  | 0.3  | six joints | m/s   |
    | 2     | velocity of the tip along z            | -0.3  | 0.3  | six joints | m/s   |
    | 3     | yaw rate of the gripper                | -2.0  | 2.0  | six joints | rad/s |
    | 4     | rate of the gripper's opening          | -0.15 | 0.15 | gripper    | m/s   |

    State (simulator truth, in `info` and `get_state`), float64 [30]:

    | index  | meaning                                                | joint        | unit         |
    |--------|--------------------------------------------------------|--------------|--------------|
    | 0..5   | arm's joint angles, within +-6.28 (elbow: +-3.14)      | shoulder_pan | rad          |
    | 6, 7   | left and right finger, 0 is closed, 0.0425 open        | finger_left  | m            |
    | 8..10  | cube's centre x, y, z                                  | cube         | m            |
    | 11..14 | cube's orientation, quaternion w, x, y, z              | cube         | 1            |
    | 15..28 | velocities: joints, fingers, cube's centre, cube's turn | as above    | rad/s or m/s |
    | 29     | set point of the gripper's opening                     | gripper      | m            |

    Success: the cube's centre is nearer than 0.04 m to the goal's, the published test (OGBench, LeWorldModel); neither
    its orientation nor the arm counts. `distance` is that of the centres, in m. Start and goal: the cube anywhere on
    the table, or (30 %) in the gripper. Control step: 0.05 s. Observation, reward and info: see `MujocoGoalEnv`.

    Version history: v0, first release.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 - declared so by Gymnasium
    asset_name = "cube.xml"
    camera_names = ("front", "wrist")
    state_sensors = (_PROPRIOCEPTION,)
    variation_class = CubeVariation
    dt_s = 0.05
    action_names = ("velocity_x", "velocity_y", "velocity_z", "yaw_rate", "opening_rate")
    action_units = ("m/s", "m/s", "m/s", "rad/s", "m/s")
    action_high = (MAX_SPEED_M_S, MAX_SPEED_M_S, MAX_SPEED_M_S, MAX_YAW_RATE_RAD_S, MAX_OPENING_RATE_M_S)
    state_names = (
        *(f"angle_{joint}" for joint in _ARM_JOINTS),
        *("finger_left", "finger_right", "cube_x", "cube_y", "cube_z", "cube_qw", "cube_qx", "cube_qy", "cube_qz"),
        *(f"velocity_{joint}" for joint in _ARM_JOINTS),
        *("finger_left_velocity", "finger_right_velocity", "cube_velocity_x", "cube_velocity_y", "cube_velocity_z"),
        *("cube_turn_x", "cube_turn_y", "cube_turn_z", "opening_set_point"),
    )
    state_units = (
        *("rad",) * 6, *("m",) * 5, *("1",) * 4, *("rad/s",) * 6, *("m/s",) * 5, *("rad/s",) * 3, "m",
    )  # fmt: skip
    feature_names = (
        *("cube_x", "cube_y", "cube_z", "gripper_x", "gripper_y", "gripper_z"),
        *("sin_gripper_yaw", "cos_gripper_yaw", "gripper_opening"),
    )
    goal_tolerances = {("cube_x", "cube_y", "cube_z"): SUCCESS_DISTANCE_M}  # noqa: RUF012 - declared so by MujocoGoalEnv
    distance_unit = "m"
    success_distance = SUCCESS_DISTANCE_M

    def __init__(
        self,
        render_mode: str | None = "rgb_array",
        image_size: int = 64,
        sensors: Sequence[str] | None = None,
    ) -> None:
        super().__init__(render_mode, image_size, sensors)
        self._control = ToolControl(self._model, "grip", len(_ARM_JOINTS), _MAX_JOINT_SPEED_RAD_S)
        self._kinematics = mujoco.MjData(self._model)  # for states other than the present one

    @property
    def cube_size_m(self) -> float:
        """Length of the cube's edges in the present world."""
        return self._factors.cube_size_m

    def tool_pose(self, state: State) -> ToolPose:
        """Pose of the gripper's tip in `state`."""
        self._kinematics.qpos[:] = state[: self._model.nq]
        mujoco.mj_kinematics(self._model, self._kinematics)
        return self._control.pose(self._kinematics)

    def state_error(self, state: State) -> str | None:
        low, high = self._model.jnt_range[:8].T
        slack = np.repeat([_OVERSHOOT_RAD, _OVERSHOOT_M], [6, 2])
        beyond = [
            name
            for name, angle, least, most in zip(self.state_names, state, low - slack, high + slack, strict=False)
            if not least <= angle <= most
        ]
        if beyond:
            return f"{', '.join(beyond)} would be beyond the joint's limits; give smaller values"
        if abs(float(np.linalg.norm(state[_QUATERNION])) - 1.0) > 1e-6:
            return "the cube's quaternion has not length 1; normalise it"
        low_m, high_m = self._model.actuator_actrange[-1]
        if not low_m <= state[-1] <= high_m:
            return f"the gripper's set point is not within {low_m} to {high_m} m"
        if np.abs(state[_CUBE]).max() > _TABLE_HALF_M or _lowest_m(state, self.cube_size_m) < -_PENETRATION_M:
            return "the cube would not be on or above the table; lift it"
        return None

    def sample_state(self, rng: np.random.Generator) -> State:
        held = rng.random() < HELD_START_SHARE
        low, high = WORKSPACE.low, WORKSPACE.high
        while True:
            tip = rng.uniform([*low[:2], self.cube_size_m], high[:3])
            tool = ToolPose(tip, rng.uniform(low[3], high[3]))
            if held:
                return self.holding_state(tool)
            cube = rng.uniform(low[:2] + _CUBE_MARGIN_M, high[:2] - _CUBE_MARGIN_M)
            above_m = tip[2] - self.cube_size_m
            if np.linalg.norm(cube - tip[:2]) > _CLEAR_OF_HAND_M or above_m > self.cube_size_m:
                position = np.array([*cube, self.cube_size_m / 2])
                return self.state_at(tool, rng.uniform(0.0, MAX_OPENING_M), position, rng.uniform(-np.pi, np.pi))

    def state_at(self, tool: ToolPose, opening_m: float, cube_m: np.ndarray, cube_yaw: float) -> State:
        """At rest, the gripper's tip at `tool` and the cube upright, its centre at `cube_m` [3]; float64 [S]."""
        state = np.zeros(len(self.state_names))
        self._kinematics.qpos[:] = self._model.qpos0  # the same start each time: the result is equal to the last bit
        self._kinematics.qpos[:6] = _ELBOW_UP_RAD
        self._control.place(self._kinematics, tool)
        state[:6] = self._kinematics.qpos[:6]
        state[_OPEN], state[-1] = opening_m / 2, opening_m
        state[_CUBE] = cube_m
        state[_QUATERNION] = [np.cos(cube_yaw / 2), 0.0, 0.0, np.sin(cube_yaw / 2)]
        return state

    def holding_state(self, tool: ToolPose) -> State:
        """At rest, the cube between the closed fingers of a gripper at `tool`; float64 [S]."""
        state = self.state_at(tool, self.cube_size_m - _PADS_SINK_M, tool.position, tool.yaw)
        state[-1] -= _GRIP_LEAD_M
        return state

    def distance(self, state: State, goal_state: State) -> float:
        return float(np.linalg.norm(state[_CUBE] - goal_state[_CUBE]))

    def state_features(self, state: State) -> State:
        rows = state.reshape(-1, state.shape[-1])
        poses = [self.tool_pose(row) for row in rows]
        yaws = np.array([pose.yaw for pose in poses])
        tips = np.stack([pose.position for pose in poses])
        opening = rows[:, _OPEN].sum(axis=1)
        columns = [rows[:, _CUBE], tips, np.stack([np.sin(yaws), np.cos(yaws), opening], axis=-1)]
        return np.concatenate(columns, axis=-1).reshape(*state.shape[:-1], -1)

    def _simulate(self, action: Action) -> None:
        data, command = self._data, action[:4].astype(np.float64)
        data.ctrl[-1] = action[-1]
        for _ in range(self._substeps):
            mujoco.mj_step1(self._model, data)
            data.ctrl[:-1] = self._control.joint_velocities(data, command, WORKSPACE, self.dt_s)
            opening = data.qpos[_OPEN].sum()
            data.act[0] = min(max(data.act[0], opening - _GRIP_LEAD_M), opening + _GRIP_LEAD_M)
            mujoco.mj_step2(self._model, data)

    @property
    def _factors(self) -> CubeVariation:
        assert isinstance(self.variation, CubeVariation)
        return self.variation

    def _apply_variation(self, spec: mujoco.MjSpec, variation: CubeVariation) -> None:
        for name in ("cube", "table"):
            spec.geom(name).rgba = [*getattr(variation, f"{name}_rgb"), 1]
        for name in ("shoulder", "upper_arm", "forearm", "wrist_1", "wrist_2", "wrist_3"):
            spec.geom(name).rgba = [*variation.arm_rgb, 1]
        spec.geom("palm").rgba = [*variation.hand_rgb, 1]
        spec.geom("finger_left").rgba = [*variation.left_finger_rgb, 1]
        spec.geom("finger_right").rgba = [*variation.right_finger_rgb, 1]
        spec.light("sun").diffuse = [variation.light_intensity] * 3
        spec.light("sun").dir = [variation.light_tilt_x, variation.light_tilt_y, -1]
        spec.camera("front").pos = [variation.camera_x_m, variation.camera_y_m, variation.camera_height_m]
        cube = spec.geom("cube")
        cube.size = [variation.cube_size_m / 2] * 3
        cube.mass = variation.cube_mass_kg
        cube.friction = [variation.cube_friction, 0.02, 0.0001]
        spec.body("cube").pos = [0, 0, variation.cube_size_m / 2]


def rotation_of_cube(state: State) -> np.ndarray:
    """Rotation of the cube in one state, float64 [3, 3]: the columns are its edges in the world."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, state[_QUATERNION])
    return rotation.reshape(3, 3)


def _lowest_m(state: State, size_m: float) -> float:
    """Height of the cube's lowest corner over the table."""
    return float(state[_CUBE][2] - size_m / 2 * np.abs(rotation_of_cube(state)[2]).sum())
