"""Limits of the actions of a data set; plans stay within them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DatasetLimits:
    """Lowest and highest value of each action, in physical units."""

    low: list[float]
    high: list[float]
    source: str
    """Origin of the limits, in words: given, recorded or the data set's."""


def given_limits(low: list[float], high: list[float], width: int) -> DatasetLimits:
    """Limits that the user gave: one number for each action, or one for all. Raises ValueError."""
    wide = [limits * width if len(limits) == 1 else limits for limits in (low, high)]
    if {len(limits) for limits in wide} != {width}:
        raise ValueError(f"{len(low)} low and {len(high)} high limits for {width} actions; give one for each, or one")
    if not (np.isfinite(wide).all() and np.less(wide[0], wide[1]).all()):
        raise ValueError(f"action limits are low={low}, high={high}; wanted finite ones with low < high")
    return DatasetLimits(wide[0], wide[1], "given")


def recorded_limits(actions: Iterable[NDArray[np.float32]], names: list[str]) -> DatasetLimits:
    """Range of the recorded actions [n, A], beyond which a model knows nothing.

    Raises ValueError when an action is constant.
    """
    low, high = recorded_range(actions, len(names))
    if not (low < high).all():
        still = names[int(np.argmin(low < high))]
        raise ValueError(
            f"the action {still!r} never changes, so its limits cannot be taken from the data; give them with "
            f"--action-low and --action-high, one number for each of {names}"
        )
    return DatasetLimits(low.tolist(), high.tolist(), "recorded")


def recorded_range(parts: Iterable[NDArray[np.float32]], width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimum and maximum of each column of actions or readings [n, width]. Raises ValueError when there is no row."""
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for part in parts:
        if len(part):
            low, high = np.minimum(low, part.min(0)), np.maximum(high, part.max(0))
    if not np.isfinite(low).all():
        raise ValueError("no episode has an action: each has one frame only")
    return low, high
