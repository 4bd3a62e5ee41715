"""Many robots on one model: real requests, at the same time, through the whole service."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from server import schemas
from server.engine.local import LocalEngine
from server.engine.registry import Registry
from server.errors import Code, ServiceError
from server.service import Service
from server.validation import validate
from tests.server.live import MODEL, picture, plan_payload, settings_for
from worldmodel import Latents


@pytest.fixture
def service(checkpoints: Path) -> Iterator[Service]:
    settings = settings_for(checkpoints, max_in_flight=256)
    engine = LocalEngine(Registry.load(settings), settings)
    asyncio.run(engine.start())
    yield Service(engine, settings)
    asyncio.run(engine.stop())


def question(robot: int, **changes: Any) -> schemas.PlanRequest:
    """Each robot has its own frames, goal, seed, and from time to time its own limits, horizon or context."""
    payload = plan_payload(
        context=[{"images": {"top": picture(10 * robot + seed)}} for seed in (1, 2)],
        action_history=[np.full((5, 2), 0.1 * (robot % 5))],
        goals=[{"observation": {"images": {"top": picture(10 * robot + 3)}}}],
        planner={"preset": "fast", "seed": robot, "horizon": 3 if robot % 4 == 3 else 5},
        include=["costs"],
    )
    if robot % 3 == 1:
        payload["limits"] = {"min": [-0.5, -0.2], "max": [0.01 * (robot % 16), 0.9]}
    if robot % 5 == 2:
        payload["context"], payload["action_history"] = payload["context"][1:], []
    return validate(schemas.PlanRequest, payload | changes)


def gather(works: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.gather(*works, return_exceptions=True)

    return asyncio.run(main())


def batches(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Robots in each rollout, as it goes on."""
    model = service.engine.registry.models[MODEL].checkpoint.world_model
    rollout, seen = model.rollout, []

    def counting(state: Any, actions: Tensor) -> Tensor:
        seen.append(len(actions))
        return rollout(state, actions)

    monkeypatch.setattr(model, "rollout", counting)
    return seen


def test_a_plan_is_the_same_alone_and_among_others(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for rounding: matrix products of other sizes add up in another order. Measured on a CPU: costs 1e-6."""
    alone = [gather([service.plan(question(robot))])[0] for robot in range(16)]
    seen = batches(service, monkeypatch)
    together = gather([service.plan(question(robot)) for robot in range(16)])
    assert max(seen) >= 4, "they did share"
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.costs, one.costs, rtol=1e-5)
        np.testing.assert_allclose(other.chunk.actions, one.chunk.actions, rtol=0, atol=1e-3)
        assert (other.iterations_completed, other.status) == (one.iterations_completed, one.status)


def test_a_newcomer_shares_the_next_rollout(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    long = {"preset": "fast", "num_samples": 256, "num_elites": 250, "max_iterations": 40, "seed": 1}
    seen = batches(service, monkeypatch)

    async def main() -> list[Any]:
        first = asyncio.create_task(service.plan(question(0, planner=long)))
        while len(seen) < 3:
            await asyncio.sleep(0.001)
        return await asyncio.gather(first, service.plan(question(4, planner=long)))

    assert [plan.iterations_completed for plan in asyncio.run(main())] == [40, 40]
    assert seen[:3] == [1, 1, 1] and seen.count(2) > 5


def test_a_robot_without_a_finite_cost_fails_alone(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others get the plans that they would have got without it."""
    robots = [robot for robot in range(12) if robot % 4 != 3 and robot % 5 != 2]
    alone = gather([service.plan(question(robot)) for robot in robots])
    model = service.engine.registry.models[MODEL].checkpoint.world_model
    sound = model.begin

    def begin(context: Latents, past_actions: Tensor) -> Any:
        broken = bool((past_actions == past_actions.new_tensor(0.125)).all())
        return sound(Latents(context.tokens * torch.nan) if broken else context, past_actions)

    monkeypatch.setattr(model, "begin", begin)
    bad = question(100, action_history=[np.full((5, 2), 0.125)], limits=None, planner={"preset": "fast", "seed": 1})
    *together, failed = gather([service.plan(question(robot)) for robot in robots] + [service.plan(bad)])
    assert isinstance(failed, ServiceError) and failed.code is Code.NON_FINITE_PLAN
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.costs, one.costs, rtol=1e-5)


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.05])
def test_who_goes_away_leaves_nothing_behind(service: Service, monkeypatch: pytest.MonkeyPatch, after_s: float) -> None:
    """Whether it waited, was being decoded or encoded, or searched."""
    seen = batches(service, monkeypatch)
    heavy = {"preset": "fast", "num_samples": 4096, "num_elites": 4000, "max_iterations": 90}

    async def main() -> None:
        tasks = [asyncio.create_task(service.plan(question(robot, planner=heavy))) for robot in range(4)]
        await asyncio.sleep(after_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert service.in_flight == 0
        await service.plan(question(0))
        before = len(seen)
        await asyncio.sleep(0.1)
        assert len(seen) == before, "orphans"

    asyncio.run(main())
