"""Who is next on the torch thread.

A request is a generator: it encodes, yields each step that it wants done with the best answer so far, and returns its
answer. A tick takes in a newcomer, or does one step for the most urgent request and for all who can share it. Knows no
model and no planner.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from server.engine.pace import Pace
from server.errors import Code, ServiceError

T = TypeVar("T")

PATIENCE_S = 10.0
"""Who has no deadline is ordered as if it was this far away, so that nobody is overtaken for ever."""

TAKEN_IN_BETWEEN_STEPS = 16
"""So that many newcomers do not keep those who are there from going on."""


class Step(Protocol):
    """What a request wants done next."""

    @property
    def kind(self) -> Hashable:
        """Steps of one kind are done together: one model, one shape."""
        ...


Steps = Generator[tuple[Step, T | None], None, T]
"""Goes on when its step was done. The answer beside a step is given when there is no time for that step."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a request will need of the torch thread, as far as it is known when it arrives."""

    model: Hashable
    """Work of one pace: a name of the model, and of how it is imagined."""
    arrived: float
    frames: int
    """To encode, if none of them was seen before."""
    candidates: int = 0
    horizon: int = 0
    """Of one step; none for a request that searches for nothing."""
    first_steps: int = 1
    """Until there is an answer."""
    deadline: float = math.inf

    @property
    def due(self) -> float:
        return min(self.deadline, self.arrived + PATIENCE_S)

    @property
    def imagined_steps(self) -> int:
        return self.candidates * self.horizon


@dataclass(eq=False)
class Place:
    """A request, from its arrival to its answer."""

    demand: Demand
    start_s: float
    """Expected for taking it in, and for one step, when it arrived."""
    step_s: float
    steps_left: int = 1
    """Until there is an answer."""
    taken_in: bool = False
    served: bool = False
    """There is an answer to give when its time is up."""

    @property
    def last_call(self) -> float:
        """When at the latest something must begin for it to be answered in time."""
        if self.served:
            return self.demand.deadline
        return self.demand.deadline - self.steps_left * self.step_s - (0.0 if self.taken_in else self.start_s)


@dataclass(eq=False)
class Work(Generic[T]):
    """What is to be done for a request. Its future is cancelled by who no longer waits for the answer."""

    place: Place
    steps: Steps[T]
    future: "Future[T]"
    on_best: Callable[[T], None] | None = None
    """Told each answer so far."""
    step: Step | None = None
    best: T | None = None
    """The answer so far. For any thread."""

    @property
    def kind(self) -> Hashable:
        return None if self.step is None else self.step.kind


