"""Reads the sensors of a simulated robot in any simulator state, apart from the simulation itself."""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from envs.pixel_camera import PixelCamera
from envs.sensors import Sensor, StateSensor

Image = NDArray[np.uint8]
State = NDArray[np.float64]
SensorReadings = dict[str, NDArray[Any]]
"""One entry a sensor: a camera's uint8 [h, w, 3] RGB, a vector's float32 [k]."""


class StateObserver:
    """Sees states in the world of `model`, whose numbers may change. Owns an OpenGL context from the first picture on.

    Args:
        model: the compiled world.
        image_size: height and width of the cameras' pictures in pixels.
        state_sensors: the vector sensors that can be read.
    """

    def __init__(self, model: mujoco.MjModel, image_size: int, state_sensors: Sequence[StateSensor]) -> None:
        self._model, self._image_size = model, image_size
        self._data = mujoco.MjData(model)  # of its own, so that to look never touches the simulation
        self._reads = {each.sensor.name: each.read for each in state_sensors}
        self._camera: PixelCamera | None = None

    def read(self, state: State, sensors: Sequence[Sensor]) -> SensorReadings:
        """Readings of `sensors` in `state`, float64 [S]."""
        if any(sensor.is_camera for sensor in sensors):
            self._place(state)
        return {
            each.name: self._picture(each.name) if each.is_camera else self._vector(each, state) for each in sensors
        }

    def render(self, state: State, camera_name: str) -> Image:
        """One camera's image of `state`, float64 [S]; uint8 [image_size, image_size, 3]."""
        self._place(state)
        return self._picture(camera_name)

    def close(self) -> None:
        """Free the OpenGL context; may be called twice."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def _place(self, state: State) -> None:
        self._data.qpos[:] = state[: self._model.nq]
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)

    def _picture(self, camera_name: str) -> Image:
        if self._camera is None:
            self._camera = PixelCamera(self._model, self._image_size)
        return self._camera.render(self._data, camera_name)

    def _vector(self, sensor: Sensor, state: State) -> NDArray[np.float32]:
        return self._reads[sensor.name](state).astype(np.float32)
