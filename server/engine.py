"""Where work that takes long is done: never on the event loop, and never more of it than can be answered.

One thread owns torch. Requests wait for it in a bounded queue; images are decoded by a few other threads.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from server.errors import Code, ServiceError

T = TypeVar("T")

RETRY_AFTER_MS = 1000


class Halt(threading.Event):
    """Set when nobody waits for an answer any more: long work looks at it between steps."""


class Engine:
    def __init__(self, *, max_in_flight: int, decode_threads: int) -> None:
        self._max_in_flight = max_in_flight
        self.in_flight = 0
        self._torch = ThreadPoolExecutor(1, thread_name_prefix="telos-torch")
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="telos-decode")

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A place for one request, from before its images are decoded until it is answered. Raises ServiceError."""
        if self.in_flight >= self._max_in_flight:
            detail = f"{self.in_flight} requests are already being worked on; ask again later, or less often"
            raise ServiceError(Code.QUEUE_FULL, detail, retry_after_ms=RETRY_AFTER_MS)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def decode(self, function: Callable[[], T]) -> T:
        """Run `function` on a decoder thread."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function)

    async def compute(self, job: Callable[[Halt], T]) -> tuple[T, int]:
        """Run `job` on the torch thread; its result, and how long it waited in microseconds.

        When the caller is cancelled, a job that waits is dropped and one that runs is told to halt.
        """
        halt = Halt()
        queued = time.monotonic()

        def run() -> tuple[T, int]:
            waited_us = round((time.monotonic() - queued) * 1e6)
            return job(halt), waited_us

        try:
            return await asyncio.get_running_loop().run_in_executor(self._torch, run)
        except asyncio.CancelledError:
            halt.set()
            raise

    def close(self) -> None:
        self._torch.shutdown(wait=True, cancel_futures=True)
        self._decoders.shutdown(wait=True, cancel_futures=True)
