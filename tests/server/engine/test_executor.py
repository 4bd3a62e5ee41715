"""Bounded, cancellable, and never on the event loop."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from server.engine.executor import Executor, at_once
from server.engine.scheduler import QueuedRequest, Steps
from server.errors import Code, ServiceError

STEP_S = 0.02


@dataclass(frozen=True)
class Asked:
    kind: str = "k"


def advance(steps: Sequence[Any]) -> None:
    time.sleep(STEP_S)


@pytest.fixture
def engine() -> Iterator[Executor]:
    engine = Executor(advance, max_batch_candidates=1000, decode_threads=1)
    yield engine
    engine.close()


def queued(budget_s: float = float("inf")) -> QueuedRequest:
    now = time.monotonic()
    return QueuedRequest(model="m", arrived=now, frames=1, candidates=10, horizon=1, deadline=now + budget_s)


async def compute(engine: Executor, steps: Steps[Any], budget_s: float = float("inf")) -> Any:
    with engine.admitted(queued(budget_s)) as request:
        return await engine.compute(request, steps)


def searching(iterations: int, on_close: Callable[[], None] = lambda: None) -> Steps[int]:
    """Answers how many steps it got."""
    try:
        for got in range(iterations):
            yield Asked(), got or None
    finally:
        on_close()
    return iterations


def test_a_place_is_held_until_the_answer(engine: Executor) -> None:
    with engine.admitted(queued()), engine.admitted(queued()):
        assert engine.in_flight == 2
    assert engine.in_flight == 0


def test_a_deadline_that_cannot_be_met_is_refused_at_once(engine: Executor) -> None:
    async def main() -> float:
        await compute(engine, searching(3))  # learns
        busy = asyncio.create_task(compute(engine, searching(10)))
        await asyncio.sleep(STEP_S / 2)
        started = time.monotonic()
        with pytest.raises(ServiceError, match=r"\d+ ms late; give it more time") as caught:
            await compute(engine, searching(1), budget_s=STEP_S / 2)
        took = time.monotonic() - started
        assert caught.value.code is Code.DEADLINE_INFEASIBLE
        assert await busy == 10
        assert await compute(engine, searching(1), budget_s=5 * STEP_S) == 1
        return took

    assert asyncio.run(main()) < 0.01


def test_at_the_deadline_there_is_an_answer_or_a_refusal_whatever_the_torch_thread_does() -> None:
    """What takes ten times as long as ever before is not waited for."""
    pauses = iter([0.01] * 4 + [0.5, 0.01, 0.5])
    engine = Executor(lambda steps: time.sleep(next(pauses)), max_batch_candidates=1000, decode_threads=1)

    async def timed(iterations: int) -> tuple[Any, float]:
        started = time.monotonic()
        try:
            answer = await compute(engine, searching(iterations), budget_s=0.1)
        except ServiceError as error:
            answer = error.code
        return answer, time.monotonic() - started

    async def main() -> None:
        assert (await timed(3))[0] == 3
        answer, took = await timed(9)
        assert answer == 1 and took < 0.2, "the first step was done, the second one hangs"
        await asyncio.sleep(0.5)
        await compute(engine, searching(1))
        answer, took = await timed(9)
        assert answer is Code.DEADLINE_INFEASIBLE and took < 0.2, "not even the first step was done"

    asyncio.run(main())
    engine.close()


def test_work_is_done_off_the_loop_and_what_can_be_shared_is(engine: Executor) -> None:
    names: set[str] = set()

    def work() -> Steps[int]:
        names.add(threading.current_thread().name)
        return (yield from searching(5))

    async def main() -> list[int]:
        return await asyncio.gather(*(compute(engine, work()) for _ in range(4)))

    started = time.monotonic()
    assert asyncio.run(main()) == [5] * 4
    assert time.monotonic() - started < 4 * 5 * STEP_S * 0.7
    assert names == {"telos-torch"}


def test_a_cancelled_request_frees_its_place_and_is_closed_at_the_next_tick(engine: Executor) -> None:
    closed, ran_anyway, begun, release = (threading.Event() for _ in range(4))

    def block() -> None:
        begun.set()
        release.wait(10)

    async def main() -> None:
        running = asyncio.create_task(compute(engine, searching(10_000, closed.set)))
        blocked = asyncio.create_task(compute(engine, at_once(block)))
        assert await asyncio.to_thread(begun.wait, 10)
        waiting = asyncio.create_task(compute(engine, at_once(ran_anyway.set)))
        await asyncio.sleep(0)
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        assert engine.in_flight == 1
        release.set()
        await blocked
        await compute(engine, at_once(lambda: None))

    asyncio.run(main())
    assert closed.is_set() and not ran_anyway.is_set()


def test_every_answer_so_far_is_told(engine: Executor) -> None:
    async def main() -> list[int]:
        told: list[int] = []
        with engine.admitted(queued()) as request:
            assert await engine.compute(request, searching(3), told.append) == 3
        return told

    assert asyncio.run(main()) == [1, 2]


def test_what_work_raises_reaches_its_caller(engine: Executor) -> None:
    def broken() -> None:
        raise ArithmeticError("no")

    with pytest.raises(ArithmeticError):
        asyncio.run(compute(engine, at_once(broken)))
    assert asyncio.run(compute(engine, at_once(lambda: 1))) == 1


def test_a_closed_engine_refuses_what_waits_and_what_comes() -> None:
    engine = Executor(advance, max_batch_candidates=1000, decode_threads=1)

    async def main() -> list[Any]:
        left = [asyncio.create_task(compute(engine, searching(10_000))) for _ in range(3)]
        await asyncio.sleep(2 * STEP_S)
        engine.close()
        left.append(asyncio.create_task(compute(engine, searching(1))))
        return await asyncio.gather(*left, return_exceptions=True)

    answers = asyncio.run(main())
    assert [answer.code for answer in answers] == [Code.NOT_READY] * 4
    assert not engine._torch.is_alive()


def test_a_defect_of_the_scheduler_fails_who_is_there_and_nobody_after(
    engine: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with monkeypatch.context() as broken:
            broken.setattr(engine._scheduler, "_batch", lambda: 1 / 0)
            with pytest.raises(ServiceError) as caught:
                await compute(engine, searching(1))
        assert caught.value.code is Code.INTERNAL
        assert await compute(engine, searching(1)) == 1

    asyncio.run(main())
