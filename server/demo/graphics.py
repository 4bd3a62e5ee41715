"""Whether this machine can draw, found out before anything is started. Must run before the first import of envs."""

import os
import sys

from server.commands.errors import CommandError

_ADVICE = (
    "MuJoCo cannot draw here with MUJOCO_GL={platform}: {error}\nWithout a display it needs OpenGL through EGL; on "
    "Debian or Ubuntu:\n  sudo apt-get install --yes libegl1 libgl1 libgl1-mesa-dri\n  MUJOCO_GL=egl telos demo"
)


def check_graphics() -> None:
    """Choose EGL where nothing is chosen and there is no display. Raises CommandError that says what to install."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not display:
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco

        context = mujoco.GLContext(16, 16)
        context.make_current()
        context.free()
    except Exception as error:  # every OpenGL platform fails in its own way, some while they are imported
        raise CommandError(_ADVICE.format(platform=os.environ.get("MUJOCO_GL", "(unset)"), error=error)) from error
