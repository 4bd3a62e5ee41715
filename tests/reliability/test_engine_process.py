"""The engine is another process: when it crashes, hangs or lies, robots lose the plan that was under way, no more."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server import schemas
from server.engine.process import EngineProcess
from server.errors import Code, ServiceError
from server.service import Service
from server.settings import Settings, SettingsError
from server.validation import validate
from tests.reliability import fake_engine
from tests.reliability.report import Measure
from tests.server.live import Live, actions_of, anomaly_payload, ask, plan_payload, serving, settings_for

pytestmark = [pytest.mark.reliability(11), pytest.mark.alone]

NOTICED_S = 2.0
NUMBERS = itertools.count()


def ask_fake(kind: str = "plan", **changes: Any) -> schemas.PlanRequest:
    payload = plan_payload(model={"name": fake_engine.MODEL}, request_id=f"{kind}-{next(NUMBERS)}", planner={"seed": 1})
    return validate(schemas.PlanRequest, payload | changes)


def with_fake(
    work: Callable[[Service, EngineProcess], Awaitable[None]],
    command: tuple[str, ...] = fake_engine.COMMAND,
    **settings: Any,
) -> None:
    """`work` on a service whose engine is a fake in a process of its own."""

    async def main() -> None:
        chosen = Settings(**settings)
        engine = EngineProcess(chosen, command)
        try:
            await asyncio.wait_for(engine.start(), 30)
            await work(Service(engine, chosen), engine)
        finally:
            await engine.stop()

    asyncio.run(main())


async def until(condition: Callable[[], bool], within_s: float = 30.0) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def code_of(work: Awaitable[Any]) -> Code | None:
    try:
        await work
    except ServiceError as error:
        return error.code
    return None


@pytest.fixture(scope="module")
def apart(checkpoints: Path) -> Iterator[Live]:
    """A server whose engine is a process of its own, with a real model."""
    settings = settings_for(checkpoints)
    with serving(settings, EngineProcess(settings)) as running:
        yield running


@pytest.mark.parametrize("transport", ["json", "grpc"])
def test_it_gives_the_plans_of_an_engine_in_this_process(live: Live, apart: Live, transport: str) -> None:
    payload = plan_payload(include=["costs", "latents"])
    here, there = (ask(each, transport)("plan", payload).body for each in (live, apart))
    np.testing.assert_array_equal(actions_of(here), actions_of(there))
    for volatile in ("timing", "request_id"):
        here.pop(volatile), there.pop(volatile)
    assert str(here) == str(there)
    here, there = (ask(each, transport)("anomaly", anomaly_payload()).body for each in (live, apart))
    assert here["surprise"] == there["surprise"]


def test_it_tells_of_the_same_models(live: Live, apart: Live) -> None:
    assert apart.http("GET", "/v1/models")[2] == live.http("GET", "/v1/models")[2]


@pytest.mark.reliability(17)
def test_a_seed_gives_one_plan_alone_among_sixteen_and_after_a_restart(apart: Live, measure: Measure) -> None:
    payloads = [plan_payload(planner={"preset": "fast", "seed": seed}) for seed in range(16)]

    def ask_for(payload: dict[str, Any]) -> np.ndarray:
        return actions_of(apart.json("plan", payload).body)

    def largest_difference(others: list[np.ndarray]) -> float:
        return max(float(np.abs(one - other).max()) for one, other in zip(alone, others, strict=True))

    alone = [ask_for(payload) for payload in payloads]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask_for, reversed(payloads)))[::-1]
    engine = apart.running.service.engine
    starts = engine.starts
    os.kill(engine.pid, signal.SIGKILL)
    while engine.starts == starts or apart.running.service.why_not_ready():
        time.sleep(0.05)
    measure("largest change of an action among sixteen robots", largest_difference(together), at_most=1e-3)
    measure("largest change of an action after a restart", largest_difference([*map(ask_for, payloads)]), at_most=0.0)


def test_its_refusals_name_the_field(apart: Live) -> None:
    answer = apart.json("plan", plan_payload(limits={"min": [-2.0, -1.0], "max": [1.0, 1.0]}))
    assert (answer.code, answer.pointers, answer.status) == ("validation-failed", ("/limits/min/0",), 422)


@pytest.mark.parametrize("end", ["crash", "kill", "poison"])
def test_a_plan_under_way_when_the_engine_ends_may_be_asked_for_again(end: str) -> None:
    async def work(service: Service, engine: EngineProcess) -> None:
        await service.plan(ask_fake(session_id="arm"))
        others = [code_of(service.plan(ask_fake(planner={"max_iterations": 10_000}))) for _ in range(5)]
        codes = await asyncio.gather(*others, code_of(service.plan(ask_fake(end))))
        assert codes == [Code.WORKER_RESTARTING] * 6
        assert service.in_flight == 0
        assert await code_of(service.plan(ask_fake())) in (None, Code.WORKER_RESTARTING)
        await until(lambda: not service.why_not_ready())
        assert engine.starts == 2
        again = await service.plan(ask_fake(session_id="arm", warm_start=True))
        assert again.warm_started, "the session outlives the engine"

    with_fake(work)


@pytest.mark.parametrize("how", ["hang", "stuck"])
def test_an_engine_that_hangs_is_replaced(how: str) -> None:
    async def work(service: Service, engine: EngineProcess) -> None:
        began = time.monotonic()
        hanging = asyncio.create_task(code_of(service.plan(ask_fake(how))))
        await until(lambda: bool(service.why_not_ready()))
        noticed_s = time.monotonic() - began
        assert await hanging is Code.WORKER_RESTARTING
        await until(lambda: not service.why_not_ready())
        assert noticed_s < NOTICED_S
        assert await code_of(service.plan(ask_fake())) is None

    with_fake(work, engine_heartbeat_timeout_s=1.5, engine_step_timeout_s=1.0)


def test_a_stopped_engine_is_replaced(measure: Measure) -> None:
    async def work(service: Service, engine: EngineProcess) -> None:
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGSTOP)
        measure("not ready after SIGSTOP", await until(lambda: bool(service.why_not_ready())), at_most=2.0, unit="s")
        await until(lambda: engine.starts == 2 and not service.why_not_ready())
        assert await code_of(service.plan(ask_fake())) is None

    with_fake(work)


@pytest.mark.parametrize("how", ["hang", "late", "stuck"])
def test_an_engine_that_does_not_answer_makes_nobody_late(how: str) -> None:
    async def work(service: Service, engine: EngineProcess) -> None:
        began = time.monotonic()
        assert await code_of(service.plan(ask_fake(how, planning_budget_ms=200))) is Code.DEADLINE_INFEASIBLE
        assert time.monotonic() - began < 0.6

    with_fake(work)


LIES = {
    "nan_action": Code.NON_FINITE_PLAN,
    "nan_cost": Code.NON_FINITE_PLAN,
    "nan_variables": Code.NON_FINITE_PLAN,
    "wild_action": Code.ACTION_LIMIT_VIOLATION,
    "garble": Code.ACTION_LIMIT_VIOLATION,
}


@pytest.mark.parametrize("lie", LIES)
def test_what_must_not_leave_does_not(lie: str) -> None:
    async def work(service: Service, engine: EngineProcess) -> None:
        told: list[schemas.PlanResponse] = []
        assert await code_of(service.plan(ask_fake(lie, session_id="arm"), told.append)) is LIES[lie]
        assert told == []
        assert service.sessions.find("arm").last is None
        assert await code_of(service.plan(ask_fake())) is None, "the engine still runs"
        assert engine.starts == 1

    with_fake(work)


def test_incumbents_cross_in_order() -> None:
    async def work(service: Service, engine: EngineProcess) -> None:
        told: list[schemas.PlanResponse] = []
        plan = await service.plan(ask_fake(planner={"max_iterations": 5}), told.append)
        assert [incumbent.iterations_completed for incumbent in told] == [1, 2, 3, 4, 5]
        assert told[-1].predicted_cost == plan.predicted_cost

    with_fake(work)


def test_a_defect_of_the_engine_is_internal_and_costs_one_call() -> None:
    async def work(service: Service, engine: EngineProcess) -> None:
        frames = plan_payload()["context"]
        request = schemas.EncodeRequest.model_validate({"model": {"name": "fake"}, "observations": frames})
        assert await code_of(service.encode(request)) is Code.INTERNAL
        assert await code_of(service.plan(ask_fake())) is None

    with_fake(work)


def test_an_engine_that_dies_at_start_is_started_again_at_leisure() -> None:
    async def main() -> None:
        engine = EngineProcess(Settings(), fake_engine.CRASHES_AT_START)
        starting = asyncio.create_task(engine.start())
        await asyncio.sleep(2.0)
        assert 2 <= engine.starts <= 5 and engine.why_not_ready() and not starting.done()
        assert await code_of(Service(engine, Settings()).plan(ask_fake())) is Code.WORKER_RESTARTING
        starting.cancel()
        await engine.stop()

    asyncio.run(main())


def test_an_engine_that_can_never_serve_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        engine = EngineProcess(settings_for(tmp_path))
        try:
            with pytest.raises(SettingsError, match=r"has no folder with a manifest\.json"):
                await engine.start()
        finally:
            await engine.stop()

    asyncio.run(main())
