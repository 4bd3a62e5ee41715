"""Sensors disturbed on purpose: how well a model copes with them is measured like everything else.

Only what the robot sees while it acts is disturbed. Its goal was observed before, with every sensor as it should be.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.mujoco_env import SensorReadings
from telos.replies import SensorInfo

OFFSET_SHARE = 0.1
"""Part of a number's range."""

Change = Callable[[NDArray[Any]], NDArray[Any]]
"""One reading as it is to one reading as it is sent."""


class Frozen:
    """Repeats its first reading for the whole episode."""

    def __init__(self, sensor: SensorInfo) -> None:
        self._first: NDArray[Any] | None = None

    def __call__(self, reading: NDArray[Any]) -> NDArray[Any]:
        if self._first is None:
            self._first = reading.copy()
        return self._first


class Offset:
    """Adds OFFSET_SHARE of each number's range to it; a reading ends at the limit of its range, as a sensor's does."""

    def __init__(self, sensor: SensorInfo) -> None:
        self._high = np.asarray(sensor.high)
        self._shift = OFFSET_SHARE * (self._high - np.asarray(sensor.low))

    def __call__(self, reading: NDArray[Any]) -> NDArray[Any]:
        return np.minimum(reading + self._shift, self._high).astype(reading.dtype)


def _black(sensor: SensorInfo) -> Change:
    return np.zeros_like


KINDS: Mapping[str, Mapping[str, Callable[[SensorInfo], Change]]] = {
    "camera": {"black": _black, "frozen": Frozen},
    "vector": {"frozen": Frozen, "offset": Offset},
}
"""Ways to disturb a sensor, by the sensor's kind."""


class Disturbance:
    """The disturbed sensors of one episode."""

    def __init__(self, disturbed: Mapping[str, str], sensors: Sequence[SensorInfo]) -> None:
        """`disturbed` says how, by sensor. Raises ValueError for a sensor or a way that there is not."""
        kinds = {sensor.name: sensor for sensor in sensors}
        if unknown := sorted(set(disturbed) - set(kinds)):
            raise ValueError(f"sensor {unknown[0]} cannot be disturbed; the model has {', '.join(kinds)}")
        for name, way in disturbed.items():
            if way not in (ways := KINDS[kinds[name].kind]):
                raise ValueError(f"{name}={way} is no disturbance of a {kinds[name].kind}; give {' or '.join(ways)}")
        self._changes = {name: KINDS[kinds[name].kind][way](kinds[name]) for name, way in disturbed.items()}

    def __call__(self, readings: SensorReadings) -> SensorReadings:
        """All readings, with those of the disturbed sensors changed. For one step after the other of an episode."""
        changed = {name: change(readings[name]) for name, change in self._changes.items()}
        return {**readings, **changed}
