"""Renders the named cameras of a MuJoCo model, cheaply: no shadows, reflections, sky, fog or haze."""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

import os

import mujoco
import numpy as np
from numpy.typing import NDArray

_FLAGS_OFF = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
    mujoco.mjtRndFlag.mjRND_FOG,
    mujoco.mjtRndFlag.mjRND_HAZE,
)
_MAX_GEOMS = 128


class PixelCamera:
    """Square RGB images of any camera of `model`, `image_size_px` wide. Owns one OpenGL context until `close`."""

    def __init__(self, model: mujoco.MjModel, image_size_px: int) -> None:
        # On images this small Mesa's software rasteriser is twice as fast without helper threads; others ignore it.
        os.environ.setdefault("LP_NUM_THREADS", "0")
        try:
            self._renderer = mujoco.Renderer(model, image_size_px, image_size_px, max_geom=_MAX_GEOMS)
        except Exception as error:
            raise RuntimeError(
                f"no OpenGL context for rendering (MUJOCO_GL={os.environ.get('MUJOCO_GL')!r}); without a display, "
                "set the environment variable MUJOCO_GL to egl or osmesa before Python starts"
            ) from error
        for flag in _FLAGS_OFF:
            self._renderer.scene.flags[flag] = 0

    def render(self, data: mujoco.MjData, camera_name: str) -> NDArray[np.uint8]:
        """The image of `data`, whose kinematics must be up to date: uint8 [size, size, 3] RGB, a new array."""
        self._renderer.update_scene(data, camera_name)
        return self._renderer.render()

    def close(self) -> None:
        """Free the OpenGL context; may be called twice."""
        self._renderer.close()


def gl_renderer_name() -> str:
    """Name of the OpenGL renderer; images are bit-equal only under the same one."""
    from OpenGL import GL  # a dependency of mujoco; importable only once MUJOCO_GL has chosen a platform

    camera = PixelCamera(mujoco.MjModel.from_xml_string("<mujoco/>"), 16)
    try:
        return str(GL.glGetString(GL.GL_RENDERER).decode())
    finally:
        camera.close()
