"""Checks that this machine can draw, before a command starts anything long."""

import os

from server.commands.errors import CommandError

_ADVICE = (
    "MuJoCo cannot draw here with MUJOCO_GL={platform}: {error}; without a display it needs OpenGL through EGL, on "
    "Debian or Ubuntu: sudo apt-get install --yes libegl1 libgl1 libgl1-mesa-dri"
)


def check_graphics() -> str:
    """The renderer's name, as OpenGL gives it.

    Raises CommandError that says what to install, and ModuleNotFoundError without the extra `sim`.
    """
    try:
        from envs.pixel_camera import gl_renderer_name

        return gl_renderer_name()
    except ModuleNotFoundError:
        raise
    except Exception as error:  # every OpenGL platform fails in its own way, some while they are imported
        raise CommandError(_ADVICE.format(platform=os.environ.get("MUJOCO_GL", "(unset)"), error=error)) from error
