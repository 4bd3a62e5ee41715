"""The server's clock, and the age of observations by it.

A robot's time is compared with it only when the robot sends the offset between the two clocks.
"""

import secrets
import time
from collections.abc import Callable

from server import schemas
from server.errors import Code, refuse
from server.validation import pointer_to

AHEAD_US = 50_000
"""Largest time by which an observation may seem to lie in the future: the error of an offset over a slow network."""


class ServerClock:
    """Monotonic clock with its own origin. Its identifier tells it from the clock of another server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock_id = secrets.token_hex(8)
        self._clock = clock

    def now_us(self) -> int:
        return round(self._clock() * 1e6)

    def check_age(self, request: schemas.PlanRequest) -> None:
        """Raises ServiceError (observation-stale) when a sensor in the last frame is older than the request allows."""
        if request.max_observation_age_ms is None:
            return
        index, frame = len(request.context) - 1, request.context[-1]
        if frame.capture_time_us is None:
            pointer = pointer_to("context", index, "capture_time_us")
            raise refuse(Code.VALIDATION_FAILED, pointer, "is missing; max_observation_age_ms needs it")
        offset_us = self._offset_us(request.clock_offset)
        times = {pointer_to("context", index, "capture_time_us"): frame.capture_time_us}
        times |= {
            pointer_to("context", index, "capture_times_us", name): at for name, at in frame.capture_times_us.items()
        }
        for pointer, captured_us in times.items():
            self._check_one(pointer, self.now_us() - captured_us - offset_us, request.max_observation_age_ms)

    def _offset_us(self, offset: schemas.ClockOffset | None) -> int:
        if offset is None:
            reason = "is missing; max_observation_age_ms needs it: measure it with /v1/time"
            raise refuse(Code.VALIDATION_FAILED, "/clock_offset", reason)
        if offset.clock_id != self.clock_id:
            reason = f"is of another clock; this server's is {self.clock_id}: measure the offset again"
            raise refuse(Code.OBSERVATION_STALE, "/clock_offset/clock_id", reason)
        return offset.offset_us

    def _check_one(self, pointer: str, age_us: int, most_ms: int) -> None:
        if age_us > most_ms * 1000:
            reason = f"is {age_us / 1e3:.0f} ms old; the request allows {most_ms} ms"
            raise refuse(Code.OBSERVATION_STALE, pointer, reason)
        if age_us < -AHEAD_US:
            reason = f"lies {-age_us / 1e3:.0f} ms in the future; measure the offset again"
            raise refuse(Code.OBSERVATION_STALE, pointer, reason)
