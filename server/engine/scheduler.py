"""Decides which request the torch thread works on next.

A request is a generator: it encodes, yields each step of its search together with the best answer so far, and returns
its answer. A tick either starts a new request, or does one step of the most urgent request and of all that can share
it. This module knows no model and no planner.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from server.engine.pace import Pace
from server.engine.protocol import infeasible

T = TypeVar("T")

PATIENCE_S = 10.0
"""A request without a deadline is scheduled as if due after this long, so it cannot starve."""

TAKEN_IN_BETWEEN_STEPS = 16
"""Most requests that are started before the next step, so that many new requests cannot block the others."""


class SearchStep(Protocol):
    """Next iteration of one request's search."""

    @property
    def kind(self) -> Hashable:
        """Value that is equal for steps that can run together: same model and shapes."""
        ...


Steps = Generator[tuple[SearchStep, T | None], None, T]
"""Generator that is resumed after each step. If there is no time for a step, the answer yielded with it is given."""


@dataclass(eq=False, kw_only=True)
class QueuedRequest:
    """A request from its arrival to its reply: its expected work on the torch thread, and its progress.

    Times are on the scheduler's clock, in seconds.
    """

    model: Hashable
    """Model name and use. Requests with equal values take the same time for equal sizes."""
    arrived: float
    frames: int
    """Number of frames to encode if none is known."""
    candidates: int = 0
    horizon: int = 0
    """Model steps of each candidate in one step of the search; 0 for a request without a search."""
    steps_left: int = 1
    """Number of steps until there is an answer."""
    deadline: float = math.inf
    start_s: float = 0.0
    """Expected time to start it, known once it is admitted."""
    step_s: float = 0.0
    """Expected time of one step alone, known once it is admitted."""
    taken_in: bool = False
    served: bool = False
    """True if there is an answer to give at the deadline."""

    @property
    def due(self) -> float:
        """Sorting key: the deadline, or without one the end of PATIENCE_S."""
        return min(self.deadline, self.arrived + PATIENCE_S)

    @property
    def imagined_steps(self) -> int:
        """Model steps of all candidates in one step of the search."""
        return self.candidates * self.horizon

    @property
    def last_call(self) -> float:
        """Latest time to begin its work for an answer in time."""
        if self.served:
            return self.deadline
        return self.deadline - self.steps_left * self.step_s - (0.0 if self.taken_in else self.start_s)


@dataclass(eq=False)
class Answering(Generic[T]):
    """Computation of a request. A caller that no longer waits cancels its future."""

    request: QueuedRequest
    steps: Steps[T]
    future: "Future[T]"
    on_best: Callable[[T], None] | None = None
    """Function that is called with each answer so far."""
    step: SearchStep | None = None
    best: T | None = None
    """Best answer so far. Any thread may read it."""

    @property
    def kind(self) -> Hashable:
        """Kind of its next step; None before it is started."""
        return None if self.step is None else self.step.kind


