"""MuJoCo environments with goal images, and the collection of episodes from them. Knows no model, planner or server."""

import os
import sys

# MuJoCo chooses its OpenGL when it is first imported. EGL needs no display, and one renderer means the same pixels.
if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")

import gymnasium

from envs.cube import CubeEnv
from envs.mujoco_env import MujocoGoalEnv
from envs.push_t import PushTEnv
from envs.reacher import ReacherEnv
from envs.two_room import TwoRoomEnv

ENVS: dict[str, type[MujocoGoalEnv]] = {
    "telos/TwoRoom-v0": TwoRoomEnv,
    "telos/Reacher-v0": ReacherEnv,
    "telos/PushT-v0": PushTEnv,
    "telos/Cube-v0": CubeEnv,
}
MAX_EPISODE_STEPS = 100

for _env_id, _env_class in ENVS.items():
    gymnasium.register(
        _env_id, entry_point=f"{_env_class.__module__}:{_env_class.__name__}", max_episode_steps=MAX_EPISODE_STEPS
    )


def env_class(env_id: str) -> type[MujocoGoalEnv]:
    """The class behind an environment id. Raises ValueError, listing the known ids, for any other."""
    if env_id not in ENVS:
        raise ValueError(f"unknown environment {env_id!r}; known ones are {', '.join(ENVS)}")
    return ENVS[env_id]


__all__ = [
    "ENVS",
    "MAX_EPISODE_STEPS",
    "CubeEnv",
    "MujocoGoalEnv",
    "PushTEnv",
    "ReacherEnv",
    "TwoRoomEnv",
    "env_class",
]
