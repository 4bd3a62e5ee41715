"""Protocol of a data set of any layout: numbers and pictures, one episode after another."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from envs.sensors import Sensor, vector_sensor

Frame = NDArray[np.uint8]
"""RGB uint8 [h, w, 3]."""
UNSTATED = "unstated"
"""Unit of a column whose data set names none."""
RECORDED = "recorded"
"""Policy of an episode whose data set names none."""


@dataclass(frozen=True, kw_only=True)
class DescribedVector:
    """A vector sensor as a data set describes it."""

    name: str
    names: list[str]
    units: list[str]
    low: list[float] | None = None
    """Range of honest readings; None when the data set gives none."""
    high: list[float] | None = None

    def sensor(self) -> Sensor:
        """The sensor as a store describes it. Raises ValueError when something is missing or wrong."""
        return vector_sensor(self.name, names=self.names, units=self.units, low=self.low or [], high=self.high or [])

    @classmethod
    def from_json(cls, data: Any) -> "DescribedVector":
        """From an entry of `Description.to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        sensor = Sensor.from_json({**data, "kind": "vector", "shape": [len(data["names"])]})
        words = {"names": list(sensor.names), "units": list(sensor.units)}
        return cls(name=sensor.name, **words, low=list(sensor.low), high=list(sensor.high))


@dataclass(frozen=True, kw_only=True)
class Description:
    """Meaning of the numbers of a data set: the part of dataset.json that does not depend on the layout."""

    cameras: list[str]
    """The first is the main one."""
    vectors: list[DescribedVector]
    dt_s: float
    """Seconds between two frames: one control step."""
    action_names: list[str]
    action_units: list[str]
    action_low: list[float] | None
    """Limits in the actions' units; None when the data set gives none."""
    action_high: list[float] | None
    state_names: list[str]
    state_units: list[str]
    feature_names: list[str]
    policy: str = RECORDED
    """Policies that acted, in words."""
    env_id: str = ""
    """Id of the simulated task; empty for a robot."""
    aspect_ratios: Mapping[str, float] = field(default_factory=dict)
    """Width over height of a camera's pictures as the robot took them; cameras that are left out take square ones."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.dt_s) and self.dt_s > 0):
            raise ValueError(f"dt_s is {self.dt_s}; wanted the seconds of one control step, above 0")
        names = [*self.cameras, *(vector.name for vector in self.vectors)]
        if not self.cameras or len(set(names)) < len(names):
            raise ValueError(f"sensors are {names}; wanted different ones, and at least one camera")
        width = len(self.action_names)
        if width == 0:
            raise ValueError("there is no action column; a world model learns what actions do")
        if len(set(self.action_names)) != width:
            raise ValueError(f"action names are {self.action_names}; wanted different ones: --action-names")
        if len(self.action_units) != width:
            raise ValueError(
                f"{len(self.action_units)} action units for the {width} actions {self.action_names}; give one for each"
            )
        if len(self.state_units) != len(self.state_names):
            raise ValueError(f"{len(self.state_units)} state units for {len(self.state_names)} state names")

    def with_sensors(self, cameras: list[str], vectors: list[DescribedVector]) -> "Description":
        """This description with these sensors; it keeps its own entry for each vector of the same name and width."""
        known = {(vector.name, len(vector.names)): vector for vector in self.vectors}
        described = [known.get((vector.name, len(vector.names)), vector) for vector in vectors]
        return dataclasses.replace(self, cameras=cameras, vectors=described)

    def to_json(self) -> dict[str, Any]:
        """JSON data for an export, beside the layout's own fields."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any, where: str) -> "Description":
        """Raises ValueError, naming `where` it stands, when it is not what `to_json` gives."""
        try:
            return cls(
                cameras=[str(name) for name in data["cameras"]],
                vectors=[DescribedVector.from_json(vector) for vector in data["vectors"]],
                dt_s=float(data["dt_s"]),
                action_names=[str(name) for name in data["action_names"]],
                action_units=[str(unit) for unit in data["action_units"]],
                action_low=[float(limit) for limit in data["action_low"]],
                action_high=[float(limit) for limit in data["action_high"]],
                state_names=[str(name) for name in data["state_names"]],
                state_units=[str(unit) for unit in data["state_units"]],
                feature_names=[str(name) for name in data["feature_names"]],
                policy=str(data["policy"]),
                env_id=str(data["env_id"]),
                aspect_ratios={str(name): float(ratio) for name, ratio in data.get("aspect_ratios", {}).items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where} does not describe the data set as Telos does: {error!r}") from error


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The numbers of one episode of n frames: all finite."""

    actions: NDArray[np.float32]
    """[n - 1, A], physical units; row i is applied after frame i. The last frame has none."""
    state: NDArray[np.float64]
    """[n, S]"""
    features: NDArray[np.float32]
    """[n, F]: quantities that a probe should find in a latent."""
    vectors: Mapping[str, NDArray[np.float32]]
    """[n, k] of each vector sensor."""
    policy: str
    """Name of the policy that acted."""


class Source(Protocol):
    """A data set that is read in order, never as a whole. Everything raises ValueError on what cannot be used."""

    @property
    def description(self) -> Description: ...

    @property
    def lengths(self) -> Sequence[int]:
        """Frames of each episode."""
        ...

    @property
    def tasks(self) -> Sequence[str]:
        """Task of each episode in words; empty if unknown."""
        ...

    @property
    def origin(self) -> dict[str, Any]:
        """Origin of the episodes, for dataset.json: `format`, `name`, and hashes of the content."""
        ...

    def rows(self) -> Iterator[Rows]:
        """The numbers of every episode."""
        ...

    def frames(self, episode: int, camera: str) -> Iterator[Frame]:
        """One camera's pictures of an episode; take them all, and ask for a camera's episodes in ascending order."""
        ...


def numbered(prefix: str, width: int) -> list[str]:
    """Names for columns without any."""
    return [f"{prefix}_{index}" for index in range(width)]


def episode_rows(
    where: str,
    actions: NDArray[Any],
    state: NDArray[Any],
    features: NDArray[Any] | None,
    vectors: Mapping[str, NDArray[Any]],
) -> Rows:
    """Rows of one episode as others store it, with as many actions as frames: the last one leads to no frame.

    Args:
        where: the episode, for messages.
        actions: [n, A]; the last row may be NaN.
        state: [n, S].
        features: [n, F]; None takes the state, which is what an encoder of a robot's camera should know.
        vectors: [n, k] of each vector sensor.

    Raises:
        ValueError: a number is not finite.
    """
    actions, state = _float32(actions[:-1]), state.astype(np.float64)
    readings = {name: _float32(values) for name, values in vectors.items()}
    _check_finite(where, "action", actions, "leave the episode out")
    _check_finite(where, "state", state, "leave the episode out, or the state: --state none")
    for name, values in readings.items():
        _check_finite(where, name, values, "leave the episode out, or the sensor: --vectors")
    kept = _float32(state if features is None else features)
    return Rows(actions=actions, state=state, features=kept, vectors=readings, policy=RECORDED)


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """A number that float32 cannot hold becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _check_finite(where: str, name: str, values: NDArray[Any], advice: str) -> None:
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(f"{where}: {name} column {column} of frame {row} is not a finite number; {advice}")
