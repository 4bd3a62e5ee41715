"""Retries while a server is away, within the caller's timeout."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from telos.errors import TelosError

T = TypeVar("T")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


def until_answered(ask: Callable[[float], T], timeout_s: float) -> T:
    """Result of `ask(seconds left)`, repeated after growing, jittered pauses while the server is away.

    A server is away when it cannot be reached or is not ready (503, UNAVAILABLE). Every other answer is final, above
    all a missed deadline: a second attempt would be later still. Raises TelosError.
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
    """True if the server is not ready or could not be reached."""
    return error.code == "unreachable" or error.status in (503, "UNAVAILABLE")
