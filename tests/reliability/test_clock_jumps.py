"""Clocks that jump (18), the wall's by a day, the robot's by seconds: no deadline, age or memory moves with them."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from server import schemas
from server.errors import Code, ServiceError
from server.service import Service
from server.settings import Settings
from server.validation import validate
from tests.reliability.report import Measure
from tests.server.live import Live, picture, plan_payload
from tests.server.scripted_engine import ScriptedEngine

pytestmark = pytest.mark.reliability(18)

DAY_S = 86_400.0


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """The wall clock jumps; the monotonic one runs on."""
    wall = time.time
    yield lambda seconds: monkeypatch.setattr(time, "time", lambda: wall() + seconds)


def question(**changes: Any) -> schemas.PlanRequest:
    context = [{"images": {"top": picture(1)}, "step": 0} | changes.pop("frame", {})]
    return validate(schemas.PlanRequest, plan_payload(context=context, action_history=[], **changes))


@pytest.mark.parametrize("seconds", [-DAY_S, DAY_S])
def test_nothing_is_forgotten_or_repeated_when_the_wall_clock_jumps(
    jump: Callable[[float], None], seconds: float
) -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        service = Service(engine, Settings())
        first = await service.plan(question(session_id="arm", request_id="r"))
        before = service.sessions.described(service.sessions.find("arm")).expires_in_ms
        jump(seconds)
        after = service.sessions.described(service.sessions.find("arm"))
        assert after.epoch == first.session_epoch and 0 <= before - after.expires_in_ms < 5000
        await service.plan(question(session_id="arm", request_id="r"))
        assert len(engine.asked) == 1, "the reply is still there"
        epochs = [after.epoch, service.sessions.reset("arm").epoch, service.sessions.create("leg").epoch]
        assert epochs == sorted(set(epochs))

    asyncio.run(main())


@pytest.mark.alone
@pytest.mark.parametrize("seconds", [-DAY_S, DAY_S])
def test_a_deadline_is_kept_when_the_wall_clock_jumps(
    live: Live, jump: Callable[[float], None], seconds: float, measure: Measure
) -> None:
    heavy = {"preset": "fast", "num_samples": 256, "num_elites": 250, "max_iterations": 100, "horizon": 10, "seed": 1}
    jump(seconds)
    body = live.json("plan", plan_payload(planner=heavy, planning_budget_ms=1500)).body
    assert body["status"] == "BUDGET_EXHAUSTED"
    measure(
        "a budget of 1500 ms, while the wall clock jumps by a day",
        body["timing"]["late_us"] / 1e3,
        at_most=250,
        unit="ms late",
    )


@pytest.mark.parametrize("skew_s", [-DAY_S, -5.0, 5.0, DAY_S])
def test_a_skewed_robot_is_judged_by_its_offset_or_refused(skew_s: float, measure: Measure) -> None:
    """Ages of 0 to 200 ms, at most 100 are wanted: each is decided right, and none without an offset."""

    async def main() -> int:
        now = 5_000.0
        service = Service(ScriptedEngine(), Settings(), lambda: now)
        shown = await service.time(schemas.ServerTimeRequest())
        offset = {"clock_id": shown.clock_id, "offset_us": -round(skew_s * 1e6)}
        wrong = 0
        for age_ms in range(0, 201, 10):
            frame = {"capture_time_us": round((now + skew_s) * 1e6) - age_ms * 1000}
            given = {"frame": frame, "max_observation_age_ms": 100}
            (answer,) = await asyncio.gather(
                service.plan(question(clock_offset=offset, **given)), return_exceptions=True
            )
            stale = isinstance(answer, ServiceError) and answer.code is Code.OBSERVATION_STALE
            wrong += stale != (age_ms > 100)
            with pytest.raises(ServiceError, match="clock_offset"):
                await service.plan(question(**given))
        return wrong

    measure(f"ages judged wrong with a robot's clock {skew_s:+g} s off", asyncio.run(main()), at_most=0)
