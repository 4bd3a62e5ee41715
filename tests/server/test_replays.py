"""The same request twice is worked on once."""

import asyncio
from typing import Any

import pytest

from server import schemas
from server.call import Call
from server.digest import digest
from server.errors import Code, ServiceError
from server.replays import Replays
from server.service import Service
from server.settings import Settings
from server.validation import validate
from tests.server.live import picture, plan_payload
from tests.server.scripted_engine import ScriptedEngine
from tests.server.test_sessions import Clock, question, refused, run

KEY = Call(idempotency_key="once")


def stateless(**changes: Any) -> schemas.PlanRequest:
    return validate(schemas.PlanRequest, plan_payload(**changes))


def test_a_request_sent_again_gets_the_first_answer() -> None:
    async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
        first = await service.plan(question(10, request_id="r"))
        clock.now += 29
        again = await service.plan(question(10, request_id="r"))
        assert again.chunk.actions is first.chunk.actions and len(engine.asked) == 1
        clock.now += 1
        await service.plan(question(10, request_id="r"))
        assert len(engine.asked) == 2, "after 30 s it is a new one"

    run(work)


def test_a_key_makes_a_request_without_a_session_safe_to_repeat_too() -> None:
    async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
        await service.plan(stateless(request_id="a"), call=KEY)
        again = await service.plan(stateless(request_id="b"), call=KEY)
        assert again.request_id == "b" and len(engine.asked) == 1
        await service.plan(stateless(request_id="a"))
        assert len(engine.asked) == 2

    run(work)


@pytest.mark.parametrize("keyed", [True, False])
def test_the_same_key_for_another_request_is_a_conflict(keyed: bool) -> None:
    async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
        call = KEY if keyed else Call()
        await service.plan(question(10, request_id="r"), call=call)
        with pytest.raises(ServiceError, match="idempotency-conflict"):
            await service.plan(question(11, request_id="r"), call=call)

    run(work)


def test_after_a_reset_nothing_of_before_is_told_again() -> None:
    async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
        await service.plan(question(10, request_id="r"), call=KEY)
        reset = await service.reset_session(schemas.SessionRef(session_id="arm"))
        with pytest.raises(ServiceError, match="idempotency-conflict"):
            await service.plan(question(10, request_id="r"), call=KEY)
        assert (await service.plan(question(10, request_id="r"))).session_epoch == reset.epoch

    run(work)


def test_a_repeat_waits_for_the_answer_that_is_on_its_way_and_supersedes_nothing() -> None:
    async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
        engine.go.clear()
        both = [asyncio.create_task(service.plan(question(10, request_id="r"))) for _ in range(2)]
        await asyncio.sleep(0.01)
        engine.go.set()
        one, other = await asyncio.gather(*both)
        assert one.chunk is other.chunk and len(engine.asked) == 1

    run(work)


def test_when_the_first_gives_up_the_second_asks_itself() -> None:
    async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
        engine.go.clear()
        first, second = (asyncio.create_task(service.plan(question(10, request_id="r"))) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        engine.go.set()
        assert (await second).request_id == "r" and len(engine.asked) == 2
        assert service.in_flight == 0

    run(work)


def test_a_failure_is_not_kept() -> None:
    async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
        engine.refusal = ServiceError(Code.QUEUE_FULL, "later")
        (failed,) = await asyncio.gather(service.plan(question(request_id="r")), return_exceptions=True)
        assert refused(failed) is Code.QUEUE_FULL
        engine.refusal = None
        await service.plan(question(request_id="r"))

    run(work)


def test_only_so_many_are_kept() -> None:
    async def answer() -> int:
        return 1

    async def main() -> None:
        replays = Replays[int](ttl_s=30, capacity=3)
        for key in range(10):
            await replays.once((str(key),), b"", answer)
        assert len(replays) == 3

    asyncio.run(main())


def test_what_differs_has_another_digest() -> None:
    said = [
        {},
        {"a": None},
        {"a": "None"},
        {"a": 1},
        {"a": 1.0},
        {"a": True},
        {"a": b"1"},
        {"a": [1]},
        {"a": [[1]]},
        {"a": [1, 1]},
        {"aa": 1},
        {"a": {"a": 1}},
    ]
    assert len({digest(each) for each in said}) == len(said)
    assert digest({"a": 1, "b": [b"x"]}) == digest({"b": [b"x"], "a": 1})


def test_settings_bound_them() -> None:
    assert (Settings().replay_ttl_s, Settings().max_replays) == (30.0, 1024)
    assert picture(1) == picture(1), "or nothing above would be the same request"
