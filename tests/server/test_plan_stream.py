"""Observations in, plans out: what becomes of each event, with an engine that does as it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from server import schemas
from server.errors import Code, ServiceError
from server.plan_stream import PlanStream
from server.service import Service
from server.settings import Settings
from server.validation import validate
from tests.server.live import picture, plan_payload
from tests.server.scripted_engine import ScriptedEngine


class StreamingRobot:
    """The other end of a stream. None ends its side."""

    def __init__(self) -> None:
        self.engine = ScriptedEngine()
        self.service = Service(self.engine, Settings())
        self.events: asyncio.Queue[schemas.PlanStreamRequest | None] = asyncio.Queue()
        self.answers: list[schemas.PlanStreamResponse] = []
        self.reads = asyncio.Event()
        self.reads.set()
        stream = PlanStream(self.service, self._receive, send_timeout_s=0.1, grace_s=2.0)
        self.streaming = asyncio.ensure_future(stream.run(self._events()))

    def tell(self, **event: Any) -> None:
        self.events.put_nowait(validate(schemas.PlanStreamRequest, event))

    def open(self, seq: int = 0, **changes: Any) -> None:
        context = [{"images": {"top": picture(1)}, "step": 0}]
        self.tell(open=plan_payload(context=context, action_history=[]) | changes, seq=seq)

    def see(self, step: int, seq: int, **changes: Any) -> None:
        observation = {"images": {"top": picture(step)}, "step": step}
        self.tell(observation={"observation": observation} | changes, seq=seq)

    async def end(self) -> list[tuple[str, int | None]]:
        """What each event was answered with."""
        self.events.put_nowait(None)
        await asyncio.wait_for(self.streaming, 5)
        assert self.service.in_flight == 0
        return self.told

    @property
    def told(self) -> list[tuple[str, int | None]]:
        return [(kind(answer), answer.seq) for answer in self.answers]

    async def _events(self) -> AsyncIterator[schemas.PlanStreamRequest]:
        while (event := await self.events.get()) is not None:
            yield event

    async def _receive(self, answer: schemas.PlanStreamResponse) -> None:
        await self.reads.wait()
        self.answers.append(answer)


def kind(answer: schemas.PlanStreamResponse) -> str:
    (name,) = (n for n in ("incumbent", "final", "superseded", "problem", "drain") if getattr(answer, n) is not None)
    return name


def run(work: Callable[[StreamingRobot], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        robot = StreamingRobot()
        try:
            await work(robot)
        finally:
            robot.streaming.cancel()
            await asyncio.gather(robot.streaming, return_exceptions=True)

    asyncio.run(main())


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_each_observation_gets_its_plan() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.open()
        await settle()
        robot.see(5, 1)
        await settle()
        robot.see(10, 2)
        assert await robot.end() == [("final", 0), ("final", 1), ("final", 2)]
        finals = [answer.final for answer in robot.answers]
        assert [final.chunk.first_step for final in finals if final] == [0, 5, 10]
        assert [warm_start is not None for _, warm_start in robot.engine.asked] == [False, True, True]

    run(work)


def test_the_newest_observation_waits_and_older_ones_are_told_so() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.engine.go.clear()
        robot.open()
        await settle()
        for seq in (1, 2, 3):
            robot.see(5 * seq, seq)
        await settle()
        assert robot.told == [("superseded", 1), ("superseded", 2)]
        robot.engine.go.set()
        assert await robot.end() == [("superseded", 1), ("superseded", 2), ("final", 0), ("final", 3)]
        assert len(robot.engine.asked) == 2, "the others were never begun"

    run(work)


def test_frames_add_up_to_a_context_while_it_is_said_what_was_executed() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.open()
        await settle()
        for seq in (1, 2, 3):
            robot.see(5 * seq, seq, executed=np.full((5, 2), seq / 10))
            await settle()
        robot.see(20, 4)
        await robot.end()
        steps = [[frame.step for frame in request.context] for request, _ in robot.engine.asked]
        assert steps == [[0], [0, 5], [0, 5, 10], [5, 10, 15], [20]]
        executed = [[float(block[0, 0]) for block in request.action_history] for request, _ in robot.engine.asked]
        assert executed == [[], [0.1], [0.1, 0.2], [0.2, 0.3], []]

    run(work)


def test_incumbents_come_before_their_plan() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.engine.incumbents = [3.0, 2.0]
        robot.open()
        assert await robot.end() == [("incumbent", 0), ("incumbent", 0), ("final", 0)]

    run(work)


def test_new_goals_end_the_plan_under_way_and_are_planned_for_at_once() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.engine.go.clear()
        robot.open(session_id="arm")
        await settle()
        before = robot.service.sessions.find("arm").epoch
        robot.tell(goals={"goals": [{"observation": {"images": {"top": picture(9)}}}], "request_id": "new"}, seq=1)
        await settle()
        robot.engine.go.set()
        assert await robot.end() == [("superseded", 0), ("final", 1)]
        final = robot.answers[-1].final
        assert final is not None and final.request_id == "new"
        assert final.session_epoch is not None and final.session_epoch > before
        assert robot.engine.asked[-1][0].goals[0].observation != robot.engine.asked[0][0].goals[0].observation

    run(work)


def test_what_the_robot_runs_is_known_after_new_goals_too() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.open(session_id="arm", committed_actions=np.zeros((2, 2)), inference_delay_steps=2)
        await settle()
        robot.tell(goals={"goals": [{"observation": {"images": {"top": picture(9)}}}]}, seq=1)
        await settle()
        robot.see(5, 2)
        await robot.end()
        committed = [request.committed_actions for request, _ in robot.engine.asked]
        assert all(each is not None and each.shape == (2, 2) for each in committed)
        np.testing.assert_allclose(committed[-1][:, 0], [0.005, 0.006])  # type: ignore[index]

    run(work)


def test_a_plan_is_cancelled_by_its_name_while_it_waits_or_runs() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.engine.go.clear()
        robot.open(request_id="first")
        await settle()
        robot.see(5, 1, request_id="second")
        robot.tell(cancel_request_id="second")
        robot.tell(cancel_request_id="first")
        robot.tell(cancel_request_id="nobody")
        await settle()
        assert robot.told == [("problem", 1), ("problem", 0)] and robot.engine.cancelled == 1
        assert {answer.problem.code for answer in robot.answers if answer.problem} == {"cancelled"}
        robot.engine.go.set()
        robot.see(10, 2)
        assert (await robot.end())[-1] == ("final", 2)

    run(work)


def test_a_plan_that_is_refused_ends_nothing() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.engine.refusal = ServiceError(Code.SURPRISE_HOLD, "hold")
        robot.open(request_id="r")
        await settle()
        robot.engine.refusal = None
        robot.see(5, 1)
        assert await robot.end() == [("problem", 0), ("final", 1)]
        problem = robot.answers[0].problem
        assert problem is not None and (problem.code, problem.request_id) == ("surprise-hold", "r")

    run(work)


def test_progress_keeps_the_session_and_says_where_the_robot_is() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.open(session_id="arm")
        await settle()
        robot.tell(progress={"executed_step": 3})
        assert await robot.end() == [("final", 0)]
        assert robot.service.sessions.find("arm").committed_step == 3

    run(work)


@pytest.mark.parametrize("events", [[{"progress": {"executed_step": 1}}], ["open", "open"]])
def test_events_in_another_order_end_the_stream(events: list[Any]) -> None:
    async def work(robot: StreamingRobot) -> None:
        for event in events:
            robot.open() if event == "open" else robot.tell(**event)
        with pytest.raises(ServiceError, match="validation-failed"):
            await asyncio.wait_for(robot.streaming, 5)
        assert robot.service.in_flight == 0 and len(robot.service.sessions) == 0

    run(work)


def test_the_session_of_a_stream_ends_with_it_and_one_that_was_there_stays() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.open()
        await settle()
        assert len(robot.service.sessions) == 1
        await robot.end()
        assert len(robot.service.sessions) == 0

    run(work)


def test_who_does_not_read_is_let_go() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.reads.clear()
        robot.open()
        with pytest.raises(ServiceError, match="slow-reader"):
            await asyncio.wait_for(robot.streaming, 5)
        assert robot.service.in_flight == 0

    run(work)


def test_a_flood_of_observations_waits_for_its_reader() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.engine.go.clear()
        robot.reads.clear()
        robot.open()
        for seq in range(1, 900):
            robot.see(seq, seq)
        await settle()
        assert robot.events.qsize() > 700, "no more is read from the robot than it reads"
        robot.reads.set()
        robot.engine.go.set()
        told = await robot.end()
        assert len(told) == 900 and told[-1] == ("final", 899)

    run(work)


def test_a_server_that_shuts_down_says_so_and_finishes_what_is_under_way() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.engine.go.clear()
        robot.open()
        await settle()
        robot.service.drained.set()
        await settle()
        assert robot.told == [("drain", None)]
        assert robot.answers[0].drain == schemas.Drain(grace_ms=2000)
        robot.engine.go.set()
        await asyncio.wait_for(robot.streaming, 5)
        assert robot.told == [("drain", None), ("final", 0)]

    run(work)


def test_a_client_that_goes_away_leaves_nothing_behind() -> None:
    async def work(robot: StreamingRobot) -> None:
        robot.engine.go.clear()
        robot.open()
        await settle()
        robot.streaming.cancel()
        await asyncio.gather(robot.streaming, return_exceptions=True)
        assert robot.service.in_flight == 0 and robot.engine.cancelled == 1 and len(robot.service.sessions) == 0

    run(work)
