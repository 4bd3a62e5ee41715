"""Which request is next, on a clock that only the work itself moves."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from server.engine.pace import Pace
from server.engine.scheduler import PATIENCE_S, Answering, QueuedRequest, Scheduler, Steps
from server.errors import Code, ServiceError

MS = 1e-3


@dataclass(frozen=True)
class Asked:
    name: str
    kind: str


@dataclass
class Day:
    """A scheduler, what it did, and how long that took: a step for n robots takes `first_s` + (n - 1) `more_s`."""

    start_s: float = 0.0
    first_s: float = 10 * MS
    more_s: float = 0.0
    max_batch_candidates: int = 1000
    now: float = 0.0
    done: list[list[str]] = field(default_factory=list)
    """Who shared each step."""
    scheduler: Scheduler = field(init=False)

    def __post_init__(self) -> None:
        pace = Pace(lambda: self.now)
        self.scheduler = Scheduler(
            self.advance, pace, max_batch_candidates=self.max_batch_candidates, clock=lambda: self.now
        )

    def advance(self, steps: Sequence[Asked]) -> None:
        if any(step.kind == "broken" for step in steps):
            raise ArithmeticError("no")
        self.done.append([step.name for step in steps])
        self.now += self.first_s + (len(steps) - 1) * self.more_s

    def add(
        self,
        name: str,
        deadline: float = float("inf"),
        *,
        iterations: int = 3,
        kind: str = "k",
        start_s: float = -1,
        first_steps: int = 1,
    ) -> Answering[Any]:
        request = QueuedRequest(
            model="m",
            arrived=self.now,
            frames=1,
            candidates=10,
            horizon=1,
            steps_left=first_steps,
            deadline=deadline,
        )
        steps = self.steps(name, iterations, kind, self.start_s if start_s < 0 else start_s, first_steps)
        self.scheduler.expect(request)
        answering = Answering(request, steps, Future())
        self.scheduler.open.append(answering)
        return answering

    def steps(
        self, name: str, iterations: int, kind: str, start_s: float, first_steps: int
    ) -> Steps[tuple[int, float]]:
        """Answers how many steps it got, and when; nothing before the first few."""
        self.now += start_s
        answer: tuple[int, float] | None = None
        for got in range(1, iterations + 1):
            yield Asked(name, kind), answer if got > first_steps else None
            answer = got, self.now
        assert answer is not None
        return answer

    def practise(self, robots: int) -> None:
        """Learn how long everything takes."""
        for count in range(1, robots + 1):
            for number in range(count):
                self.add(str(number), iterations=1)
            self.run()
        self.done.clear()

    def step(self) -> None:
        """Tick until somebody got a step."""
        before = len(self.done)
        while self.scheduler.open and len(self.done) == before:
            self.scheduler.tick()

    def run(self) -> None:
        while self.scheduler.open:
            self.scheduler.tick()


def refused(work: Answering[Any]) -> bool:
    error = work.future.exception()
    return isinstance(error, ServiceError) and error.code is Code.DEADLINE_INFEASIBLE


def test_a_newcomer_joins_at_the_next_step() -> None:
    day = Day()
    first = day.add("a")
    day.step()
    second = day.add("b")
    day.run()
    assert [sorted(together) for together in day.done] == [["a"], ["a", "b"], ["a", "b"], ["b"]]
    assert (first.future.result()[0], second.future.result()[0]) == (3, 3)


def test_the_earliest_deadline_comes_first() -> None:
    day = Day(max_batch_candidates=10)
    for name, deadline in (("late", 3.0), ("never", float("inf")), ("soon", 1.0), ("then", 2.0)):
        day.add(name, deadline, iterations=2)
    day.run()
    assert day.done[:4] == [["soon"], ["then"], ["late"], ["never"]], "one step for each before anybody's second"
    assert day.done[4:] == day.done[:4]


def test_who_has_no_deadline_is_not_overtaken_for_ever() -> None:
    day = Day(max_batch_candidates=10)
    patient = day.add("patient", iterations=2)
    while not patient.future.done():
        assert day.now < PATIENCE_S + 0.1
        day.add("hasty", day.now + 0.05, iterations=2)
        day.step()


def test_only_steps_of_one_kind_are_shared_and_never_more_than_allowed() -> None:
    day = Day(max_batch_candidates=25)
    for name in ("a", "b", "c"):
        day.add(name, iterations=1)
        day.add(name.upper(), iterations=1, kind="other")
    day.run()
    assert day.done == [["a", "b"], ["A", "B"], ["c"], ["C"]]


def test_at_the_deadline_there_is_an_answer_and_it_is_in_time() -> None:
    day = Day()
    day.practise(1)
    work = day.add("a", day.now + 35 * MS, iterations=100)
    arrived = day.now
    day.run()
    got, ended = work.future.result()
    assert got == 3 and ended - arrived == pytest.approx(30 * MS)


def test_what_cannot_be_in_time_is_refused_before_anything_is_done_for_it() -> None:
    day = Day(start_s=5 * MS)
    day.practise(1)
    arrived = day.now
    work = day.add("a", day.now + 12 * MS)
    day.run()
    assert refused(work) and day.now == arrived and day.done == []


@pytest.mark.parametrize(("budget_ms", "steps"), [(38, 0), (45, 4), (58, 5)])
def test_an_answer_that_wants_several_steps_gets_them_or_is_refused_at_once(budget_ms: float, steps: int) -> None:
    day = Day()
    day.practise(1)
    arrived = day.now
    work = day.add("a", arrived + budget_ms * MS, iterations=100, first_steps=4)
    day.run()
    if steps:
        assert work.future.result()[0] == steps
    else:
        assert refused(work) and day.done == []


def test_who_still_wants_steps_keeps_others_from_none_of_theirs() -> None:
    """They take turns by deadline, and both are in time."""
    day = Day(max_batch_candidates=10)
    day.practise(1)
    arrived = day.now
    long = day.add("long", arrived + 75 * MS, iterations=4, first_steps=4)
    short = day.add("short", arrived + 35 * MS, iterations=2)
    day.run()
    assert long.future.result()[0] == 4 and long.future.result()[1] <= arrived + 75 * MS
    assert short.future.result()[0] >= 1 and short.future.result()[1] <= arrived + 35 * MS


def test_a_tight_deadline_is_not_missed_for_company() -> None:
    """Ten robots would take 55 ms; the one that has 30 is taken with as many as fit, the others right after."""
    day = Day(more_s=5 * MS)
    day.practise(10)
    arrived = day.now
    tight = day.add("tight", arrived + 30 * MS, iterations=1)
    others = [day.add(str(number), arrived + 0.5, iterations=1) for number in range(9)]
    day.run()
    assert tight.future.result()[1] <= arrived + 30 * MS
    assert 1 < len(day.done[0]) < 10 and sum(map(len, day.done)) == 10
    assert all(work.future.result()[0] == 1 for work in others)


def test_a_newcomer_costs_nobody_the_only_step() -> None:
    day = Day(start_s=20 * MS)
    day.practise(1)
    first = day.add("first", day.now + 35 * MS, iterations=1)
    second = day.add("second", day.now + 500 * MS, iterations=1)
    day.run()
    assert day.done == [["first"], ["second"]]
    assert first.future.result()[0] == second.future.result()[0] == 1


def test_who_would_be_late_after_a_neighbours_step_answers_before_it() -> None:
    day = Day(max_batch_candidates=10)
    day.practise(1)
    arrived = day.now
    first = day.add("first", arrived + 15 * MS, iterations=5)
    day.step()
    day.add("second", arrived + 500 * MS, iterations=1)
    day.run()
    assert first.future.result() == (1, pytest.approx(arrived + 10 * MS))


def test_a_cancelled_request_is_closed_at_the_next_tick_and_nothing_more_is_done_for_it() -> None:
    day = Day()
    going, gone, never = day.add("going"), day.add("gone"), day.add("never", start_s=99.0)
    never.future.cancel()
    day.step()
    gone.future.cancel()
    day.run()
    assert day.done == [["going", "gone"], ["going"], ["going"]]
    assert going.future.result()[0] == 3 and day.now < 1
    for work in (gone, never):
        with pytest.raises(StopIteration):
            next(work.steps)


def test_what_one_request_raises_is_its_own() -> None:
    def bad() -> Steps[None]:
        yield Asked("bad", "k"), None
        raise ArithmeticError("no")

    day = Day()
    good = day.add("good")
    work = Answering(dataclasses.replace(good.request), bad(), Future())
    day.scheduler.open.append(work)
    day.run()
    assert isinstance(work.future.exception(), ArithmeticError)
    assert good.future.result()[0] == 3 and day.done[0] == ["good", "bad"]


def test_what_a_shared_step_raises_is_everybodys() -> None:
    day = Day()
    works = [day.add("a", kind="broken"), day.add("b", kind="broken")]
    good = day.add("c")
    day.run()
    assert all(isinstance(work.future.exception(), ArithmeticError) for work in works)
    assert good.future.result()[0] == 3


def test_a_storm_of_deadlines_leaves_nobody_late() -> None:
    """More than fits, budgets of 1 to 50 ms, 5 ms a step: answered in time, as far as that was learned, or refused."""
    rng = np.random.default_rng(0)
    day = Day(start_s=1 * MS, first_s=5 * MS, more_s=0.5 * MS)
    day.practise(16)
    works: list[tuple[Answering[Any], float]] = []
    for _ in range(200):
        deadline = day.now + rng.uniform(1, 50) * MS
        works.append((day.add("x", deadline, iterations=10), deadline))
        if rng.random() < 0.3:
            day.step()
    day.run()
    answered = [(work.future.result()[1], deadline) for work, deadline in works if not refused(work)]
    assert all(ended <= deadline + 1 * MS for ended, deadline in answered)
    assert 50 < len(answered) < 200


class TestPace:
    def test_what_was_never_done_is_between_or_in_proportion_to_what_was(self) -> None:
        pace = Pace(lambda: 0.0)
        assert pace.expected("k", 64) == 0.0
        pace.learn("k", 64, 2.0)
        assert [pace.expected("k", size) for size in (0, 8, 64, 256)] == pytest.approx([0, 0.25, 2, 8])
        pace.learn("k", 1024, 17.0)
        assert [pace.expected("k", size) for size in (64, 512, 1024, 2048)] == pytest.approx([2, 9, 17, 34])
        assert pace.expected("other", 64) == 0.0

    def test_one_hiccup_is_no_pace(self) -> None:
        pace = Pace(lambda: 0.0)
        for seconds in (30.0, 1.0, 1.1, 0.9, 1.2):
            pace.learn("k", 1, seconds)
        assert pace.expected("k", 1) == 1.2

    def test_it_follows_a_machine_that_becomes_slower(self) -> None:
        pace = Pace(lambda: 0.0)
        for seconds in [1.0] * 50 + [3.0] * 4:
            pace.learn("k", 1, seconds)
        assert pace.expected("k", 1) == 3.0

    def test_what_was_learned_long_ago_counts_less(self) -> None:
        """Or a slow moment would have refused all that could have shown it was over."""
        now = 0.0
        pace = Pace(lambda: now)
        pace.learn("k", 1, 8.0)
        now = 30.0
        assert pace.expected("k", 1) == 1.0
