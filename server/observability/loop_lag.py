"""Measures how late the event loop wakes up, a delay that every answer has on top of its own work."""

import asyncio
import time

from prometheus_client import Histogram

INTERVAL_S = 0.25


async def watch_loop_lag(lag: Histogram) -> None:
    """Measure until cancelled."""
    while True:
        due = time.monotonic() + INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        lag.observe(max(0.0, time.monotonic() - due))
