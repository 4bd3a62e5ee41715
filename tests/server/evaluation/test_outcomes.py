import pytest

from server.evaluation.outcomes import OUTCOMES, SUCCESSES, outcome

CASES = {
    "reached": [1.0, 0.5, 0.05],
    "reached and left": [1.0, 0.05, 0.5],
    "close": [1.0, 0.5, 0.15],
    "close and left": [1.0, 0.15, 0.5],
    "stalled": [1.0, 0.6, 0.5, 0.5, 0.5, 0.5],
    "too slow": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5],
    "no approach": [1.0, 0.95, 1.1, 1.3],
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_outcome_is_told_from_the_distances(name: str):
    distances = CASES[name]
    told = outcome(distances, 0.1, success=min(distances) < 0.1, success_at_end=distances[-1] < 0.1)
    assert told == name
    assert (name in SUCCESSES) == (min(distances) < 0.1)
