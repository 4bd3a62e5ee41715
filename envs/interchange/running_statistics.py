"""Mean, standard deviation and range of columns that come in parts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class RunningStatistics:
    """Statistics of rows [n, width], in the form of LeRobot's meta/stats.json."""

    def __init__(self) -> None:
        self.count = 0
        """Number of rows so far."""

    def add(self, rows: NDArray[Any]) -> None:
        """Take in more rows; rows without columns have no statistics."""
        if rows.shape[1] == 0:
            return
        rows = rows.astype(np.float64)
        if self.count == 0:
            self._low, self._high = rows.min(0), rows.max(0)
            self._mean, self._squares = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
        self._low, self._high = np.minimum(self._low, rows.min(0)), np.maximum(self._high, rows.max(0))
        # Chan, Golub and LeVeque's update: sums of squares alone lose small deviations of large numbers.
        count, mean = len(rows), rows.mean(0)
        total, shift = self.count + count, mean - self._mean
        self._squares += ((rows - mean) ** 2).sum(0) + shift**2 * self.count * count / total
        self._mean += shift * count / total
        self.count = total

    def to_json(self, per_pixel: bool = False) -> dict[str, Any]:
        """One number a column; `per_pixel` gives each as [[x]], for channels of pictures."""
        shape = (-1, 1, 1) if per_pixel else (-1,)
        values = {"min": self._low, "max": self._high, "mean": self._mean, "std": np.sqrt(self._squares / self.count)}
        return {**{name: value.reshape(shape).tolist() for name, value in values.items()}, "count": [self.count]}