class Scheduler:
    """Earliest deadline first: those who have no answer yet, then the others. Belongs to one thread."""

    def __init__(
        self,
        advance: Callable[[Sequence[Any]], None],
        pace: Pace,
        *,
        max_batch_candidates: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`advance` does steps of one kind, all at once."""
        self.works: list[Work[Any]] = []
        self.busy_until = 0.0
        """When what is being done now is expected to end."""
        self._taken_in = 0
        self._advance = advance
        self._pace = pace
        self._max_batch_candidates = max_batch_candidates
        self._clock = clock

    def tick(self) -> None:
        """Take in one who waits, or do one step for all who can share it."""
        began = self._clock()
        self._drop_cancelled()
        self._refuse_hopeless()
        newcomer = next(iter(self._in_order(work for work in self.works if not work.place.taken_in)), None)
        if newcomer is not None and self._taken_in < TAKEN_IN_BETWEEN_STEPS and not self._endangers(newcomer.place):
            if self._has_time([newcomer], newcomer.place.start_s):
                self._take_in(newcomer, began)
            return
        while batch := self._batch():
            if self._has_time(batch, self._batch_s(batch)):
                self._do(batch, began)
                break
        self._taken_in = 0

    def fail_all(self, error: Exception) -> None:
        """Nobody gets an answer any more."""
        for work in tuple(self.works):
            self._fail(work, error)

    def place(self, demand: Demand) -> Place:
        """For any thread."""
        start_s = self._pace.expected(("start", demand.model), demand.frames)
        step_s = self._pace.expected(demand.model, demand.imagined_steps)
        return Place(demand, start_s, step_s, demand.first_steps)

    def served_at(self, newcomer: Place, others: Iterable[Place]) -> float:
        """When the first step for it is expected to be done. For any thread."""
        queue = _Queue(self._pace, self._max_batch_candidates)
        for place in others:
            if not place.served and place.demand.due <= newcomer.demand.due:
                queue.add(place)
        queue.add(newcomer)
        return max(self._clock(), self.busy_until) + queue.seconds()

    def _refuse_hopeless(self) -> None:
        """Who cannot be served in time after those before it learns it now, not when its time is up."""
        now = self._clock()
        queue = _Queue(self._pace, self._max_batch_candidates)
        for work in self._in_order(work for work in self.works if not work.place.served):
            queue.add(work.place)
            if now + queue.seconds() > work.place.demand.deadline:
                queue.add(work.place, times=-1)
                self._fail(work, infeasible("there is more to do than expected"))

    def _endangers(self, newcomer: Place) -> bool:
        """Whether taking it in now would cost another one its only step."""
        ends = self._clock() + newcomer.start_s
        return any(w.place.taken_in and not w.place.served and w.place.last_call < ends for w in self.works)

    def _take_in(self, newcomer: Work[Any], began: float) -> None:
        newcomer.place.taken_in = True
        self._taken_in += 1
        self._go_on(newcomer)
        demand = newcomer.place.demand
        self._pace.learn(("start", demand.model), demand.frames, self._clock() - began)

    def _batch(self) -> list[Work[Any]]:
        """The most urgent one and those of its kind, as many as still let the earliest of them be in time."""
        ready = self._in_order(work for work in self.works if work.place.taken_in)
        if not ready:
            return []
        most = max(1, self._max_batch_candidates // ready[0].place.demand.candidates)
        batch = [work for work in ready if work.kind == ready[0].kind][:most]
        now = self._clock()
        while len(batch) > 1 and now + self._batch_s(batch) > min(work.place.demand.deadline for work in batch):
            batch.pop()
        return batch

    def _has_time(self, doing: Sequence[Work[Any]], takes_s: float) -> bool:
        """Whether all of `doing` are in time with it; if so, those whom it would make late are answered before."""
        now = self._clock()
        hopeless = [work for work in doing if not self._in_time(work.place, now, takes_s)]
        late = [work for work in self.works if work.place.last_call < now + takes_s and work not in doing]
        for work in hopeless or late:
            self._end(work)
        self.busy_until = now + takes_s
        return not hopeless

    def _in_time(self, place: Place, now: float, takes_s: float) -> bool:
        """With what is being done for it, and all that it needs after that."""
        steps_after = place.steps_left - place.taken_in
        return now + takes_s + (0 if place.served else steps_after) * place.step_s <= place.demand.deadline

    def _do(self, batch: Sequence[Work[Any]], began: float) -> None:
        try:
            self._advance([work.step for work in batch])
        except Exception as error:
            for work in batch:
                self._fail(work, error)
            return
        for work in batch:
            work.place.steps_left = max(1, work.place.steps_left - 1)
            self._go_on(work)
        imagined = sum(work.place.demand.imagined_steps for work in batch)
        self._pace.learn(batch[0].place.demand.model, imagined, self._clock() - began)

    def _go_on(self, work: Work[Any]) -> None:
        """To its next step, or to its answer."""
        try:
            work.step, work.best = next(work.steps)
            work.place.served = work.best is not None
            if work.on_best is not None and work.best is not None:
                work.on_best(work.best)
        except StopIteration as done:
            self._answer(work, done.value)
        except Exception as error:
            self._fail(work, error)

    def _end(self, work: Work[Any]) -> None:
        """Its time is up."""
        if work.best is None:
            self._fail(work, infeasible("there is more to do than expected"))
        else:
            self._answer(work, work.best)

    def _answer(self, work: Work[T], answer: T) -> None:
        work.steps.close()
        self.works.remove(work)
        if work.future.set_running_or_notify_cancel():
            work.future.set_result(answer)

    def _fail(self, work: Work[Any], error: Exception) -> None:
        work.steps.close()
        self.works.remove(work)
        if work.future.set_running_or_notify_cancel():
            work.future.set_exception(error)

    def _drop_cancelled(self) -> None:
        for work in self.works:
            if work.future.cancelled():
                work.steps.close()
        self.works = [work for work in self.works if not work.future.cancelled()]

    def _in_order(self, works: Iterable[Work[Any]]) -> list[Work[Any]]:
        """Who has an answer gives way to who has none, until its own time has come."""
        now = self._clock()
        return sorted(works, key=lambda w: (w.place.served and now < w.place.demand.due, w.place.demand.due))

    def _batch_s(self, batch: Sequence[Work[Any]]) -> float:
        demands = [work.place.demand for work in batch]
        return self._pace.expected(demands[0].model, sum(demand.imagined_steps for demand in demands))


class _Queue:
    """What there is to do until everyone in it is served: taking each in, and one step for all, in batches by model.

    Who is served after several steps only is counted as if it did all but the last alone.
    """

    def __init__(self, pace: Pace, max_batch_candidates: int) -> None:
        self._pace = pace
        self._max_batch_candidates = max_batch_candidates
        self._start_s = 0.0
        self._candidates: Counter[Hashable] = Counter()
        self._imagined_steps: Counter[Hashable] = Counter()

    def add(self, place: Place, times: int = 1) -> None:
        """-1 times takes it out again."""
        self._start_s += times * (0.0 if place.taken_in else place.start_s)
        self._start_s += times * (place.steps_left - 1) * place.step_s
        self._candidates[place.demand.model] += times * place.demand.candidates
        self._imagined_steps[place.demand.model] += times * place.demand.imagined_steps

    def seconds(self) -> float:
        """Expected."""
        seconds = self._start_s
        for model, candidates in self._candidates.items():
            if candidates:
                batches = math.ceil(candidates / self._max_batch_candidates)
                seconds += batches * self._pace.expected(model, self._imagined_steps[model] / batches)
        return seconds


def infeasible(why: str) -> ServiceError:
    """The refusal of a request that cannot be answered by its deadline."""
    remedy = "give it more time with planning_budget_ms, search less, or ask again later"
    return ServiceError(Code.DEADLINE_INFEASIBLE, f"no plan can be had by the deadline: {why}; {remedy}")