class Scheduler:
    """Earliest deadline first, with requests without an answer before the others. Belongs to one thread."""

    def __init__(
        self,
        advance: Callable[[Sequence[Any]], None],
        pace: Pace,
        *,
        max_batch_candidates: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`advance` runs steps of one kind together."""
        self.open: list[Answering[Any]] = []
        self.busy_until = 0.0
        """Expected end of the work in progress."""
        self._taken_in = 0
        self._advance = advance
        self._pace = pace
        self._max_batch_candidates = max_batch_candidates
        self._clock = clock

    def tick(self) -> None:
        """Start one waiting request, or do one step of the most urgent request and of all that can share it."""
        began = self._clock()
        self._drop_cancelled()
        self._refuse_hopeless()
        newcomer = next(iter(self._in_order(each for each in self.open if not each.request.taken_in)), None)
        if newcomer and self._taken_in < TAKEN_IN_BETWEEN_STEPS and not self._endangers(newcomer.request):
            if self._has_time([newcomer], newcomer.request.start_s):
                self._take_in(newcomer, began)
            return
        while batch := self._batch():
            if self._has_time(batch, self._batch_s(batch)):
                self._do(batch, began)
                break
        self._taken_in = 0

    def fail_all(self, error: Exception) -> None:
        """Answer every open request with `error`."""
        for each in tuple(self.open):
            self._fail(each, error)

    def expect(self, request: QueuedRequest) -> None:
        """Fill in the expected times of a request. Any thread may call this."""
        request.start_s = self._pace.expected(("start", request.model), request.frames)
        request.step_s = self._pace.expected(request.model, request.imagined_steps)

    def served_at(self, newcomer: QueuedRequest, others: Iterable[QueuedRequest]) -> float:
        """Expected end of the newcomer's first step. Any thread may call this."""
        queue = _Queue(self._pace, self._max_batch_candidates)
        for other in others:
            if not other.served and other.due <= newcomer.due:
                queue.add(other)
        queue.add(newcomer)
        return max(self._clock(), self.busy_until) + queue.seconds()

    def _refuse_hopeless(self) -> None:
        """Refuse at once, and not only at the deadline, each request that cannot be served in time."""
        now = self._clock()
        queue = _Queue(self._pace, self._max_batch_candidates)
        for each in self._in_order(each for each in self.open if not each.request.served):
            queue.add(each.request)
            if now + queue.seconds() > each.request.deadline:
                queue.add(each.request, times=-1)
                self._fail(each, infeasible("there is more to do than expected"))

    def _endangers(self, newcomer: QueuedRequest) -> bool:
        """True if starting it now would cost another request its only step."""
        ends = self._clock() + newcomer.start_s
        requests = (each.request for each in self.open)
        return any(other.taken_in and not other.served and other.last_call < ends for other in requests)

    def _take_in(self, newcomer: Answering[Any], began: float) -> None:
        request = newcomer.request
        request.taken_in = True
        self._taken_in += 1
        self._resume(newcomer)
        self._pace.learn(("start", request.model), request.frames, self._clock() - began)

    def _batch(self) -> list[Answering[Any]]:
        """The most urgent request and others of its kind, as many as leave the earliest of them in time."""
        ready = self._in_order(each for each in self.open if each.request.taken_in)
        if not ready:
            return []
        most = max(1, self._max_batch_candidates // ready[0].request.candidates)
        batch = [each for each in ready if each.kind == ready[0].kind][:most]
        now = self._clock()
        while len(batch) > 1 and now + self._batch_s(batch) > min(each.request.deadline for each in batch):
            batch.pop()
        return batch

    def _has_time(self, doing: Sequence[Answering[Any]], takes_s: float) -> bool:
        """True if all of `doing` are in time after the step; if so, requests that it would delay are answered first."""
        now = self._clock()
        hopeless = [each for each in doing if not self._in_time(each.request, now, takes_s)]
        late = [each for each in self.open if each.request.last_call < now + takes_s and each not in doing]
        for each in hopeless or late:
            self._end(each)
        self.busy_until = now + takes_s
        return not hopeless

    def _in_time(self, request: QueuedRequest, now: float, takes_s: float) -> bool:
        """True if it meets its deadline after the present work and all that it needs afterwards."""
        steps_after = request.steps_left - request.taken_in
        return now + takes_s + (0 if request.served else steps_after) * request.step_s <= request.deadline

    def _do(self, batch: Sequence[Answering[Any]], began: float) -> None:
        try:
            self._advance([each.step for each in batch])
        except Exception as error:
            for each in batch:
                self._fail(each, error)
            return
        for each in batch:
            each.request.steps_left = max(1, each.request.steps_left - 1)
            self._resume(each)
        imagined = sum(each.request.imagined_steps for each in batch)
        self._pace.learn(batch[0].request.model, imagined, self._clock() - began)

    def _resume(self, each: Answering[Any]) -> None:
        """Run a request to its next step, or to its answer."""
        try:
            each.step, each.best = next(each.steps)
            each.request.served = each.best is not None
            if each.on_best is not None and each.best is not None:
                each.on_best(each.best)
        except StopIteration as done:
            self._answer(each, done.value)
        except Exception as error:
            self._fail(each, error)

    def _end(self, each: Answering[Any]) -> None:
        """Answer a request at its deadline."""
        if each.best is None:
            self._fail(each, infeasible("there is more to do than expected"))
        else:
            self._answer(each, each.best)

    def _answer(self, each: Answering[T], answer: T) -> None:
        self._close(each)
        if each.future.set_running_or_notify_cancel():
            each.future.set_result(answer)

    def _fail(self, each: Answering[Any], error: Exception) -> None:
        self._close(each)
        if each.future.set_running_or_notify_cancel():
            each.future.set_exception(error)

    def _close(self, each: Answering[Any]) -> None:
        each.steps.close()
        self.open.remove(each)

    def _drop_cancelled(self) -> None:
        for each in [each for each in self.open if each.future.cancelled()]:
            self._close(each)

    def _in_order(self, answering: Iterable[Answering[Any]]) -> list[Answering[Any]]:
        """Requests by urgency. One that has an answer yields to those without, until its own deadline is near."""
        now = self._clock()
        return sorted(answering, key=lambda a: (a.request.served and now < a.request.due, a.request.due))

    def _batch_s(self, batch: Sequence[Answering[Any]]) -> float:
        imagined = sum(each.request.imagined_steps for each in batch)
        return self._pace.expected(batch[0].request.model, imagined)


class _Queue:
    """Time until every request in it is served: the start of each, and one step for all, in batches by model.

    A request that needs several steps is counted as if it did all but the last one alone.
    """

    def __init__(self, pace: Pace, max_batch_candidates: int) -> None:
        self._pace = pace
        self._max_batch_candidates = max_batch_candidates
        self._start_s = 0.0
        self._candidates: Counter[Hashable] = Counter()
        self._imagined_steps: Counter[Hashable] = Counter()

    def add(self, request: QueuedRequest, times: int = 1) -> None:
        """Add a request; with times = -1, remove it again."""
        self._start_s += times * (0.0 if request.taken_in else request.start_s)
        self._start_s += times * (request.steps_left - 1) * request.step_s
        self._candidates[request.model] += times * request.candidates
        self._imagined_steps[request.model] += times * request.imagined_steps

    def seconds(self) -> float:
        """Expected time."""
        seconds = self._start_s
        for model, candidates in self._candidates.items():
            if candidates:
                batches = math.ceil(candidates / self._max_batch_candidates)
                seconds += batches * self._pace.expected(model, self._imagined_steps[model] / batches)
        return seconds
