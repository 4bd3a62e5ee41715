"""What runs on the torch thread: the only place that calls planner and world model."""

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from planner.costs import SquaredDistance
from planner.goal_sequence import GoalSequence
from planner.plan import Plan
from planner.presets import Preset
from planner.proposal import follow
from planner.protocols import RolloutState
from planner.search import NoFinitePlan, RobotSearch, advance
from planner.search_space import SearchSpace
from server.engine.cost import CostTerms, cost_of
from server.engine.frames import Frame
from server.engine.preparation import Question
from server.engine.registry import ServedModel
from server.engine.scheduler import Steps
from server.errors import Code, ServiceError

T = TypeVar("T")

Status = Literal["CONVERGED", "MAX_ITERATIONS", "BUDGET_EXHAUSTED"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A question with its images: nothing in it can be wrong any more."""

    question: Question
    context: tuple[Frame, ...]
    goals: tuple[Frame | Tensor, ...]
    """Images, or latents [n d], in order."""
    warm_start: Tensor | None
    """[h v]"""
    queued: float
    """When, on the monotonic clock, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    plan: Plan
    status: Status
    goal_distances: tuple[float, ...]
    active_goal: int
    goal_reached: bool
    planned_goal_distance: float
    surprise: float | None
    queue_us: int
    encode_us: int
    plan_us: int


@dataclass(frozen=True)
class Iteration:
    """The step that a plan is made of: what one robot brings into a rollout that it shares with others."""

    kind: Hashable
    model: ServedModel
    search: RobotSearch
    state: RolloutState
    terms: CostTerms
    goal: Tensor
    """[1 n d]"""
    avoid: tuple[Tensor, ...]
    """[m n d] each"""


@torch.inference_mode()
def iterate(iterations: Sequence[Iteration]) -> None:
    """One iteration for all these robots, in one rollout."""
    model, terms = iterations[0].model, iterations[0].terms
    goals = torch.cat([iteration.goal for iteration in iterations])
    avoid = [torch.stack(each) for each in zip(*(iteration.avoid for iteration in iterations), strict=True)]
    advance(
        model.checkpoint.world_model,
        model.checkpoint.world_model.stack([iteration.state for iteration in iterations]),
        cost_of(model, terms, goals, avoid),
        [iteration.search for iteration in iterations],
    )


@torch.inference_mode()
def solve(task: Task) -> Steps[Outcome]:
    """Plan until the search is over. Raises ServiceError."""
    question = task.question
    start = _start(task)
    state = question.model.checkpoint.world_model.begin(start.context, start.past_actions)
    search = _search(task, start, state)
    terms = question.targets[start.active_goal].terms
    outcome: Outcome | None = None
    while outcome is None or not search.is_over:
        kind = question.model, search.wants_gradients, start.context.shape[1], search.ask().shape, terms
        answer = outcome if search.iterations >= question.min_iterations else None
        yield Iteration(kind, question.model, search, state, terms, start.goal, question.avoid), answer
        outcome = _outcome(task, start, search)
    return outcome


@dataclass(frozen=True, kw_only=True)
class _Start:
    """What is known before the search."""

    context: Tensor
    """[1 t n d]"""
    past_actions: Tensor
    goal: Tensor
    """[1 n d], the active one"""
    goal_distances: tuple[float, ...]
    active_goal: int
    goal_reached: bool
    surprise: float | None
    began: float
    encoded: float


def _start(task: Task) -> _Start:
    began = time.monotonic()
    model = task.question.model
    context = encode(model, task.context)
    goals = torch.stack([goal if isinstance(goal, Tensor) else model.frames.latents(goal) for goal in task.goals])
    encoded = time.monotonic()
    past_actions = task.question.past_actions.to(context.device)
    surprise = None
    if context.shape[1] > 1:
        surprise = float(model.checkpoint.world_model.surprise(context, past_actions)[0, -1])
        _hold(surprise, task.question)
    sequence, reached = _progress(task.question, goals, context[:, -1])
    return _Start(
        context=context,
        past_actions=past_actions,
        goal=sequence.active(reached),
        goal_distances=tuple(_goal_distance(model, context[0, -1], goal[None]) for goal in goals),
        active_goal=int(sequence.active_index(reached)),
        goal_reached=int(reached) == len(goals),
        surprise=surprise,
        began=began,
        encoded=encoded,
    )


def _hold(surprise: float, question: Question) -> None:
    """Raises ServiceError (surprise-hold)."""
    if question.hold_above is not None and surprise > question.hold_above:
        seen = f"the last transition has surprise {surprise:.3g}, above the calibrated {question.hold_above:.3g}"
        raise ServiceError(Code.SURPRISE_HOLD, f"{seen}: hold the robot, look why, then plan without hold_on_surprise")


def _progress(question: Question, goals: Tensor, latent: Tensor) -> tuple[GoalSequence, Tensor]:
    """The goals [m n d], and how many of them are reached now that the last frame is [1 n d]."""
    tolerance = torch.tensor([[target.tolerance for target in question.targets]], device=goals.device)
    scale = question.model.manifest.planning.goal_distance_scale
    sequence = GoalSequence(goals[None], SquaredDistance(scale), tolerance)
    return sequence, sequence.reached(latent, torch.tensor([question.active_goal], device=goals.device))


def _outcome(task: Task, start: _Start, search: RobotSearch) -> Outcome:
    """As things stand. Raises ServiceError."""
    try:
        plan = search.plan
    except NoFinitePlan as error:
        raise ServiceError(Code.NON_FINITE_PLAN, "no candidate has a finite cost; no action is returned") from error
    planned_goal_distance = _goal_distance(task.question.model, plan.latents[-1], start.goal)
    if not all(map(math.isfinite, (plan.cost, *start.goal_distances, planned_goal_distance, start.surprise or 0.0))):
        raise ServiceError(Code.NON_FINITE_PLAN, "the model imagined what is not finite; no action is returned")
    return Outcome(
        plan=plan,
        status=_status(plan, task.question.preset),
        goal_distances=start.goal_distances,
        active_goal=start.active_goal,
        goal_reached=start.goal_reached,
        planned_goal_distance=planned_goal_distance,
        surprise=start.surprise,
        queue_us=round((start.began - task.queued) * 1e6),
        encode_us=round((start.encoded - start.began) * 1e6),
        plan_us=round((time.monotonic() - start.encoded) * 1e6),
    )


def at_once(work: Callable[[], T]) -> Steps[T]:
    """What is done as soon as it is taken in."""
    return work()
    yield  # makes this a generator


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


def _search(task: Task, start: _Start, state: RolloutState) -> RobotSearch:
    question = task.question
    with torch.inference_mode(False):  # tensors made in it can never take part in a gradient
        optimiser, space = question.optimiser(start.context.device)
    return RobotSearch(
        optimiser=optimiser,
        space=space,
        horizon=question.preset.horizon,
        warm_start=task.warm_start,
        generator=torch.Generator().manual_seed(question.seed),
        proposal=_proposal(question, start, state, space),
        only_proposal=question.preset.proposal == "only",
    )


def _proposal(question: Question, start: _Start, state: RolloutState, space: SearchSpace) -> Tensor | None:
    """[k v]"""
    checkpoint, preset = question.model.checkpoint, question.preset
    if preset.proposal == "none":
        return None
    assert checkpoint.inverse_dynamics is not None  # else the question was refused
    latents = start.context[:, -1]
    actions = follow(checkpoint.inverse_dynamics, checkpoint.world_model, state, latents, start.goal, preset.horizon)
    return space.encode(actions[0])


def _goal_distance(model: ServedModel, frame: Tensor, goal: Tensor) -> float:
    """Of latents [n d] to the goal [1 n d]."""
    distance = SquaredDistance(model.manifest.planning.goal_distance_scale)
    return float(distance(frame[None, None, None], goal))


def _status(plan: Plan, preset: Preset) -> Status:
    if plan.converged:
        return "CONVERGED"
    return "MAX_ITERATIONS" if plan.iterations >= preset.iterations else "BUDGET_EXHAUSTED"
