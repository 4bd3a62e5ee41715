"""Makes plans from latents. The engine, collection and the benchmarks plan with `solve` or `plan_once`.

A plan is a generator of search steps, so that robots with steps of one kind can share a rollout.
"""

import math
import time
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from planner.costs import SquaredDistance
from planner.goal_sequence import GoalSequence
from planner.policy import Verifier, continued, policy_plan
from planner.presets import Preset
from planner.protocols import CostFunction, Policy
from planner.search import NoFinitePlan, Plan, RobotSearch, advance
from server import schemas
from server.engine.question import CostTerms, Question, cost_of, plain_question
from server.errors import Code, ServiceError
from worldmodel import Checkpoint, Latents, observe

Status = Literal["CONVERGED", "MAX_ITERATIONS", "BUDGET_EXHAUSTED", "POLICY"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Frames and goals of a plan, as latents."""

    context: Latents
    """Latents of the context, [1 t n d], oldest frame first."""
    goals: Tensor
    """Latents of the goals in order, [m n d]."""
    novelty: float | None = None
    """Largest novelty of the newest frame's readings; None for a model that was not calibrated."""
    goal_novelty: tuple[float | None, ...] = ()
    """Largest novelty of each goal's readings; None for a goal that came as latents."""
    warnings: tuple[schemas.InputWarning, ...] = ()
    """Warnings about the newest frame and the goals."""


@dataclass(frozen=True, kw_only=True)
class SharedSearch:
    """One robot's search, with its part of a rollout that it shares with others."""

    checkpoint: Checkpoint
    search: RobotSearch
    state: Any
    """Made by `WorldModel.begin` from this robot's context."""
    frames: int
    """Number of frames in the context."""
    terms: CostTerms
    goal: Tensor
    """[1 n d]"""
    avoid: tuple[Tensor, ...]
    """[1 m n d] each"""
    cost: CostFunction
    """The cost for this robot alone."""

    @property
    def kind(self) -> Hashable:
        """Value that is equal for searches that can share a rollout: same model, cost and shape."""
        search = self.search
        return self.checkpoint.manifest_sha256, search.wants_gradients, self.frames, search.ask().shape, self.terms


@dataclass(frozen=True, kw_only=True)
class Start:
    """Facts that are known before the search. Times are on the monotonic clock, in seconds."""

    seen: Seen
    goal: Tensor
    """Latents of the active goal, [1 n d]."""
    terms: CostTerms
    """Terms of the cost for the active goal."""
    goal_distances: tuple[float, ...]
    active_goal: int
    goal_reached: bool
    surprise: float | None
    """Surprise of the last transition; None for a single frame or without a world model."""
    began: float
    encoded: float


@dataclass(frozen=True, kw_only=True)
class FoundPlan:
    """A plan with its evidence."""

    start: Start
    plan: Plan
    status: Status
    planned_goal_distance: float | None
    """Distance from the end of the imagined future to the active goal; None if nothing was imagined."""
    found: float
    """Time at which it was found, on the monotonic clock in seconds."""


Solving = Generator[tuple[SharedSearch, FoundPlan | None], None, FoundPlan]
"""Generator of search steps with the best plan so far, which returns the plan."""


def plan_once(
    checkpoint: Checkpoint,
    context: Latents,
    goals: Tensor,
    preset: Preset,
    seed: int,
    *,
    past_actions: Tensor | None = None,
    warm_start: Tensor | None = None,
) -> Plan:
    """Plan of one robot, from context [1 t n d] to the first of the goals [m n d] that is not reached.

    `past_actions` [1 t-1 a] are the actions between the frames, and `warm_start` [k v] are search variables to begin
    with. The plan obeys the model's limits and has the default cost. Raises ServiceError if no finite plan is found.
    """
    seen = Seen(context=context, goals=goals)
    question = plain_question(
        checkpoint, preset, seed, goals=len(goals), past_actions=past_actions, warm_start=warm_start
    )
    steps = solve(question, lambda: seen)
    while True:
        try:
            step, _ = next(steps)
        except StopIteration as done:
            return done.value.plan
        advance_together([step])


@torch.inference_mode()
def encode_frame(checkpoint: Checkpoint, readings: Mapping[str, np.ndarray]) -> Latents:
    """Latents [1 1 n d] of one frame's readings, by sensor. Raises SensorError for readings that the model refuses."""
    assert checkpoint.encoder is not None  # a model without an encoder is never served
    encoded = checkpoint.encoder.encode(observe(checkpoint.manifest.sensors, readings).to(checkpoint.device))
    return Latents(encoded.tokens[:, None], None if encoded.state is None else encoded.state[:, None])


@torch.inference_mode()
def solve(question: Question, see: Callable[[], Seen]) -> Solving:
    """Plan until the search is over; a policy's plan takes no step. Raises ServiceError."""
    began = time.monotonic()
    start = _start(question, see(), began)
    if question.preset.is_policy:
        return _found(question, start, _by_policy(question, start), "POLICY")
    shared = begin(question, start)
    search = shared.search
    found: FoundPlan | None = None
    while found is None or not search.is_over:
        yield shared, found if search.iterations >= question.min_iterations else None
        plan = _best(search)
        found = _found(question, start, plan, _status(plan, question.preset))
    return found


@torch.inference_mode()
def advance_together(searches: Sequence[SharedSearch]) -> None:
    """Run one iteration of these searches, all of one kind, in one rollout."""
    first = searches[0]
    model, latent = first.checkpoint.world_model, first.checkpoint.manifest.latent
    assert model is not None  # a search has a world model
    state, cost = first.state, first.cost
    if len(searches) > 1:
        goals = torch.cat([each.goal for each in searches])
        avoid = [torch.cat(each) for each in zip(*(each.avoid for each in searches), strict=True)]
        state = model.stack([each.state for each in searches])
        cost = cost_of(first.checkpoint, first.terms, goals, avoid)
    advance(model, state, cost, [each.search for each in searches], (latent.tokens, latent.width))


def begin(question: Question, start: Start) -> SharedSearch:
    """The search for a plan, with all inputs of its iterations."""
    preset, space, state = question.preset, question.space, _state(question, start)
    with torch.inference_mode(False):  # tensors made in inference mode can never take part in a gradient
        optimiser = preset.optimiser(space)
    search = RobotSearch(
        optimiser=optimiser,
        space=space,
        horizon=preset.horizon,
        warm_start=question.warm_start,
        generator=torch.Generator().manual_seed(question.seed),
        proposal=_proposal(question, start, state) if preset.proposal else None,
    )
    return SharedSearch(
        checkpoint=question.checkpoint,
        search=search,
        state=state,
        frames=start.seen.context.tokens.shape[1],
        terms=start.terms,
        goal=start.goal,
        avoid=question.avoid,
        cost=cost_of(question.checkpoint, start.terms, start.goal, question.avoid),
    )


def surprise_of(checkpoint: Checkpoint, context: Latents, past_actions: Tensor) -> list[float]:
    """Surprise of each transition of one robot's frames [1 t n d]. Raises ServiceError if one is not finite."""
    surprise = checkpoint.surprise(context.tokens, past_actions)[0].tolist()
    if not all(map(math.isfinite, surprise)):
        raise ServiceError(Code.NON_FINITE_PLAN, "the model's surprise is not finite; no answer is given")
    return surprise


def _start(question: Question, seen: Seen, began: float) -> Start:
    encoded = time.monotonic()
    checkpoint, context = question.checkpoint, seen.context
    surprise = None
    if context.tokens.shape[1] > 1 and checkpoint.world_model is not None:
        surprise = surprise_of(checkpoint, context, question.past_actions)[-1]
        _hold(surprise, question)
    newest = context.tokens[:, -1]
    sequence, reached = _progress(question, seen.goals, newest)
    active = int(sequence.active_index(reached))
    return Start(
        seen=seen,
        goal=sequence.active(reached),
        terms=question.targets[active].terms,
        goal_distances=tuple(_goal_distance(question, newest[0], goal[None]) for goal in seen.goals),
        active_goal=active,
        goal_reached=int(reached) == len(seen.goals),
        surprise=surprise,
        began=began,
        encoded=encoded,
    )


def _hold(surprise: float, question: Question) -> None:
    """Raises ServiceError (surprise-hold) if the surprise exceeds the request's threshold."""
    if question.hold_above is not None and surprise > question.hold_above:
        seen = f"the last transition has surprise {surprise:.3g}, above the calibrated {question.hold_above:.3g}"
        raise ServiceError(Code.SURPRISE_HOLD, f"{seen}: hold the robot, look why, then plan without hold_on_surprise")


def _progress(question: Question, goals: Tensor, newest: Tensor) -> tuple[GoalSequence, Tensor]:
    """Goals [m n d], and the number of them that are reached at the newest frame [1 n d]."""
    tolerance = torch.tensor([[target.tolerance for target in question.targets]], device=goals.device)
    sequence = GoalSequence(goals[None], SquaredDistance(question.planning.goal_distance_scale), tolerance)
    return sequence, sequence.reached(newest, torch.tensor([question.active_goal], device=goals.device))


def _state(question: Question, start: Start) -> Any:
    """State of the world model for the context, made once for each plan."""
    assert question.checkpoint.world_model is not None  # only called with a world model
    return question.checkpoint.world_model.begin(start.seen.context, question.past_actions)


def _policy(checkpoint: Checkpoint) -> Policy:
    assert checkpoint.policy is not None  # other requests were refused
    return checkpoint.policy


def _proposal(question: Question, start: Start, state: Any) -> Tensor:
    """The policy's plan in the search space, [k v]."""
    model, policy = question.checkpoint.world_model, _policy(question.checkpoint)
    assert model is not None  # a search has a world model
    context, horizon = start.seen.context.tokens, question.preset.horizon
    return question.space.encode(continued(policy, model, state, context, start.goal, horizon)[0])


def _by_policy(question: Question, start: Start) -> Plan:
    """The policy's plan, with predictions if there is a world model. Raises ServiceError."""
    checkpoint, verifier = question.checkpoint, None
    if checkpoint.world_model is not None:
        verifier = Verifier(
            model=checkpoint.world_model,
            state=_state(question, start),
            cost=cost_of(checkpoint, start.terms, start.goal, question.avoid),
            horizon=question.preset.horizon,
        )
    try:
        return policy_plan(_policy(checkpoint), start.seen.context.tokens, start.goal, question.space, verifier)
    except NoFinitePlan as error:
        raise _not_finite("the policy's plan has an action or a cost that is not finite") from error


def _best(search: RobotSearch) -> Plan:
    """Raises ServiceError."""
    try:
        return search.plan
    except NoFinitePlan as error:
        raise _not_finite("no candidate has a finite cost") from error


def _found(question: Question, start: Start, plan: Plan, status: Status) -> FoundPlan:
    """The plan with its evidence. Raises ServiceError if a number is not finite."""
    planned = None if plan.latents is None else _goal_distance(question, plan.latents[-1], start.goal)
    numbers = (plan.cost, planned, *start.goal_distances)
    if not all(math.isfinite(number) for number in numbers if number is not None):
        raise _not_finite("the model imagined a number that is not finite")
    return FoundPlan(start=start, plan=plan, status=status, planned_goal_distance=planned, found=time.monotonic())


def _goal_distance(question: Question, frame: Tensor, goal: Tensor) -> float:
    """Latent distance from a frame [n d] to a goal [1 n d]."""
    distance = SquaredDistance(question.planning.goal_distance_scale)
    return float(distance(frame[None, None, None], goal))


def _status(plan: Plan, preset: Preset) -> Status:
    if plan.converged:
        return "CONVERGED"
    return "MAX_ITERATIONS" if plan.iterations >= preset.iterations else "BUDGET_EXHAUSTED"


def _not_finite(what: str) -> ServiceError:
    return ServiceError(Code.NON_FINITE_PLAN, f"{what}; no action is returned")
