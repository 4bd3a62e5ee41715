"""Expected duration of work on this machine, learned from past work."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable

_REMEMBERED = 16
_QUANTILE = 0.8
"""Quantile of past durations: high, since slow work misses deadlines, but not the maximum, which may be an outlier."""
_HALF_LIFE_S = 10.0
_STEPS_PER_DOUBLING = 4


class Pace:
    """Durations by kind of work and, in steps of a fifth, by its size. Any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[Hashable, dict[int, _Known]] = {}

    def learn(self, kind: Hashable, size: float, seconds: float) -> None:
        """Note the duration of work of this kind and size."""
        with self._lock:
            self._known.setdefault(kind, {}).setdefault(_step(size), _Known()).learn(seconds, self._clock())

    def expected(self, kind: Hashable, size: float) -> float:
        """Expected seconds; 0 for an unknown kind, so that it is tried and learned.

        Interpolated between the nearest known sizes, else in proportion to the nearest one. Measurements fade with
        age, so that one slow moment does not cause refusals for ever.
        """
        with self._lock:
            known = self._known.get(kind, {})
            if size == 0 or not known:
                return 0.0
            at, now = _step(size), self._clock()
            below = max((step for step in known if step <= at), default=None)
            above = min((step for step in known if step >= at), default=None)
            low, high = (None if step is None else (_size(step), known[step].seconds(now)) for step in (below, above))
        if low is None or high is None:
            nearest = low or high
            assert nearest is not None  # at least one size is known
            return nearest[1] * _size(at) / nearest[0]
        share = 0.0 if low == high else (_size(at) - low[0]) / (high[0] - low[0])
        return low[1] + share * (high[1] - low[1])


class _Known:
    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)
        self._usual = 0.0
        self._at = 0.0

    def learn(self, seconds: float, now: float) -> None:
        self._recent.append(seconds)
        self._usual = sorted(self._recent)[int(_QUANTILE * (len(self._recent) - 1))]
        self._at = now

    def seconds(self, now: float) -> float:
        return self._usual * 0.5 ** ((now - self._at) / _HALF_LIFE_S)


def _step(size: float) -> int:
    return round(_STEPS_PER_DOUBLING * math.log2(max(size, 1)))


def _size(step: int) -> float:
    return 2 ** (step / _STEPS_PER_DOUBLING)
