"""One function plans once, and the engine's plan is the same; each thing is made once a plan."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from planner.presets import PRESETS, Preset
from planner.search_space import PerStep
from server.engine import images
from server.engine.local import LocalEngine
from server.engine.planning import Seen, advance_together, encode_frame, plan_once, solve
from server.engine.question import plain_question
from server.engine.registry import Registry
from server.errors import Code, ServiceError
from server.schemas import PlanRequest, PlanResponse
from server.service import Service
from server.validation import validate
from tests.server.live import MODEL, picture, plan_payload, settings_for
from tests.tiny import ACTION, HEADS, INVERSE_DYNAMICS, write_tiny_checkpoint
from worldmodel import Checkpoint, Latents, load_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(
        tmp_path_factory.mktemp("checkpoints"), heads={**HEADS, "inverse_dynamics": INVERSE_DYNAMICS}
    )


@pytest.fixture
def checkpoint(folder: Path) -> Checkpoint:
    return load_checkpoint(folder)


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    settings = settings_for(folder.parent)
    engine = LocalEngine(Registry.load(settings), settings)
    asyncio.run(engine.start())
    yield Service(engine, settings)
    asyncio.run(engine.stop())


def frame(checkpoint: Checkpoint, seed: int) -> Latents:
    """Latents of what `picture(seed)` shows."""
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return encode_frame(checkpoint, {"top": pixels})


def asked(service: Service, **changes: Any) -> PlanResponse:
    return asyncio.run(service.plan(validate(PlanRequest, plan_payload(include=["costs"], **changes))))


@pytest.mark.parametrize("preset", ["fast", "guided", "reactive"])
def test_the_service_answers_with_the_plan_of_plan_once(checkpoint: Checkpoint, service: Service, preset: str) -> None:
    context = Latents(torch.cat([frame(checkpoint, 1).tokens, frame(checkpoint, 2).tokens], dim=1))
    past = torch.full((1, 1, ACTION.width), 0.25)
    goals = frame(checkpoint, 3).tokens[0]
    plan = plan_once(checkpoint, context, goals, PRESETS[preset], 7, past_actions=past)
    reply = asked(service, planner={"preset": preset, "seed": 7})
    np.testing.assert_allclose(reply.chunk.actions, plan.actions.reshape(-1, 2), atol=1e-6)
    assert reply.predicted_cost == pytest.approx(plan.cost) and tuple(reply.costs) == plan.best_costs


def test_searches_that_share_rollouts_find_what_each_finds_alone(checkpoint: Checkpoint) -> None:
    seen = [Seen(context=frame(checkpoint, robot), goals=frame(checkpoint, robot + 10).tokens[0]) for robot in range(3)]
    preset = dataclasses.replace(PRESETS["fast"], std_floor=1e-6)
    alone = [plan_once(checkpoint, each.context, each.goals, preset, robot) for robot, each in enumerate(seen)]
    plans = [
        solve(plain_question(checkpoint, preset, robot), lambda each=each: each) for robot, each in enumerate(seen)
    ]
    for _ in range(preset.iterations):
        steps = [next(plan)[0] for plan in plans]
        assert len({step.kind for step in steps}) == 1
        advance_together(steps)
    for plan, wanted in zip(plans, alone, strict=True):
        with pytest.raises(StopIteration) as done:
            next(plan)
        found = done.value.value.plan
        assert found.iterations == wanted.iterations == preset.iterations
        torch.testing.assert_close(found.actions, wanted.actions, atol=1e-4, rtol=0)


def test_a_plan_goes_on_from_a_warm_start(checkpoint: Checkpoint) -> None:
    """A search as narrow as this one stays where it begins: in the middle of the bounds, or at the warm start."""
    preset = Preset(candidates=8, elites=2, iterations=1, std=0.02, std_floor=0.01)
    start, goals = frame(checkpoint, 1), frame(checkpoint, 2).tokens[0]
    for variables, where in ((None, 0.0), (torch.full((preset.horizon, 2), 0.3), 0.3)):
        plan = plan_once(checkpoint, start, goals, preset, 0, warm_start=variables)
        assert float((plan.variables - where).abs().max()) < 0.15


def test_the_plan_is_for_the_first_goal_that_is_not_reached(checkpoint: Checkpoint) -> None:
    here, there = frame(checkpoint, 1), frame(checkpoint, 2)
    both = torch.cat([here.tokens[0], there.tokens[0]])
    one, other = (plan_once(checkpoint, here, goals, PRESETS["fast"], 0) for goals in (both, there.tokens[0]))
    assert torch.equal(one.actions, other.actions)


def test_latents_that_are_not_finite_give_no_plan(checkpoint: Checkpoint) -> None:
    broken = Latents(frame(checkpoint, 1).tokens * torch.nan)
    with pytest.raises(ServiceError) as caught:
        plan_once(checkpoint, broken, frame(checkpoint, 2).tokens[0], PRESETS["fast"], 0)
    assert caught.value.code is Code.NON_FINITE_PLAN


def counted(monkeypatch: pytest.MonkeyPatch, calls: Counter[str], owner: Any, name: str) -> None:
    sound: Callable[..., Any] = getattr(owner, name)

    def counting(*given: Any, **named: Any) -> Any:
        calls[name] += 1
        return sound(*given, **named)

    monkeypatch.setattr(owner, name, counting)


def test_each_thing_is_made_once_a_plan(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimiser, the space, what the world model takes in, each image's header, and each iteration's actions."""
    calls: Counter[str] = Counter()
    model = service.engine.registry.models[MODEL].checkpoint.world_model
    counted(monkeypatch, calls, Preset, "optimiser")
    counted(monkeypatch, calls, Preset, "space")
    counted(monkeypatch, calls, PerStep, "decode")
    counted(monkeypatch, calls, model, "begin")
    counted(monkeypatch, calls, model, "rollout")
    monkeypatch.setitem(images._SIZES, "png", lambda data: calls.update(header=1) or images._png_size(data))
    dataclasses.replace(PRESETS["fast"], horizon=5)  # a preset that is changed checks itself with both
    own = dict(calls)
    calls.clear()
    seen = [{"images": {"top": picture(seed)}, "step": step} for seed, step in ((91, 10), (92, 15))]
    goals = [{"observation": {"images": {"top": picture(93)}}}]
    iterations = asked(service, context=seen, goals=goals, planner={"preset": "fast", "seed": 1}).iterations_completed
    assert calls["header"] == 3 and calls["begin"] == 1 and calls["rollout"] == iterations
    assert calls["optimiser"] - own["optimiser"] == 1 and calls["space"] - own["space"] == 1
    # The candidates of each iteration once, and the best so far after each.
    assert calls["decode"] == 2 * iterations
