"""Rates with their intervals."""

import math
from collections.abc import Sequence

import numpy as np

Z95 = 1.959964


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927), right also near 0 and 1. Raises ValueError without trials."""
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes of {trials} trials is no rate")
    rate, squared = successes / trials, Z95**2
    centre = (rate + squared / (2 * trials)) / (1 + squared / trials)
    half = Z95 * math.sqrt(rate * (1 - rate) / trials + squared / (4 * trials**2)) / (1 + squared / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p95 in milliseconds."""
    p50, p95 = np.percentile(np.asarray(seconds) * 1e3, (50, 95))
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}
