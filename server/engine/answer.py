"""From what was computed to what is answered: in physical units, with what was asked to be included."""

import time

from server import schemas
from server.engine.planning import Outcome, Task
from server.engine.protocol import Planned, WarmStart


def answer(request: schemas.PlanRequest, task: Task, outcome: Outcome, arrived: float) -> Planned:
    """`arrived` is when the request did, on the monotonic clock in seconds.

    Raises ServiceError rather than let an action out that is not finite or leaves the limits.
    """
    question, plan = task.question, outcome.plan
    spec = question.model.manifest.action
    actions = question.bounds.to_physical(plan.actions)[question.delay_steps :]
    chunk = schemas.ActionChunk(
        actions=actions,
        action_names=list(spec.names),
        action_units=list(spec.units),
        dt_ms=spec.dt_s * 1e3,
        control_steps=spec.control_steps,
        first_step=question.first_step + question.delay_steps,
        valid_for_ms=len(actions) * spec.dt_s * 1e3,
    )
    response = schemas.PlanResponse(
        request_id=request.request_id or "",
        session_id=request.session_id,
        status=outcome.status,
        chunk=chunk,
        predicted_cost=plan.cost,
        goal_distance=outcome.goal_distances[outcome.active_goal],
        goal_distances=list(outcome.goal_distances),
        active_goal=outcome.active_goal,
        goal_reached=outcome.goal_reached,
        planned_goal_distance=outcome.planned_goal_distance,
        iterations_completed=plan.iterations,
        surprise=outcome.surprise,
        warm_started=task.warm_start is not None,
        capture_time_us=request.context[-1].capture_time_us,
        costs=list(plan.best_costs) if "costs" in request.include else [],
        latents=plan.latents.float().cpu().numpy() if "latents" in request.include else None,
        timing=_timing(task, outcome, arrived),
        safety=question.bounds.report(actions, question.action_before),
        provenance=question.model.provenance(question.effective_planner),
    )
    variables = plan.variables.float().cpu().numpy()
    return Planned(response, WarmStart(variables, question.first_step, *question.searched))


def _timing(task: Task, outcome: Outcome, arrived: float) -> schemas.Timing:
    """What the engine knows of it; the total is measured by who answers."""
    return schemas.Timing(
        decode_us=round((task.queued - arrived) * 1e6),
        queue_us=outcome.queue_us,
        encode_us=outcome.encode_us,
        plan_us=outcome.plan_us,
        total_us=round((time.monotonic() - arrived) * 1e6),
        late_us=0,
    )
