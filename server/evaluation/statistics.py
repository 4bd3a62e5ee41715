"""Rates with their intervals, and two rates of the same episodes against each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z95 = 1.959964


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927), right also near 0 and 1. Raises ValueError without trials."""
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes of {trials} trials is no rate")
    rate, squared = successes / trials, Z95**2
    centre = (rate + squared / (2 * trials)) / (1 + squared / trials)
    half = Z95 * math.sqrt(rate * (1 - rate) / trials + squared / (4 * trials**2)) / (1 + squared / trials)
    # At 0 and at 1 rounding must not leave the rate outside.
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def ci95(successes: int, trials: int) -> list[float]:
    """`wilson_interval` to four digits, as result files have it."""
    return [round(edge, 4) for edge in wilson_interval(successes, trials)]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Counts of episodes in which A and B succeeded, both on the same episodes."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @classmethod
    def of(cls, a: Sequence[bool], b: Sequence[bool]) -> "Paired":
        """Count the episodes. Raises ValueError when A and B have different numbers of them."""
        pairs = list(zip(a, b, strict=True))
        return cls(
            both=pairs.count((True, True)),
            only_a=pairs.count((True, False)),
            only_b=pairs.count((False, True)),
            neither=pairs.count((False, False)),
        )

    @property
    def episodes(self) -> int:
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def successes(self) -> tuple[int, int]:
        """Number of successes of A and of B."""
        return self.both + self.only_a, self.both + self.only_b

    @property
    def rates(self) -> tuple[float, float]:
        a, b = self.successes
        return a / self.episodes, b / self.episodes


def mcnemar(paired: Paired) -> float:
    """Exact two-sided p-value (McNemar 1947): how likely so uneven a split of the episodes that differ is by chance."""
    differ, fewer = paired.only_a + paired.only_b, min(paired.only_a, paired.only_b)
    return min(1.0, 2 * sum(math.comb(differ, k) for k in range(fewer + 1)) / 2**differ)


def difference_interval(paired: Paired) -> tuple[float, float]:
    """95 % interval of B's rate less A's (Newcombe 1998, paired, method 10). Raises ValueError without episodes."""
    (a, b), n = paired.successes, paired.episodes
    (low_a, high_a), (low_b, high_b) = wilson_interval(a, n), wilson_interval(b, n)
    rate_a, rate_b = paired.rates
    phi = _correlation(paired)

    def reach(up: float, down: float) -> float:
        return math.sqrt(max(0.0, up**2 - 2 * phi * up * down + down**2))

    difference = rate_b - rate_a
    low = difference - reach(rate_b - low_b, high_a - rate_a)
    return max(-1.0, low), min(1.0, difference + reach(high_b - rate_b, rate_a - low_a))


def ratio_interval(paired: Paired) -> tuple[float, float | None]:
    """95 % interval of B's rate over A's, from both Wilson intervals (Donner and Zou 2012); None: no upper end.

    It takes the rates as independent, so it is wide where the same episodes decide both. Raises ValueError without
    episodes.
    """
    (a, b), n = paired.successes, paired.episodes
    (low_a, high_a), (low_b, high_b) = wilson_interval(a, n), wilson_interval(b, n)
    rate_a, rate_b = paired.rates
    product = rate_a * rate_b
    below = low_b * (2 * rate_b - low_b)
    root = math.sqrt(max(0.0, product**2 - below * high_a * (2 * rate_a - high_a)))
    low = below / (product + root) if below > 0 else 0.0
    if low_a == 0:
        return low, None
    above, least = high_b * (2 * rate_b - high_b), low_a * (2 * rate_a - low_a)
    return low, (product + math.sqrt(max(0.0, product**2 - above * least))) / least


def _correlation(paired: Paired) -> float:
    """Newcombe's, corrected for continuity; 0 when A or B always did the same."""
    (a, b), n = paired.successes, paired.episodes
    margins = a * (n - a) * b * (n - b)
    if margins == 0:
        return 0.0
    excess = paired.both * paired.neither - paired.only_a * paired.only_b
    return (max(0.0, excess - n / 2) if excess > 0 else excess) / math.sqrt(margins)


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p95 in milliseconds."""
    p50, p95 = np.percentile(np.asarray(seconds) * 1e3, (50, 95))
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}
