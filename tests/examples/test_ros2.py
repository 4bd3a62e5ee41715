"""The ROS 2 example without ROS: translation with plain objects, and a package that declares what it needs."""

import ast
import sys
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.server.live import encoded
from tests.server.test_serve import ROOT

PACKAGE = ROOT / "examples" / "ros2"
sys.path.insert(0, str(PACKAGE))
from telos_planner.translation import LatestImage, fill_point, fill_twist  # noqa: E402

JPEG = encoded(Image.new("RGB", (16, 16)), "jpeg")


def picture(data: bytes = JPEG) -> Any:
    return SimpleNamespace(format="jpeg", data=data)


def test_a_frame_is_seen_once_and_only_while_it_is_fresh() -> None:
    latest = LatestImage(max_age_s=0.5)
    assert latest.take(0.0) is None
    latest.put(picture(), stamp_s=10.0)
    assert latest.take(10.2) == JPEG and latest.take(10.2) is None
    latest.put(picture(), stamp_s=11.0)
    assert latest.take(11.6) is None


def test_a_camera_that_hangs_shows_nothing() -> None:
    latest = LatestImage(max_age_s=0.5)
    latest.put(picture(), stamp_s=10.0)
    latest.take(10.1)
    latest.put(picture(), stamp_s=10.0)
    assert latest.take(10.2) is None


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="do not start like a JPEG, PNG or WebP file"):
        LatestImage(1.0).put(picture(b"rgb8 raw"), 0.0)


def test_an_action_becomes_a_twist() -> None:
    axes = {"x": 0.0, "y": 0.0, "z": 0.0}
    twist = SimpleNamespace(linear=SimpleNamespace(**axes), angular=SimpleNamespace(**axes))
    fill_twist(twist, ["linear.x", "angular.z"], np.array([0.5, -1.0]))
    assert (twist.linear.x, twist.linear.y, twist.angular.z) == (0.5, 0.0, -1.0)


def test_an_action_becomes_a_point() -> None:
    point = SimpleNamespace()
    fill_point(point, "velocities", ["a", "b"], np.array([0.5, -1.0]))
    assert point.velocities == [0.5, -1.0]


@pytest.mark.parametrize("fields", [["linear.x"], ["linear.w", "linear.x"], ["force.x", "linear.x"]])
def test_fields_that_do_not_fit(fields: list[str]) -> None:
    axes = SimpleNamespace(x=0.0, y=0.0, z=0.0)
    with pytest.raises(ValueError, match="wanted"):
        fill_twist(SimpleNamespace(linear=axes, angular=axes), fields, np.zeros(2))
    with pytest.raises(ValueError, match="wanted"):
        fill_point(SimpleNamespace(), "speed" if len(fields) == 2 else "effort", fields, np.zeros(2))


def test_the_package_declares_what_the_node_imports() -> None:
    tree = ast.parse((PACKAGE / "telos_planner" / "node.py").read_text())
    imported = {
        node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    manifest = ElementTree.parse(PACKAGE / "package.xml").getroot()
    declared = {each.text for each in manifest.findall("exec_depend")}
    assert imported - set(sys.stdlib_module_names) - {"telos", "telos_planner", "numpy"} == declared
