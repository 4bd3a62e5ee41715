"""The server's clock, and how old an observation is by it.

A robot's clock is never compared with it, unless the robot says how far apart they are.
"""

import secrets
import time
from collections.abc import Callable

from server import schemas
from server.errors import Code, ServiceError, refuse

AHEAD_US = 50_000
"""By how much an observation may seem to come from the future: what an offset over a slow network is wrong by."""


class ServerClock:
    """Monotonic, from an origin of its own: offsets to it mean nothing to another server, so it has a name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock_id = secrets.token_hex(8)
        self._clock = clock

    def now_us(self) -> int:
        return round(self._clock() * 1e6)

    def check_age(self, request: schemas.PlanRequest) -> None:
        """Raises ServiceError (observation-stale) when the last frame is older than the request allows."""
        if request.max_observation_age_ms is None:
            return
        pointer = f"/context/{len(request.context) - 1}/capture_time_us"
        captured_us, offset = request.context[-1].capture_time_us, request.clock_offset
        if captured_us is None:
            raise refuse(Code.VALIDATION_FAILED, pointer, "is missing; max_observation_age_ms wants it")
        if offset is None:
            reason = "is missing; max_observation_age_ms wants it, from the times that /v1/time tells"
            raise refuse(Code.VALIDATION_FAILED, "/clock_offset", reason)
        if offset.clock_id != self.clock_id:
            reason = f"is of another clock; this server's is {self.clock_id}: measure the offset again"
            raise refuse(Code.OBSERVATION_STALE, "/clock_offset/clock_id", reason)
        age_us = self.now_us() - captured_us - offset.offset_us
        if age_us > request.max_observation_age_ms * 1000:
            raise self._stale(
                pointer, f"is {age_us / 1e3:.0f} ms old; at most {request.max_observation_age_ms} are wanted"
            )
        if age_us < -AHEAD_US:
            raise self._stale(pointer, f"lies {-age_us / 1e3:.0f} ms in the future; measure the offset again")

    def _stale(self, pointer: str, reason: str) -> ServiceError:
        return refuse(Code.OBSERVATION_STALE, pointer, reason)
