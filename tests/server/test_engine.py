"""Bounded, cancellable, and never on the event loop."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from server.engine import Engine, Halt
from server.errors import Code, ServiceError


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(max_in_flight=2, decode_threads=1)
    yield engine
    engine.close()


def test_what_does_not_fit_is_refused_at_once(engine: Engine) -> None:
    with engine.admitted(), engine.admitted():
        with pytest.raises(ServiceError) as caught, engine.admitted():
            pass
        assert caught.value.code is Code.QUEUE_FULL and caught.value.retry_after_ms
    with engine.admitted():
        pass


def test_jobs_run_one_after_another_off_the_loop(engine: Engine) -> None:
    running: list[int] = []

    def job(halt: Halt) -> tuple[int, str]:
        running.append(1)
        time.sleep(0.01)
        together = len(running)
        running.pop()
        return together, threading.current_thread().name

    async def main() -> list[tuple[tuple[int, str], int]]:
        return list(await asyncio.gather(*(engine.compute(job) for _ in range(4))))

    answers = asyncio.run(main())
    assert {together for (together, _), _ in answers} == {1}
    assert all(name.startswith("telos-torch") for (_, name), _ in answers)
    assert answers[-1][1] >= 20_000  # microseconds that the last one waited


def test_a_cancelled_job_is_told_to_halt_and_a_waiting_one_never_starts(engine: Engine) -> None:
    started, halted, ran_anyway = threading.Event(), threading.Event(), threading.Event()

    def long(halt: Halt) -> None:
        started.set()
        if halt.wait(timeout=10):
            halted.set()

    async def main() -> None:
        first = asyncio.create_task(engine.compute(long))
        second = asyncio.create_task(engine.compute(lambda halt: ran_anyway.set()))
        await asyncio.to_thread(started.wait, 10)
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await engine.compute(lambda halt: None)

    asyncio.run(main())
    assert halted.is_set() and not ran_anyway.is_set()


def test_what_a_job_raises_reaches_its_caller(engine: Engine) -> None:
    def broken(halt: Halt) -> None:
        raise ArithmeticError("no")

    with pytest.raises(ArithmeticError):
        asyncio.run(engine.compute(broken))
