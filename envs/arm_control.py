"""Velocity of an arm's tool, turned into joint velocities by damped least squares at every physics step.

Wampler 1986, "Manipulator inverse kinematic solutions based on vector formulations and damped least-squares methods":
dq = J^T (J J^T + damping^2 I)^-1 v. The tool's z axis is kept upright by feedback, so that four numbers are left to
command: velocity along x, y, z and the rate of yaw. Nothing is remembered from one step to the next.
"""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

_DAMPING = 0.02
_UPRIGHT_GAIN_PER_S = 20.0
_PLACING_STEPS = 40
_DAMPING_MATRIX = _DAMPING**2 * np.eye(6)

Vector = NDArray[np.float64]


class ToolPose(NamedTuple):
    """Position [3] of the tool in m, and its yaw in rad, 0 where its x axis is the world's."""

    position: Vector
    yaw: float


class Workspace(NamedTuple):
    """Box that the tool stays in; a velocity that would leave it fades to nothing at its edge."""

    low: Vector
    """Least x, y, z in m and yaw in rad, [4]."""
    high: Vector


class ToolControl:
    """Inverse kinematics of the site `site_name`, moved by the model's first `joints` degrees of freedom."""

    def __init__(self, model: mujoco.MjModel, site_name: str, joints: int, max_joint_speed_rad_s: float) -> None:
        self._model = model
        self._site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, site_name)
        self._joints = joints
        self._max_speed = max_joint_speed_rad_s
        self._jacobian = np.zeros((6, model.nv))

    def pose(self, data: mujoco.MjData) -> ToolPose:
        """Pose of the tool in `data`, whose kinematics must be up to date."""
        rotation = data.site_xmat[self._site]
        return ToolPose(data.site_xpos[self._site].copy(), float(np.arctan2(rotation[3], rotation[0])))

    def joint_velocities(self, data: mujoco.MjData, command: Vector, workspace: Workspace, dt_s: float) -> Vector:
        """Joint velocities in rad/s for the tool velocity `command`: x, y, z in m/s and yaw in rad/s.

        `data` must be up to date in positions; the tool stops at the workspace's edge, at the latest within `dt_s`.
        """
        position, yaw = self.pose(data)
        here = np.array([*position, yaw])
        inside = np.clip(command, (workspace.low - here) / dt_s, (workspace.high - here) / dt_s)
        return self._solve(data, inside, _UPRIGHT_GAIN_PER_S)

    def place(self, data: mujoco.MjData, pose: ToolPose) -> None:
        """Move the joints of `data` to where the tool has this pose, from the posture that they are in."""
        for _ in range(_PLACING_STEPS):
            mujoco.mj_kinematics(self._model, data)
            mujoco.mj_comPos(self._model, data)
            position, yaw = self.pose(data)
            turn = (pose.yaw - yaw + np.pi) % (2 * np.pi) - np.pi
            error = np.array([*(pose.position - position), turn])
            data.qpos[: self._joints] += self._solve(data, error, 1.0)

    def _solve(self, data: mujoco.MjData, tool_velocity: Vector, upright_gain_per_s: float) -> Vector:
        jacobian = self._jacobian
        mujoco.mj_jacSite(self._model, data, jacobian[:3], jacobian[3:], self._site)
        arm = jacobian[:, : self._joints]
        up_x, up_y = data.site_xmat[self._site][2], data.site_xmat[self._site][5]  # the tool's z axis in the world
        # The turn that takes the tool's z axis to the world's is the cross product of the two.
        wanted = np.array([*tool_velocity[:3], upright_gain_per_s * up_y, -upright_gain_per_s * up_x, tool_velocity[3]])
        velocities = arm.T @ np.linalg.solve(arm @ arm.T + _DAMPING_MATRIX, wanted)
        return velocities / max(1.0, float(np.abs(velocities).max()) / self._max_speed)
