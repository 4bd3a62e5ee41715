"""What is remembered of a robot, for how long, and who may ask for it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from server import schemas
from server.errors import Code, ServiceError
from server.service import Service
from server.sessions import Sessions
from server.settings import Settings
from server.validation import validate
from tests.server.live import picture, plan_payload
from tests.server.scripted_engine import ScriptedEngine

INFEASIBLE = ServiceError(Code.DEADLINE_INFEASIBLE, "too much to do")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def question(step: int = 0, **changes: Any) -> schemas.PlanRequest:
    context = [{"images": {"top": picture(1)}, "step": step}]
    payload = plan_payload(session_id="arm", context=context, action_history=[], **changes)
    return validate(schemas.PlanRequest, payload)


def run(work: Callable[[Service, ScriptedEngine, Clock], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        clock, engine = Clock(), ScriptedEngine()
        await work(Service(engine, Settings(session_ttl_s=60), clock), engine, clock)

    asyncio.run(main())


def refused(error: BaseException) -> Code:
    assert isinstance(error, ServiceError), error
    return error.code


class TestMemory:
    def test_an_idle_session_is_forgotten(self) -> None:
        clock = Clock()
        sessions = Sessions(ttl_s=60, capacity=10, clock=clock)
        made = sessions.create("a")
        clock.now += 59
        assert sessions.find("a") is made and sessions.described(made).expires_in_ms == 1000
        clock.now += 1
        with pytest.raises(ServiceError, match="session-not-found"):
            sessions.find("a")

    def test_looking_at_a_session_does_not_keep_it_and_planning_does(self) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            for _ in range(3):
                await service.plan(question())
                clock.now += 50
            await service.session(schemas.SessionRef(session_id="arm"))
            clock.now += 10
            with pytest.raises(ServiceError, match="session-not-found"):
                await service.session(schemas.SessionRef(session_id="arm"))

        run(work)

    def test_the_least_recently_used_session_makes_room(self) -> None:
        sessions = Sessions(ttl_s=60, capacity=2)
        first = sessions.create("a")
        sessions.create("b")
        sessions.use(first)
        sessions.create("c")
        assert sessions.find("a") and sessions.find("c")
        with pytest.raises(ServiceError, match="session-not-found"):
            sessions.find("b")

    def test_expired_sessions_leave_by_and_by(self) -> None:
        clock = Clock()
        sessions = Sessions(ttl_s=1, capacity=1000, clock=clock)
        for robot in range(500):
            clock.now = float(robot)
            sessions.create(str(robot))
        assert len(sessions) <= 2

    def test_two_clients_cannot_make_the_same_session(self) -> None:
        sessions = Sessions(ttl_s=60, capacity=2)
        sessions.create("a")
        with pytest.raises(ServiceError, match="session-exists"):
            sessions.create("a")

    def test_an_epoch_is_never_used_again(self) -> None:
        clock = Clock()
        sessions = Sessions(ttl_s=1, capacity=10, clock=clock)
        epochs = [sessions.create("a").epoch, sessions.reset("a").epoch]
        sessions.delete("a")
        epochs.append(sessions.create("a").epoch)
        clock.now += 2
        epochs.append(sessions.create("a").epoch)
        assert epochs == sorted(set(epochs))


class TestEpochs:
    def test_every_reply_says_which_one_it_belongs_to(self) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            made = await service.create_session(schemas.CreateSessionRequest(session_id="arm"))
            reply = await service.plan(question(session_epoch=made.epoch))
            assert reply.session_epoch == made.epoch
            again = await service.reset_session(schemas.SessionRef(session_id="arm"))
            assert again.epoch > made.epoch and again.committed_step is None
            with pytest.raises(ServiceError, match="epoch-stale"):
                await service.plan(question(session_epoch=made.epoch))
            after = await service.plan(question(5, session_epoch=again.epoch))
            assert not after.warm_started

        run(work)

    def test_a_plan_under_way_when_the_session_is_reset_is_thrown_away(self) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            engine.go.clear()
            planning = asyncio.create_task(service.plan(question()))
            await asyncio.sleep(0)
            await service.reset_session(schemas.SessionRef(session_id="arm"))
            engine.go.set()
            (answer,) = await asyncio.gather(planning, return_exceptions=True)
            assert refused(answer) is Code.EPOCH_STALE
            assert (await service.session(schemas.SessionRef(session_id="arm"))).committed_step is None
            assert service.in_flight == 0

        run(work)

    def test_a_session_that_was_forgotten_has_no_epoch(self) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            epoch = (await service.plan(question())).session_epoch
            clock.now += 61
            with pytest.raises(ServiceError, match="session-not-found"):
                await service.plan(question(5, session_epoch=epoch))

        run(work)


class TestNewestWins:
    def test_a_newer_request_takes_the_place_of_the_one_under_way(self) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            engine.go.clear()
            older, newer = (asyncio.create_task(service.plan(question(step))) for step in (0, 5))
            await asyncio.sleep(0.01)
            engine.go.set()
            first, second = await asyncio.gather(older, newer, return_exceptions=True)
            assert refused(first) is Code.SUPERSEDED and engine.cancelled == 1
            assert isinstance(second, schemas.PlanResponse) and second.chunk.first_step == 5
            assert service.in_flight == 0

        run(work)

    def test_an_older_observation_that_comes_late_does_not(self) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            engine.go.clear()
            newer = asyncio.create_task(service.plan(question(5)))
            await asyncio.sleep(0)
            with pytest.raises(ServiceError, match="superseded"):
                await service.plan(question(0))
            engine.go.set()
            assert (await newer).chunk.first_step == 5

        run(work)

    def test_other_sessions_are_left_alone(self) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            engine.go.clear()
            other = question().model_copy(update={"session_id": "leg"})
            both = [asyncio.create_task(service.plan(each)) for each in (question(), other)]
            await asyncio.sleep(0)
            engine.go.set()
            assert [reply.session_id for reply in await asyncio.gather(*both)] == ["arm", "leg"]

        run(work)


class TestWhatIsKnown:
    def test_what_the_robot_runs_meanwhile_comes_from_the_last_plan(self) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            first = await service.plan(question(10))
            second = await service.plan(question(15, inference_delay_steps=3, planner={"seed": 9}))
            committed = engine.asked[-1][0].committed_actions
            assert committed is not None
            np.testing.assert_array_equal(committed, first.chunk.actions[5:8])
            assert second.chunk.first_step == 18
            third = await service.plan(question(17, inference_delay_steps=4))
            committed = engine.asked[-1][0].committed_actions
            assert committed is not None and third.chunk.first_step == 21
            np.testing.assert_array_equal(committed[:1], first.chunk.actions[7:8])
            np.testing.assert_array_equal(committed[1:], second.chunk.actions[:3])

        run(work)

    @pytest.mark.parametrize("step", [9, 34])
    def test_a_last_plan_that_does_not_cover_it_is_not_used(self, step: int) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            await service.plan(question(10))
            await service.plan(question(step, inference_delay_steps=3))
            assert engine.asked[-1][0].committed_actions is None, "so the engine refuses it"

        run(work)

    def test_the_active_goal_is_remembered_while_the_goals_stay_the_same(self) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            goals = [{"observation": {"images": {"top": picture(seed)}}} for seed in (3, 4, 5)]
            await service.plan(question(0, goals=goals, active_goal=2))
            retold = [goal | {"tolerance": 0.1} for goal in goals]
            assert (await service.plan(question(5, goals=retold))).active_goal == 2
            assert (await service.plan(question(5, goals=goals[::-1]))).active_goal == 0
            assert (await service.session(schemas.SessionRef(session_id="arm"))).active_goal == 0

        run(work)

    def test_a_session_may_hold_on_surprise_for_all_its_plans(self) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            await service.create_session(schemas.CreateSessionRequest(session_id="arm", hold_on_surprise=True))
            await service.plan(question())
            await service.reset_session(schemas.SessionRef(session_id="arm"))
            await service.plan(question())
            await service.plan(question(hold_on_surprise=False))
            assert [request.hold_on_surprise for request, _ in engine.asked] == [True, True, False]

        run(work)


class TestFallback:
    def fallback(self, step: int, **changes: Any) -> schemas.PlanResponse | Code:
        answers: list[schemas.PlanResponse | Code] = []

        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            await service.plan(question(10))
            engine.refusal = INFEASIBLE
            (answer,) = await asyncio.gather(service.plan(question(step, **changes)), return_exceptions=True)
            assert service.in_flight == 0
            answers.append(answer if isinstance(answer, schemas.PlanResponse) else refused(answer))

        run(work)
        return answers[0]

    @pytest.mark.parametrize(("step", "delay"), [(10, None), (17, None), (34, None), (12, 4)])
    def test_without_a_new_plan_in_time_the_rest_of_the_last_one_is_told(self, step: int, delay: int | None) -> None:
        reply = self.fallback(step, inference_delay_steps=delay)
        assert isinstance(reply, schemas.PlanResponse)
        first = step + (delay or 0)
        assert (reply.status, reply.chunk.first_step) == ("FALLBACK_PREVIOUS", first)
        np.testing.assert_allclose(reply.chunk.actions[:, 0], np.arange(first, 35) / 1000)
        assert reply.chunk.valid_for_ms == pytest.approx(100 * (35 - first))
        assert reply.iterations_completed == 0 and not reply.warm_started

    @pytest.mark.parametrize(
        "changes",
        [
            {"step": 9},
            {"step": 35},
            {"require_complete": True},
            {"goals": [{"observation": {"images": {"top": picture(9)}}}]},
            {"model": {"name": "another"}},
            {"committed_actions": np.full((2, 2), 0.5)},
            {"limits": {"min": [-1.0, -1.0], "max": [0.02, 1.0]}},
            {"limits": {"min": [-1.0, -1.0], "max": [1.0, 1.0], "max_delta": [1e-4, 1e-4]}},
        ],
        ids=str,
    )
    def test_unless_it_is_over_leads_elsewhere_or_is_not_allowed(self, changes: dict[str, Any]) -> None:
        step = changes.get("step", 12)
        rest = {key: value for key, value in changes.items() if key != "step"}
        assert self.fallback(step, **rest) is Code.DEADLINE_INFEASIBLE

    def test_the_next_plan_starts_from_the_last_one_that_was_made(self) -> None:
        async def work(service: Service, engine: ScriptedEngine, clock: Clock) -> None:
            await service.plan(question(10))
            engine.refusal = INFEASIBLE
            await service.plan(question(15))
            engine.refusal = None
            await service.plan(question(20))
            warm_start = engine.asked[-1][1]
            assert warm_start is not None and warm_start.first_step == 10

        run(work)
