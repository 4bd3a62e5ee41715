"""The best plan so far, told while the search goes on: only when it is better, and not more often than anyone reads."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Self

from server.engine.planning import Outcome

PER_SECOND = 20


class Improvements:
    """Of one search: called on the torch thread after each iteration, it tells on the event loop it was made on."""

    def __init__(self, tell: Callable[[Outcome], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._least_cost = math.inf
        self._next_at = -math.inf
        self._answered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The search was answered: what comes after that is told to nobody."""
        self._answered = True

    def __call__(self, outcome: Outcome) -> None:
        now = self._clock()
        if outcome.plan.cost < self._least_cost and now >= self._next_at:
            self._least_cost, self._next_at = outcome.plan.cost, now + 1 / PER_SECOND
            self._loop.call_soon_threadsafe(self._offer, outcome)

    def _offer(self, outcome: Outcome) -> None:
        if not self._answered:
            self._tell(outcome)
