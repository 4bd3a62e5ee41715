import numpy as np
import pytest

from server.evaluation.statistics import (
    Paired,
    ci95,
    difference_interval,
    mcnemar,
    percentiles_ms,
    ratio_interval,
    wilson_interval,
)


def test_wilson_matches_the_published_example():
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert ci95(81, 263) == [0.2553, 0.3662]
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_an_interval_holds_its_rate_and_narrows_with_trials():
    for successes, trials in ((0, 1), (1, 1), (7, 10), (70, 100), (200, 200)):
        low, high = wilson_interval(successes, trials)
        assert 0 <= low <= successes / trials <= high + 1e-12 <= 1 + 1e-12
    narrow, wide = wilson_interval(70, 100), wilson_interval(7, 10)
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (0, 0), (3, 2), (-1, 2)])
def test_no_rate_without_sense(successes: int, trials: int):
    with pytest.raises(ValueError, match="is no rate"):
        wilson_interval(successes, trials)


def test_percentiles_are_in_milliseconds():
    assert percentiles_ms([0.1] * 99 + [1.0]) == {"p50": 100.0, "p95": 100.0}


def test_an_uneven_split_is_unlikely_by_chance():
    assert mcnemar(Paired(both=1, only_a=1, only_b=7, neither=12)) == pytest.approx(2 * (1 + 8) / 2**8)
    assert mcnemar(Paired(both=5, only_a=3, only_b=3, neither=0)) == 1.0
    assert mcnemar(Paired(both=9, only_a=0, only_b=0, neither=1)) == 1.0


def test_intervals_of_paired_rates_hold_the_truth_as_often_as_they_say():
    """Episodes differ in how hard they are for both, so that outcomes agree more often than by chance."""
    rng = np.random.default_rng(0)
    rates, runs, episodes = (0.85, 0.5), 600, 100
    held = {difference_interval: 0, ratio_interval: 0}
    for _ in range(runs):
        hard = rng.random(episodes)
        shared = rng.random(episodes) < 0.6
        a, b = (np.where(shared, hard, rng.random(episodes)) < rate for rate in rates)
        paired = Paired.of(a.tolist(), b.tolist())
        for interval, truth in ((difference_interval, rates[1] - rates[0]), (ratio_interval, rates[1] / rates[0])):
            low, high = interval(paired)
            held[interval] += low <= truth <= (np.inf if high is None else high)
    assert held[difference_interval] / runs == pytest.approx(0.95, abs=0.03)
    assert held[ratio_interval] / runs >= 0.93  # wider than it had to be, for it does not count on the agreement


@pytest.mark.parametrize("counts", [(0, 0, 0, 9), (9, 0, 0, 0), (0, 9, 0, 0), (0, 0, 9, 0), (3, 2, 1, 4)])
def test_intervals_hold_what_was_seen_also_at_the_edges(counts: tuple[int, int, int, int]):
    both, only_a, only_b, neither = counts
    paired = Paired(both=both, only_a=only_a, only_b=only_b, neither=neither)
    a, b = paired.rates
    low, high = difference_interval(paired)
    assert -1 <= low <= b - a <= high <= 1 and low < high
    low, high = ratio_interval(paired)
    assert (high is None) == (a == 0)
    if high is not None:
        assert 0 <= low <= b / a <= high


def test_a_rate_lies_in_its_interval() -> None:
    """Also at 0 and 1, where rounding moved it out and no chart could be drawn."""
    for trials in range(1, 60):
        for successes in range(trials + 1):
            low, high = wilson_interval(successes, trials)
            assert 0 <= low <= successes / trials <= high <= 1
