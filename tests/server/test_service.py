"""What holds for every request, whatever engine works on it."""

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server import schemas
from server.engine.local import LocalEngine
from server.engine.protocol import EngineReply
from server.engine.registry import Registry
from server.errors import Code, ServiceError
from server.service import Service
from server.validation import validate
from tests.server.live import plan_payload, settings_for


@pytest.fixture
def service(checkpoints: Path) -> Iterator[Service]:
    settings = settings_for(checkpoints, max_in_flight=2)
    engine = LocalEngine(Registry.load(settings), settings)
    asyncio.run(engine.start())
    yield Service(engine, settings)
    asyncio.run(engine.stop())


def question(**changes: Any) -> schemas.PlanRequest:
    return validate(schemas.PlanRequest, plan_payload(**changes))


def test_what_does_not_fit_is_refused_at_once(service: Service) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*(service.plan(question()) for _ in range(3)), return_exceptions=True)

    *planned, refused = asyncio.run(main())
    assert all(isinstance(plan, schemas.PlanResponse) for plan in planned)
    assert isinstance(refused, ServiceError) and refused.code is Code.QUEUE_FULL and refused.retry_after_ms
    assert service.in_flight == 0


def test_a_request_that_nobody_waits_for_frees_its_place(service: Service) -> None:
    async def main() -> None:
        planning = asyncio.create_task(service.plan(question(planner={"preset": "thorough"})))
        await asyncio.sleep(0)
        assert service.in_flight == 1
        planning.cancel()
        await asyncio.gather(planning, return_exceptions=True)
        assert service.in_flight == 0
        await service.plan(question())

    asyncio.run(main())


def test_incumbents_get_better_and_end_with_the_plan(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.engine.incumbents.PER_SECOND", 1e6)
    told: list[schemas.PlanResponse] = []
    planner = {"preset": "thorough", "seed": 1}
    plan = asyncio.run(service.plan(question(planner=planner, include=["costs"]), told.append))
    costs = [incumbent.predicted_cost for incumbent in told]
    assert len(costs) > 1 and costs == sorted(set(costs), reverse=True)
    assert plan.predicted_cost <= costs[-1] and set(costs) <= set(plan.costs)
    assert {incumbent.request_id for incumbent in told} == {plan.request_id}


UNSAFE: dict[str, tuple[Any, Code]] = {
    "not a number": (np.nan, Code.NON_FINITE_PLAN),
    "infinite": (np.inf, Code.NON_FINITE_PLAN),
    "beyond the model": (1.001, Code.ACTION_LIMIT_VIOLATION),
    "beyond the request": (-0.6, Code.ACTION_LIMIT_VIOLATION),
    "too fast": (0.5, Code.ACTION_LIMIT_VIOLATION),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_an_action_that_must_not_leave_does_not_whatever_the_engine_says(
    service: Service, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    value, code = UNSAFE[case]
    change(service, monkeypatch, lambda chunk: put(chunk.actions, value))
    limits = {"min": [-0.5, -0.5], "max": [1.0, 1.0], "max_delta": [0.1, 0.1]}
    told: list[schemas.PlanResponse] = []
    with pytest.raises(ServiceError) as caught:
        asyncio.run(service.plan(question(limits=limits, session_id="arm"), told.append))
    assert caught.value.code is code and told == []
    assert service.sessions.find("arm").last is None


@pytest.mark.parametrize("shape", [(0, 2), (24, 2), (25, 3), (50,)])
def test_a_plan_of_another_shape_does_not_leave(
    service: Service, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    change(service, monkeypatch, lambda chunk: np.zeros(shape))
    with pytest.raises(ServiceError) as caught:
        asyncio.run(service.plan(question()))
    assert caught.value.code is Code.ACTION_LIMIT_VIOLATION


def change(service: Service, monkeypatch: pytest.MonkeyPatch, actions: Any) -> None:
    """The engine answers with other actions than it planned."""
    plan = service.engine.plan

    def changed(planned: EngineReply) -> EngineReply:
        chunk = planned.response.chunk
        chunk = chunk.model_copy(update={"actions": actions(chunk)})
        return dataclasses.replace(planned, response=planned.response.model_copy(update={"chunk": chunk}))

    async def lying(request: Any, *, on_incumbent: Any, **rest: Any) -> EngineReply:
        tell = on_incumbent and (lambda found: on_incumbent(changed(found)))
        return changed(await plan(request, on_incumbent=tell, **rest))

    monkeypatch.setattr(service.engine, "plan", lying)


def put(actions: np.ndarray, value: float) -> np.ndarray:
    """One entry of the last step is another."""
    changed = actions.copy()
    changed[-1, 0] = value
    return changed
