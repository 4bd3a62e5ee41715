"""How old an observation is, by a robot's clock that is not the server's."""

from typing import Any

import pytest

from server import schemas
from server.clock import AHEAD_US, ServerClock
from server.errors import Code, ServiceError
from server.service import Service
from server.validation import validate
from tests.server.live import picture, plan_payload
from tests.server.scripted_engine import ScriptedEngine
from tests.server.test_sessions import Clock, run


def question(captured_us: int | None, clock_id: str | None, offset_us: int = 0, most_ms: int = 100) -> Any:
    frame = {"images": {"top": picture(1)}} | ({} if captured_us is None else {"capture_time_us": captured_us})
    clock_offset = {} if clock_id is None else {"clock_offset": {"clock_id": clock_id, "offset_us": offset_us}}
    payload = plan_payload(context=[frame], action_history=[], max_observation_age_ms=most_ms, **clock_offset)
    return validate(schemas.PlanRequest, payload)


def pointer(clock: ServerClock, request: schemas.PlanRequest, code: Code) -> str:
    with pytest.raises(ServiceError) as caught:
        clock.check_age(request)
    assert caught.value.code is code
    return caught.value.errors[0].pointer


@pytest.mark.parametrize("skew_s", [-86_400.0, -5.0, 0.0, 5.0, 86_400.0])
def test_an_age_is_what_it_is_however_far_apart_the_clocks_are(skew_s: float) -> None:
    """The robot measures the offset as the README of the API says, and is off by nothing."""
    server = Clock()
    clock = ServerClock(server)
    robot_us = round((server.now + skew_s) * 1e6)
    offset_us = clock.now_us() - robot_us
    server.now += 0.1
    clock.check_age(question(robot_us, clock.clock_id, offset_us))
    server.now += 0.001
    stale = question(robot_us, clock.clock_id, offset_us)
    assert pointer(clock, stale, Code.OBSERVATION_STALE) == "/context/0/capture_time_us"


def test_what_comes_from_the_future_has_a_wrong_offset() -> None:
    clock = ServerClock(Clock())
    clock.check_age(question(clock.now_us() + AHEAD_US, clock.clock_id))
    ahead = question(clock.now_us() + AHEAD_US + 1, clock.clock_id)
    assert pointer(clock, ahead, Code.OBSERVATION_STALE) == "/context/0/capture_time_us"


def test_clocks_are_never_compared_without_an_offset() -> None:
    clock = ServerClock(Clock())
    assert pointer(clock, question(clock.now_us(), None), Code.VALIDATION_FAILED) == "/clock_offset"
    missing = question(None, clock.clock_id)
    assert pointer(clock, missing, Code.VALIDATION_FAILED) == "/context/0/capture_time_us"


def test_every_sensor_of_the_last_frame_counts() -> None:
    clock = ServerClock(Clock())
    asked = question(clock.now_us(), clock.clock_id)
    for late_us, stale in ((100_000, False), (100_001, True), (-AHEAD_US, False), (-AHEAD_US - 1, True)):
        times = {"top": clock.now_us(), "wrist": clock.now_us() - late_us}
        frame = asked.context[0].model_copy(update={"capture_times_us": times})
        late = asked.model_copy(update={"context": [frame]})
        if stale:
            assert pointer(clock, late, Code.OBSERVATION_STALE) == "/context/0/capture_times_us/wrist"
        else:
            clock.check_age(late)


def test_an_offset_to_another_server_is_void() -> None:
    other = question(1, ServerClock(Clock()).clock_id)
    assert pointer(ServerClock(Clock()), other, Code.OBSERVATION_STALE) == "/clock_offset/clock_id"


def test_a_stale_observation_is_not_planned_from() -> None:
    async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
        time = await service.time(schemas.ServerTimeRequest())
        asked = question(time.sent_us, time.clock_id)
        assert (await service.plan(asked)).request_id
        clock.now += 1
        with pytest.raises(ServiceError, match="observation-stale"):
            await service.plan(asked)
        assert len(engine.asked) == 1

    run(work)
