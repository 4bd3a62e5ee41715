"""Ranges of the vector sensors of a data set; readings are scaled by them."""

import dataclasses

import numpy as np

from envs.interchange.action_limits import recorded_range
from envs.interchange.source import DescribedVector, Source

MARGIN = 0.05
"""Share of the recorded range that is added at either end: a robot may be anywhere near where it was recorded."""


def with_ranges(vector: DescribedVector, source: Source) -> tuple[DescribedVector, str]:
    """`vector` with a range for each of its numbers, and the origin of the ranges in words.

    The range is the data set's, or else the recorded one, widened by MARGIN of it at either end; the range of a number
    that never changed is widened by MARGIN of its unit.

    Raises:
        ValueError: a reading is beyond the range of the data set.
    """
    low, high = recorded_range((rows.vectors[vector.name] for rows in source.rows()), len(vector.names))
    if vector.low is None or vector.high is None:
        margin = MARGIN * np.where(low < high, high - low, 1.0)
        widened = dataclasses.replace(vector, low=(low - margin).tolist(), high=(high + margin).tolist())
        return widened, f"recorded, widened by {MARGIN:.0%} a side"
    _check_within(vector, low, high)
    return vector, "the data set's"


def _check_within(vector: DescribedVector, low: np.ndarray, high: np.ndarray) -> None:
    beyond = (low < np.asarray(vector.low, np.float32)) | (high > np.asarray(vector.high, np.float32))
    if beyond.any():
        sensor, column = vector.sensor(), int(np.argmax(beyond))
        raise ValueError(
            f"{vector.names[column]!r} of the sensor {vector.name!r} was recorded from {low[column]:g} to "
            f"{high[column]:g}, beyond the data set's range {sensor.low[column]:g} to {sensor.high[column]:g}; leave "
            "those episodes out, or the sensor with --vectors"
        )
