"""Between ROS messages and Telos, without importing either side's classes: messages are what has their fields."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from telos.images import sniff_format

TRAJECTORY_FIELDS = ("positions", "velocities", "accelerations", "effort")


class LatestImage:
    """Newest frame of the camera: handed out once, and only while it is fresh."""

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._data: bytes | None = None
        self._stamp_s = float("-inf")

    def put(self, message: Any, stamp_s: float) -> None:
        """A CompressedImage and when it was taken. Raises ValueError for bytes that are no JPEG, PNG or WebP file."""
        data = bytes(message.data)
        sniff_format(data)
        if stamp_s > self._stamp_s:  # a camera that hangs repeats its last frame
            self._data, self._stamp_s = data, stamp_s

    def take(self, now_s: float) -> bytes | None:
        """None when there was no new frame since, or it is too old: then the plan goes on while it is valid."""
        data, self._data = self._data, None
        return data if now_s - self._stamp_s <= self._max_age_s else None


def fill_twist(twist: Any, fields: Sequence[str], action: np.ndarray) -> None:
    """`fields` says where each action goes, such as `linear.x`, `angular.z`. Raises ValueError when they disagree."""
    check_count(fields, action)
    for field, value in zip(fields, action, strict=True):
        part, axis = field.split(".")
        if part not in ("linear", "angular") or axis not in ("x", "y", "z"):
            raise ValueError(f"field is {field!r}; wanted linear or angular, a dot, and x, y or z")
        setattr(getattr(twist, part), axis, float(value))


def fill_point(point: Any, field: str, joints: Sequence[str], action: np.ndarray) -> None:
    """One JointTrajectoryPoint: `field` says what the actions are. Raises ValueError when they disagree."""
    check_count(joints, action)
    if field not in TRAJECTORY_FIELDS:
        raise ValueError(f"field is {field!r}; wanted one of {TRAJECTORY_FIELDS}")
    setattr(point, field, [float(value) for value in action])


def check_count(names: Sequence[str], action: np.ndarray) -> None:
    """Raises ValueError when there is not one name for each action."""
    if len(names) != len(action):
        raise ValueError(f"given {list(names)} for {len(action)} actions; wanted one for each")
