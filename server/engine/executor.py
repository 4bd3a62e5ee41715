"""Where work that takes long is done: never on the event loop, and never more of it than can be answered.

One thread owns torch and ticks as `scheduler` says; images are decoded by a few other threads.
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
from server.engine.scheduler import Demand, Place, Scheduler, Steps, Work, infeasible
from server.errors import Code, ServiceError, internal

log = logging.getLogger("telos")

T = TypeVar("T")

RETRY_AFTER_MS = 1000
_DECODE = "decode"
LAG = "lag"
"""How long after a deadline the event loop gets to answer: known to `Executor.pace`."""


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
        """`advance` does steps of one kind, all at once."""
        self.pace = Pace(clock)
        self._clock = clock
        self._decode_threads = decode_threads
        self._decoding = 0
        self._places: list[Place] = []
        self._closed = False
        self._busy_since: float | None = None
        self._scheduler = Scheduler(advance, self.pace, max_batch_candidates=max_batch_candidates, clock=clock)
        self._inbox: SimpleQueue[Work[Any] | None] = SimpleQueue()
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="telos-decode")
        self._torch = threading.Thread(target=self._run, name="telos-torch", daemon=True)
        self._torch.start()

    def step_s(self) -> float:
        """How long the torch thread has been at what it does now, in seconds; 0 when it waits. For any thread."""
        since = self._busy_since
        return 0.0 if since is None else self._clock() - since

    @property
    def waiting(self) -> int:
        """Requests without a first answer."""
        return sum(not place.served for place in self._places)

    @property
    def in_flight(self) -> int:
        return len(self._places)

    @contextmanager
    def admitted(self, demand: Demand) -> Iterator[Place]:
        """A place for one request, from before its images are decoded until it is answered.

        Raises ServiceError (deadline-infeasible), at once.
        """
        place = self._scheduler.place(demand)
        if demand.deadline < math.inf:
            decode_s = (self._decoding // self._decode_threads + 1) * self.pace.expected(_DECODE, 1)
            late_s = self._scheduler.served_at(place, self._places) + decode_s - demand.deadline
            if late_s > 0:
                raise infeasible(f"it would be {math.ceil(late_s * 1e3)} ms late")
        self._places.append(place)
        try:
            yield place
        finally:
            self._places.remove(place)

    async def decode(self, function: Callable[[], T]) -> T:
        """Run `function` on a decoder thread."""

        def work() -> T:
            began = self._clock()
            try:
                return function()
            finally:
                self.pace.learn(_DECODE, 1, self._clock() - began)

        self._decoding += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoders, work)
        finally:
            self._decoding -= 1

    async def compute(self, place: Place, steps: Steps[T], on_best: Callable[[T], None] | None = None) -> T:
        """The answer of `steps`, done on the torch thread; at the deadline, the best there is by then.

        `on_best` is called on the torch thread with the answer so far, after each step that leaves one.
        Raises what they raise, and ServiceError. When the caller is cancelled they are closed at the next tick, and
        nothing more is computed for them.
        """
        if self._closed:
            raise _closing()
        work: Work[T] = Work(place, steps, Future(), on_best)
        self._inbox.put(work)
        answer = asyncio.wrap_future(work.future)
        deadline = place.demand.deadline
        if deadline == math.inf:
            return await answer
        try:
            await asyncio.wait([answer], timeout=max(0.0, deadline - self._clock()))
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()
        self.pace.learn(LAG, 1, self._clock() - deadline)
        if work.best is None:
            raise infeasible("there was more to do than expected")
        return work.best

    def close(self) -> None:
        """What is being computed is done, what waits is refused."""
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
        """Newcomers; waits for one when there is nothing to do. False when the engine closes."""
        while not self._scheduler.works or not self._inbox.empty():
            work = self._inbox.get()
            if work is None:
                return False
            self._scheduler.works.append(work)
        return True


def _closing() -> ServiceError:
    return ServiceError(Code.NOT_READY, "this server is shutting down; ask another one", retry_after_ms=RETRY_AFTER_MS)
