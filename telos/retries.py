"""Asking again while a server is away, within the time that the caller has."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from telos.errors import TelosError

T = TypeVar("T")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


def until_answered(ask: Callable[[float], T], timeout_s: float) -> T:
    """`ask(seconds left)`, again after growing, jittered pauses as long as the server is away. Raises TelosError.

    Away means that nobody planned: not reached, or not ready (503, UNAVAILABLE). Every other answer is final. Above all
    a deadline that passed: a plan asked for again after it would come later still.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return ask(deadline - time.monotonic())
        except TelosError as error:
            wait_s = max(random.uniform(0, pause_s), error.retry_after_s)
            if not is_away(error) or time.monotonic() + wait_s >= deadline:
                raise
        time.sleep(wait_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def is_away(error: TelosError) -> bool:
    """Whether the server said that it cannot answer now, or nobody said anything."""
    return error.code == "unreachable" or error.status in (503, "UNAVAILABLE")
