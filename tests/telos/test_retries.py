"""Asking again: only while the server is away, only in time."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from telos import TelosError
from telos.retries import until_answered

AWAY = [
    TelosError("unreachable", "", retryable=True),
    TelosError("not-ready", "", status=503, retryable=True),
    TelosError("worker-restarting", "", status="UNAVAILABLE", retryable=True),
]
FINAL = [
    TelosError("timeout", "", status="DEADLINE_EXCEEDED", retryable=True),
    TelosError("timeout", "", retryable=True),
    TelosError("deadline-infeasible", "", status=504),
    TelosError("queue-full", "", status=429, retryable=True),
    TelosError("stale-reply", ""),
    TelosError("internal", "", status=500),
]


def answers(*results: Any) -> Callable[[float], Any]:
    """Gives or raises one after the other."""
    rest = iter(results)

    def ask(left_s: float) -> Any:
        assert 0 < left_s <= 5.0
        result = next(rest)
        if isinstance(result, TelosError):
            raise result
        return result

    return ask


@pytest.mark.parametrize("error", AWAY, ids=lambda error: error.code)
def test_a_server_that_is_away_is_asked_again(error: TelosError) -> None:
    assert until_answered(answers(error, error, "plan"), 5.0) == "plan"


@pytest.mark.parametrize("error", FINAL, ids=lambda error: f"{error.code} {error.status}")
def test_every_other_answer_is_final(error: TelosError) -> None:
    with pytest.raises(TelosError) as caught:
        until_answered(answers(error, "plan"), 5.0)
    assert caught.value is error


def test_what_stays_away_is_reported_before_the_time_is_over() -> None:
    asked = []

    def away(left_s: float) -> None:
        asked.append(left_s)
        raise AWAY[0]

    began = time.monotonic()
    with pytest.raises(TelosError, match="unreachable"):
        until_answered(away, 0.5)
    assert time.monotonic() - began <= 0.5
    assert 2 < len(asked) < 30 and asked == sorted(asked, reverse=True)


def test_the_server_says_when_it_wants_to_be_asked() -> None:
    began = time.monotonic()
    busy = TelosError("not-ready", "", status=503, retry_after_s=0.3)
    assert until_answered(answers(busy, "plan"), 5.0) == "plan"
    assert time.monotonic() - began >= 0.3
    with pytest.raises(TelosError, match="not-ready"):
        until_answered(answers(busy, "plan"), 0.2)
