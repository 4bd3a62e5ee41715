import pytest

from server.evaluation.statistics import percentiles_ms, wilson_interval


def test_wilson_matches_the_published_example():
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
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
