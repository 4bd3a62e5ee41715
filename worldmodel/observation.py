"""Readings of a model's sensors at one time, and the specification that every reading is checked against.

A sensor is a camera (RGB pixels) or a vector (joint angles, a gripper's opening, a position). Its specification also
says how a reading becomes the model's input; training, serving and evaluation all use it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from worldmodel.errors import CheckpointError, SensorError

SensorKind = Literal["camera", "vector"]
ResizeFilter = Literal["area", "bilinear"]

MOST_VALUES = 4096
WIDEST_ASPECT = 16
"""The longer side of a picture over the shorter one, at most."""
_FILTERS: dict[ResizeFilter, Image.Resampling] = {"area": Image.Resampling.BOX, "bilinear": Image.Resampling.BILINEAR}
_SLACK = 0.05
"""Share of a vector's range that a reading may lie beyond it: real sensors are noisy at a joint's end stop."""
LEAST_STD_SHARE = 1e-6
"""Least standard deviation that a vector's entry may have, as a share of its range."""


@dataclass(frozen=True, kw_only=True)
class SensorSpec:
    """One sensor: its name, the shape of a reading, and the units and physical range of a vector's entries."""

    name: str
    kind: SensorKind
    shape: tuple[int, ...]
    """A camera's [height_px, width_px, 3]; a vector's [entries]."""
    names: tuple[str, ...] = ()
    """A vector's entries, in order."""
    units: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    """Physical range of a vector's entries, low..high."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    """A vector's entries over the training episodes: a model sees readings standardised by them."""
    resize: ResizeFilter = "area"
    """A camera's filter for images of another size."""
    aspect_ratio: float | None = None
    """Width over height of a camera's pictures before they were brought to `shape`; None: that of `shape`."""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise CheckpointError(f"a sensor is called {self.name!r}; wanted a name without '/'")
        if self.kind == "camera":
            self._check_camera()
        else:
            self._check_vector()

    @property
    def size(self) -> int:
        """Numbers in one reading."""
        return math.prod(self.shape)

    @property
    def picture_ratio(self) -> float:
        """Width over height of a camera's pictures as the model learned from them."""
        return self.shape[1] / self.shape[0] if self.aspect_ratio is None else self.aspect_ratio

    def aspect_change(self, width: int, height: int) -> float:
        """Stretch of a camera's picture of this size against those that the model learned from: 0 for none, 0.33 for
        4:3 in place of 1:1, whichever side is the longer one."""
        wanted, given = self.picture_ratio, width / height
        return max(given / wanted, wanted / given) - 1

    def reading(self, value: np.ndarray) -> np.ndarray:
        """One reading as the model's input: pixels uint8 [h w 3], resized, or a vector float32 [k].

        Raises SensorError for another shape, data type or scale, or a number that is not finite.
        """
        return self._pixels(value) if self.kind == "camera" else self._vector(value)

    def standardised(self, values: Float[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
        """A vector's readings in standard deviations from their mean; unchanged where neither was measured."""
        if not self.mean:
            return values
        mean, std = (torch.tensor(each, dtype=values.dtype, device=values.device) for each in (self.mean, self.std))
        return (values - mean) / std

    def _pixels(self, value: np.ndarray) -> np.ndarray:
        if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3 or not value.size:
            given = f"{value.dtype} {list(value.shape)}"
            raise SensorError(self.name, f"is {given}; wanted uint8 [height, width, 3] in RGB order")
        height, width, _ = self.shape
        if value.shape == self.shape:
            return np.ascontiguousarray(value)  # torch takes no array that is read backwards, as BGR turned to RGB is
        return np.asarray(Image.fromarray(value).resize((width, height), _FILTERS[self.resize]))

    def _vector(self, value: np.ndarray) -> np.ndarray:
        wanted = f"wanted {list(self.shape)}: {', '.join(self.names)}"
        if value.dtype.kind not in "fiu" or value.shape != self.shape:
            raise SensorError(self.name, f"is {value.dtype} {list(value.shape)}; {wanted}")
        if not np.isfinite(value).all():
            raise SensorError(self.name, "holds a number that is not finite; every number must be")
        low, high = np.asarray(self.low), np.asarray(self.high)
        slack = _SLACK * (high - low)
        outside = (value < low - slack) | (value > high + slack)
        if outside.any():
            index = int(outside.argmax())
            raise SensorError(
                self.name,
                f"has {self.names[index]} = {value[index]:g}; wanted {low[index]:g} to {high[index]:g} "
                f"{self.units[index]}: send it in that unit",
            )
        return value.astype(np.float32)

    def _check_camera(self) -> None:
        if len(self.shape) != 3 or self.shape[2] != 3 or not all(16 <= side <= 4096 for side in self.shape[:2]):
            raise CheckpointError(f"camera {self.name} has shape {self.shape}; wanted (height, width, 3), 16..4096 px")
        if self.aspect_ratio is not None and not 1 / WIDEST_ASPECT <= self.aspect_ratio <= WIDEST_ASPECT:
            raise CheckpointError(
                f"camera {self.name} has aspect_ratio {self.aspect_ratio}; wanted {1 / WIDEST_ASPECT:g} to "
                f"{WIDEST_ASPECT}"
            )
        if self.names or self.units or self.low or self.high or self.mean or self.std:
            raise CheckpointError(f"camera {self.name} has names, units, a range or a mean; only vectors have them")

    def _check_vector(self) -> None:
        if self.aspect_ratio is not None:
            raise CheckpointError(f"vector {self.name} has an aspect_ratio; only cameras have one")
        if len(self.shape) != 1 or not 1 <= self.shape[0] <= MOST_VALUES:
            raise CheckpointError(f"vector {self.name} has shape {self.shape}; wanted (entries,), 1..{MOST_VALUES}")
        if {len(self.names), len(self.units), len(self.low), len(self.high)} != {self.shape[0]}:
            raise CheckpointError(f"vector {self.name} wants names, units, low and high for each of its entries")
        if not are_ranges(self.low, self.high):
            raise CheckpointError(f"vector {self.name} wants finite low < high for each entry")
        if self.mean or self.std:
            self._check_statistics()

    def _check_statistics(self) -> None:
        finite = all(map(math.isfinite, self.mean + self.std))
        if not (finite and len(self.mean) == len(self.std) == self.shape[0] and min(self.std) > 0):
            raise CheckpointError(f"vector {self.name} wants a finite mean and std > 0 for each entry, or neither")
        ranges = zip(self.std, self.low, self.high, strict=True)
        if any(std < LEAST_STD_SHARE * (high - low) for std, low, high in ranges):
            raise CheckpointError(
                f"vector {self.name} wants each std at least {LEAST_STD_SHARE:g} of its range: a smaller one makes "
                "readings beyond 32-bit floats"
            )


def are_ranges(low: Sequence[float], high: Sequence[float]) -> bool:
    """Whether all limits are finite and each `low` is below its `high`."""
    return all(math.isfinite(a) and math.isfinite(b) and a < b for a, b in zip(low, high, strict=True))


@dataclass(frozen=True)
class ObservationBatch:
    """Readings of all of a model's sensors at one time, for b robots."""

    values: Mapping[str, Tensor]
    """Readings by sensor: cameras uint8 [b h w 3], vectors float32 [b k] in physical units."""

    def to(self, device: torch.device) -> "ObservationBatch":
        """A copy on `device`."""
        return ObservationBatch({name: value.to(device) for name, value in self.values.items()})


def observe(specs: Sequence[SensorSpec], readings: Mapping[str, np.ndarray]) -> ObservationBatch:
    """One robot's checked observation, b = 1. Raises SensorError that names a missing, surplus or wrong sensor."""
    known = {spec.name for spec in specs}
    for name in readings:
        if name not in known:
            raise SensorError(name, f"is not a sensor of this model; wanted exactly {', '.join(sorted(known))}")
    for spec in specs:
        if spec.name not in readings:
            raise SensorError(spec.name, f"is missing; wanted all of {', '.join(sorted(known))}")
    return ObservationBatch({s.name: torch.tensor(s.reading(np.asarray(readings[s.name])))[None] for s in specs})
