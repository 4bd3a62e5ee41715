"""Sensors of a robot: cameras and vectors of numbers. `to_json` is a sensor's entry in an episode store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SensorKind = Literal["camera", "vector"]
_KINDS = ("camera", "vector")


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """One sensor: a camera uint8 `shape` (height, width, 3) RGB, a vector float32 `shape` (k,).

    A vector says `names`, `units`, `low` and `high`, one entry for each number: every honest reading lies within
    low..high. A camera leaves them empty.

    Raises:
        ValueError: an invalid name, kind, shape or range.
    """

    name: str
    kind: SensorKind
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    aspect_ratio: float | None = None
    """Width over height of a camera's pictures before they were brought to `shape`; None: that of `shape`."""

    def __post_init__(self) -> None:
        if not self.name.isprintable() or "/" in self.name or self.name[:1] in ("", ".", " "):
            raise ValueError(
                f"sensor name {self.name!r}; give printable characters without '/', not beginning with a dot or a space"
            )
        if self.kind not in _KINDS:
            raise ValueError(f"sensor {self.name!r} is of kind {self.kind!r}; give one of {list(_KINDS)}")
        if self.is_camera:
            self._check_camera()
        else:
            self._check_vector()

    @property
    def is_camera(self) -> bool:
        """Whether its readings are pictures."""
        return self.kind == "camera"

    @property
    def dtype(self) -> type[np.uint8] | type[np.float32]:
        """Data type of a reading."""
        return np.uint8 if self.is_camera else np.float32

    def to_json(self) -> dict[str, Any]:
        """The sensor's entry in dataset.json."""
        lists = {key: list(getattr(self, key)) for key in ("shape", "names", "units", "low", "high")}
        aspect = {} if self.aspect_ratio is None else {"aspect_ratio": self.aspect_ratio}
        return {"name": self.name, "kind": self.kind, **lists, **aspect}

    @classmethod
    def from_json(cls, data: Any) -> "Sensor":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            name=str(data["name"]),
            kind=data["kind"],
            shape=tuple(int(side) for side in data["shape"]),
            names=tuple(str(name) for name in data["names"]),
            units=tuple(str(unit) for unit in data["units"]),
            low=tuple(float(limit) for limit in data["low"]),
            high=tuple(float(limit) for limit in data["high"]),
            aspect_ratio=None if data.get("aspect_ratio") is None else float(data["aspect_ratio"]),
        )

    def _check_camera(self) -> None:
        if len(self.shape) != 3 or self.shape[2] != 3 or min(self.shape) < 1:
            raise ValueError(f"camera {self.name!r} has shape {self.shape}; give (height, width, 3)")
        if self.names or self.units or self.low or self.high:
            raise ValueError(f"camera {self.name!r} has names, units, low or high; only vectors have them")

    def _check_vector(self) -> None:
        lengths = [len(each) for each in (self.names, self.units, self.low, self.high)]
        if len(self.shape) != 1 or lengths != [self.shape[0]] * 4 or not self.names:
            raise ValueError(
                f"vector {self.name!r} has shape {self.shape} and {lengths} names, units, low and high; "
                "give (k,) and k of each, k from 1"
            )
        if not np.isfinite([*self.low, *self.high]).all() or not np.less(self.low, self.high).all():
            raise ValueError(f"vector {self.name!r} has low={self.low}, high={self.high}; give finite ones, low < high")


@dataclass(frozen=True)
class StateSensor:
    """A vector sensor of a simulated robot, and how it reads a state: float64 [S] to [k]."""

    sensor: Sensor
    read: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def camera_sensor(name: str, image_size: int, aspect_ratio: float = 1.0) -> Sensor:
    """A camera with square pictures of `image_size` px, which had this width over height before."""
    squeezed = None if aspect_ratio == 1.0 else aspect_ratio
    return Sensor(name=name, kind="camera", shape=(image_size, image_size, 3), aspect_ratio=squeezed)


def vector_sensor(
    name: str, *, names: Sequence[str], units: Sequence[str], low: Sequence[float], high: Sequence[float]
) -> Sensor:
    """A vector sensor with one entry of each list for each of its numbers."""
    return Sensor(
        name=name,
        kind="vector",
        shape=(len(names),),
        names=tuple(names),
        units=tuple(units),
        low=tuple(map(float, low)),
        high=tuple(map(float, high)),
    )


def agent_position(arena_half_m: float) -> StateSensor:
    """Sensor `position` of a robot in a square arena: x and y, the first two numbers of a state."""
    low, high = (-arena_half_m,) * 2, (arena_half_m,) * 2
    sensor = vector_sensor("position", names=("agent_x", "agent_y"), units=("m", "m"), low=low, high=high)
    return StateSensor(sensor, lambda state: state[:2])


def choose(known: Sequence[Sensor], names: Sequence[str] | None) -> tuple[Sensor, ...]:
    """The sensors of `known` with these names, in the order of `known`; None is the first one alone.

    Raises:
        ValueError: no name, an unknown name, or one that comes twice.
    """
    if names is None:
        return (known[0],)
    if not names or len(set(names)) < len(names) or not set(names) <= {each.name for each in known}:
        raise ValueError(f"sensors={list(names)}; give one or more of {[each.name for each in known]}, each once")
    return tuple(each for each in known if each.name in names)
