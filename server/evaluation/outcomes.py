"""Names the outcome of an episode from its distances to the goal; no other place knows kinds of failure."""

from collections.abc import Sequence

CLOSE = 2.0
"""Nearer than so many success distances is close to the goal."""
PROGRESS = 0.1
"""A smaller share of the first distance is no progress."""

OUTCOMES = {
    "reached": "a success at some step, and at the last one",
    "reached and left": "a success at some step, but not at the last one",
    "close": "ended within twice the success distance, without a success",
    "close and left": "was within twice the success distance, without a success, and ended farther away",
    "stalled": "never close, and no nearer in the second half of the budget than in the first",
    "too slow": "never close, and still coming nearer in the second half of the budget",
    "no approach": "never nearer than nine tenths of the first distance",
}
SUCCESSES = ("reached", "reached and left")


def outcome(distances: Sequence[float], success_distance: float, *, success: bool, success_at_end: bool) -> str:
    """One of OUTCOMES. Entry k of `distances` is after k control steps."""
    if success:
        return "reached" if success_at_end else "reached and left"
    if min(distances) < CLOSE * success_distance:
        return "close" if distances[-1] < CLOSE * success_distance else "close and left"
    first, half = distances[0], len(distances) // 2
    if min(distances) > (1 - PROGRESS) * first:
        return "no approach"
    nearer = min(distances[:half]) - min(distances[half:])
    return "too slow" if nearer > PROGRESS * first else "stalled"
