"""What is remembered of a robot between two plans: the last plan's search variables, for a warm start. Nothing else."""

import time
from collections import OrderedDict
from collections.abc import Callable

from server.engine.protocol import WarmStart


class Sessions:
    """Sessions by the id that the client chose. Forgotten when idle, and the least recently used beyond capacity."""

    def __init__(self, *, ttl_s: float, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._clock = clock
        self._plans: OrderedDict[str, tuple[float, WarmStart]] = OrderedDict()

    def last_plan(self, session_id: str) -> WarmStart | None:
        """None when the session is new, or was idle for too long."""
        expires, plan = self._plans.get(session_id, (0.0, None))
        return plan if self._clock() < expires else None

    def remember(self, session_id: str, plan: WarmStart) -> None:
        now = self._clock()
        self._plans[session_id] = (now + self._ttl_s, plan)
        self._plans.move_to_end(session_id)
        oldest = next(iter(self._plans))
        if len(self._plans) > self._capacity or self._plans[oldest][0] <= now:
            del self._plans[oldest]

    def __len__(self) -> int:
        return len(self._plans)
