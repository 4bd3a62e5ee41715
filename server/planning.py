"""What runs on the torch thread: the only place that calls planner and world model."""

import math
import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from planner.costs import SquaredDistance, goal_cost
from planner.plan import Plan
from planner.presets import Preset
from planner.search import NoFinitePlan, plan_iterations
from server.engine import Halt
from server.errors import Code, ServiceError
from server.frames import Frame
from server.preparation import Question
from server.registry import ServedModel

Status = Literal["CONVERGED", "MAX_ITERATIONS", "BUDGET_EXHAUSTED"]


class HaltedError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A question with its images: nothing in it can be wrong any more."""

    question: Question
    context: tuple[Frame, ...]
    goal: Frame | Tensor
    """An image, or latents [n d]."""
    warm_start: Tensor | None
    """[h v]"""
    deadline: float | None
    """On the monotonic clock, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    plan: Plan
    status: Status
    goal_distance: float
    planned_goal_distance: float
    surprise: float | None
    encode_us: int
    plan_us: int


def solve(task: Task, halt: Halt) -> Outcome:
    """Plan until the search is over or the deadline near; at least one iteration. Raises ServiceError, HaltedError."""
    with torch.inference_mode():
        started = time.monotonic()
        model = task.question.model
        checkpoint = model.checkpoint
        context = encode(model, task.context)
        goal = (task.goal if isinstance(task.goal, Tensor) else model.frames.latents(task.goal))[None]  # [1 n d]
        encoded = time.monotonic()
        past_actions = task.question.past_actions.to(context.device)
        plan = _search(task, context, past_actions, goal, halt)
        distance = SquaredDistance(checkpoint.manifest.planning.goal_distance_scale)
        now_and_planned = torch.stack([context[0, -1], plan.latents[-1]])  # [2 n d]
        goal_distance, planned_goal_distance = distance(now_and_planned[None, None], goal)[0, 0].tolist()
        seen = context.shape[1] > 1
        surprise = float(checkpoint.world_model.surprise(context, past_actions)[0, -1]) if seen else None
        done = time.monotonic()
    if not all(map(math.isfinite, (plan.cost, goal_distance, planned_goal_distance, surprise or 0.0))):
        raise ServiceError(Code.NON_FINITE_PLAN, "the model imagined what is not finite; no action is returned")
    return Outcome(
        plan=plan,
        status=_status(plan, task.question.preset),
        goal_distance=goal_distance,
        planned_goal_distance=planned_goal_distance,
        surprise=surprise,
        encode_us=round((encoded - started) * 1e6),
        plan_us=round((done - encoded) * 1e6),
    )


def encode(model: ServedModel, frames: tuple[Frame, ...]) -> Tensor:
    """[1 t n d]"""
    with torch.inference_mode():
        return torch.stack([model.frames.latents(frame) for frame in frames])[None]


def score_clip(model: ServedModel, frames: tuple[Frame, ...], past_actions: Tensor) -> list[float]:
    """Surprise of each transition of a clip. Raises ServiceError."""
    with torch.inference_mode():
        latents = encode(model, frames)
        surprise = model.checkpoint.world_model.surprise(latents, past_actions.to(latents.device))[0].tolist()
    if not all(map(math.isfinite, surprise)):
        raise ServiceError(Code.NON_FINITE_PLAN, "the model's surprise is not finite; no score is returned")
    return surprise


def _search(task: Task, context: Tensor, past_actions: Tensor, goal: Tensor, halt: Halt) -> Plan:
    checkpoint, preset = task.question.model.checkpoint, task.question.preset
    scale = checkpoint.manifest.planning.goal_distance_scale
    optimiser, space = task.question.optimiser(context.device)
    iterations = plan_iterations(
        checkpoint.world_model,
        checkpoint.world_model.begin(context, past_actions),
        goal_cost(goal, scale=scale, steps_to_go=checkpoint.steps_to_go),
        optimiser=optimiser,
        space=space,
        horizon=preset.horizon,
        warm_starts=[task.warm_start],
        generators=[torch.Generator().manual_seed(task.question.seed)],
    )
    best: Plan | None = None
    before = time.monotonic()
    try:
        for plans in iterations:
            (best,) = plans
            now = time.monotonic()
            if halt.is_set():
                raise HaltedError
            if task.deadline is not None and 2 * now - before > task.deadline:  # the next one would end too late
                break
            before = now
    except NoFinitePlan as error:
        raise ServiceError(Code.NON_FINITE_PLAN, "no candidate has a finite cost; no action is returned") from error
    assert best is not None  # an optimiser takes at least one iteration
    return best


def _status(plan: Plan, preset: Preset) -> Status:
    if plan.converged:
        return "CONVERGED"
    return "MAX_ITERATIONS" if plan.iterations >= preset.iterations else "BUDGET_EXHAUSTED"
