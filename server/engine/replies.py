"""Turns plans and incumbents into replies, in physical units and with the parts that the request includes."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from server import schemas
from server.engine.planning import FoundPlan
from server.engine.presets import as_config
from server.engine.protocol import EngineReply, WarmStart
from server.engine.question import Question
from server.engine.registry import ServedModel

PER_SECOND = 20
"""Most incumbents that are reported per second."""


@dataclass(frozen=True, kw_only=True)
class Replier:
    """Makes the replies to one request. Times are on the monotonic clock, in seconds."""

    model: ServedModel
    request: schemas.PlanRequest
    question: Question
    arrived: float
    queued: float
    """Time at which its observations were decoded."""

    def reply(self, found: FoundPlan) -> EngineReply:
        """Reply of a plan. Raises ServiceError for an action that is not finite or outside the limits."""
        request, question, plan, start = self.request, self.question, found.plan, found.start
        chunk = self._chunk(found)
        latents = plan.latents if "latents" in request.include else None
        response = schemas.PlanResponse(
            request_id=request.request_id or "",
            session_id=request.session_id,
            status=found.status,
            chunk=chunk,
            predicted_cost=plan.cost,
            goal_distance=start.goal_distances[start.active_goal],
            goal_distances=list(start.goal_distances),
            active_goal=start.active_goal,
            goal_reached=start.goal_reached,
            planned_goal_distance=found.planned_goal_distance,
            iterations_completed=plan.iterations,
            surprise=start.surprise,
            novelty=start.seen.novelty,
            goal_novelty=start.seen.goal_novelty[start.active_goal] if start.seen.goal_novelty else None,
            warnings=list(start.seen.warnings),
            warm_started=question.warm_start is not None,
            capture_time_us=request.context[-1].capture_time_us,
            costs=list(plan.best_costs) if "costs" in request.include else [],
            latents=None if latents is None else latents.float().cpu().numpy(),
            timing=self._timing(found),
            safety=question.bounds.report(chunk.actions, question.action_before),
            provenance=self.model.provenance(self._effective_planner()),
        )
        variables = plan.variables.float().cpu().numpy()
        return EngineReply(response, WarmStart(variables, question.first_step, *question.searched))

    def _chunk(self, found: FoundPlan) -> schemas.ActionChunk:
        question, spec = self.question, self.question.action
        actions = question.bounds.to_physical(found.plan.actions)[question.delay_steps :]
        return schemas.ActionChunk(
            actions=actions,
            action_names=list(spec.names),
            action_units=list(spec.units),
            dt_ms=spec.dt_s * 1e3,
            control_steps=spec.control_steps,
            first_step=question.first_step + question.delay_steps,
            valid_for_ms=len(actions) * spec.dt_s * 1e3,
        )

    def _effective_planner(self) -> schemas.PlannerConfig:
        """Settings that were used; sent again, they give the same plan."""
        question = self.question
        own = {"min_iterations": question.min_iterations or None, "seed": question.seed}
        return as_config(question.preset_name, question.preset).model_copy(update=own)

    def _timing(self, found: FoundPlan) -> schemas.Timing:
        """Times in the engine. The front measures the total again, with the exchange between the processes."""
        start = found.start
        return schemas.Timing(
            decode_us=_us(self.queued - self.arrived),
            queue_us=_us(start.began - self.queued),
            encode_us=_us(start.encoded - start.began),
            plan_us=_us(found.found - start.encoded),
            total_us=_us(time.monotonic() - self.arrived),
            late_us=0,
        )


class Improvements:
    """Reports a search's best plan when it is better than the last one reported, at a limited rate.

    It is called on the torch thread after each iteration, and reports on the event loop on which it was made.
    """

    def __init__(self, report: Callable[[FoundPlan], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._least_cost = math.inf
        self._next_at = -math.inf
        self._answered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reporting, since the search was answered."""
        self._answered = True

    def __call__(self, found: FoundPlan) -> None:
        now, cost = self._clock(), found.plan.cost
        if cost is not None and cost < self._least_cost and now >= self._next_at:
            self._least_cost, self._next_at = cost, now + 1 / PER_SECOND
            self._loop.call_soon_threadsafe(self._offer, found)

    def _offer(self, found: FoundPlan) -> None:
        if not self._answered:
            self._report(found)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
