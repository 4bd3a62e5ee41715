"""Runs long work off the event loop, and accepts only as much as it can answer in time.

One thread runs torch, in the order that `scheduler` decides; a few other threads decode images.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from server.engine.pace import Pace
from server.engine.protocol import infeasible
from server.engine.scheduler import Answering, QueuedRequest, Scheduler, Steps
from server.errors import Code, ServiceError, internal

log = logging.getLogger("telos")

T = TypeVar("T")

RETRY_AFTER_MS = 1000
_DECODE = "decode"
LAG = "lag"
"""Kind of work in `Executor.pace` for the delay between a deadline and the event loop's answer."""


class Executor:
    """Belongs to one event loop."""

    def __init__(
        self,
        advance: Callable[[Sequence[Any]], None],
        *,
        max_batch_candidates: int,
        decode_threads: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`advance` runs steps of one kind together."""
        self.pace = Pace(clock)
        self._clock = clock
        self._decode_threads = decode_threads
        self._decoding = 0
        self._admitted: list[QueuedRequest] = []
        self._closed = False
        self._busy_since: float | None = None
        self._scheduler = Scheduler(advance, self.pace, max_batch_candidates=max_batch_candidates, clock=clock)
        self._inbox: SimpleQueue[Answering[Any] | None] = SimpleQueue()
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="telos-decode")
        self._torch = threading.Thread(target=self._run, name="telos-torch", daemon=True)
        self._torch.start()

    def step_s(self) -> float:
        """Seconds since the torch thread began its present step; 0 when it waits. Any thread may call this."""
        since = self._busy_since
        return 0.0 if since is None else self._clock() - since

    @property
    def waiting(self) -> int:
        """Number of requests without a first answer."""
        return sum(not request.served for request in self._admitted)

    @property
    def in_flight(self) -> int:
        """Number of requests that were admitted and not answered yet."""
        return len(self._admitted)

    @contextmanager
    def admitted(self, request: QueuedRequest) -> Iterator[QueuedRequest]:
        """Count a request, from before its images are decoded until it is answered.

        Raises ServiceError (deadline-infeasible), at once.
        """
        self._scheduler.expect(request)
        if request.deadline < math.inf:
            decode_s = (self._decoding // self._decode_threads + 1) * self.pace.expected(_DECODE, 1)
            late_s = self._scheduler.served_at(request, self._admitted) + decode_s - request.deadline
            if late_s > 0:
                raise infeasible(f"it would be {math.ceil(late_s * 1e3)} ms late")
        self._admitted.append(request)
        try:
            yield request
        finally:
            self._admitted.remove(request)

    async def decode(self, function: Callable[[], T]) -> T:
        """Run `function` on a decoder thread."""

        def timed() -> T:
            began = self._clock()
            try:
                return function()
            finally:
                self.pace.learn(_DECODE, 1, self._clock() - began)

        self._decoding += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoders, timed)
        finally:
            self._decoding -= 1

    async def compute(self, request: QueuedRequest, steps: Steps[T], on_best: Callable[[T], None] | None = None) -> T:
        """The answer of `steps`, computed on the torch thread; at the deadline, the best answer so far.

        `on_best` is called on the torch thread with the best answer so far, after each step that has one. Raises what
        `steps` raises, and ServiceError. If the caller is cancelled, the steps are closed at the next tick.
        """
        if self._closed:
            raise _closing()
        answering: Answering[T] = Answering(request, steps, Future(), on_best)
        self._inbox.put(answering)
        answer = asyncio.wrap_future(answering.future)
        deadline = request.deadline
        if deadline == math.inf:
            return await answer
        try:
            await asyncio.wait([answer], timeout=max(0.0, deadline - self._clock()))
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()
        self.pace.learn(LAG, 1, self._clock() - deadline)
        if answering.best is None:
            raise infeasible("there was more to do than expected")
        return answering.best

    def close(self) -> None:
        """Finish the step in progress and refuse all waiting requests."""
        self._closed = True
        self._inbox.put(None)
        self._torch.join()
        self._decoders.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        while self._collect():
            self._busy_since = self._clock()
            try:
                self._scheduler.tick()
            except Exception:
                log.exception("the scheduler failed")
                self._scheduler.fail_all(internal())
            self._busy_since = None
        self._scheduler.fail_all(_closing())

    def _collect(self) -> bool:
        """Pass new requests to the scheduler, waiting for one if it has none. False when the engine closes."""
        while not self._scheduler.open or not self._inbox.empty():
            answering = self._inbox.get()
            if answering is None:
                return False
            self._scheduler.open.append(answering)
        return True


def _closing() -> ServiceError:
    return ServiceError(Code.NOT_READY, "this server is shutting down; ask another one", retry_after_ms=RETRY_AFTER_MS)


def at_once(work: Callable[[], T]) -> Steps[T]:
    """Steps of a request without a search, whose work is done before its first step."""
    return work()
    yield  # makes this a generator
