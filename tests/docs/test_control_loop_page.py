"""The program of the page on control loops, run as it stands against a server."""

import re
import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.server.live import serving, settings_for
from tests.tiny import write_tiny_checkpoint
from worldmodel.manifest import PlanningSpec

PAGE = (Path(__file__).parents[2] / "docs" / "control-loop.md").read_text(encoding="utf-8")
(PROGRAM,) = re.findall(r"```python\n(# loop\.py\n.*?)```", PAGE, re.DOTALL)


class Arrived(Exception):  # noqa: N818 - the end that is wanted, not an error
    """The robot executed an action of a plan, which is all that there is to see."""


def test_the_program_drives_a_robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = PlanningSpec(context_frames=3, horizon=5, goal_distance_scale=1e-6)
    write_tiny_checkpoint(tmp_path, "my-robot", planning=far)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(picture[::-1]).save(tmp_path / "goal.png")
    (tmp_path / "loop.py").write_text(PROGRAM)
    sent: list[np.ndarray] = []

    def send(action: np.ndarray) -> None:
        sent.append(action)
        if action.any():
            raise Arrived

    robot = types.ModuleType("robot")
    vars(robot).update(camera=lambda: picture, send=send)
    monkeypatch.setitem(sys.modules, "robot", robot)
    monkeypatch.setattr(sys, "argv", ["loop.py", str(tmp_path / "goal.png"), "600"])
    with serving(settings_for(tmp_path)) as live:
        monkeypatch.setenv("TELOS_SERVER", f"http://127.0.0.1:{live.running.http_port}")
        with pytest.raises(Arrived):
            runpy.run_path(str(tmp_path / "loop.py"))
    assert not any(action.any() for action in sent[:-1]), "it holds until there is a plan"
    assert sent[-1].shape == (2,) and np.isfinite(sent[-1]).all()
