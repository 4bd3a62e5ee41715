"""The last look at a plan before it leaves, whatever the engine says: with arithmetic of its own."""

from collections.abc import Iterable

import numpy as np

from server import schemas
from server.errors import Code, ServiceError

ROUNDING = 1e-6
"""Share of an action's range that a change may be off by."""


def check_actions(
    response: schemas.PlanResponse, request: schemas.PlanRequest, models: Iterable[schemas.ModelInfo]
) -> None:
    """`models` are those that may have answered. Raises ServiceError (non-finite-plan, action-limit-violation)."""
    actions = response.chunk.actions
    numbers = (response.predicted_cost, response.goal_distance, response.planned_goal_distance, *response.costs)
    if not (np.isfinite(actions).all() and np.isfinite(numbers).all()):
        raise ServiceError(Code.NON_FINITE_PLAN, "the plan holds a number that is not finite; no action is returned")
    spec = next((m.action for m in models if m.manifest_sha256 == response.provenance.manifest_sha256), None)
    delayed = request.inference_delay_steps or 0
    if spec is None or not _within(actions, spec, request.limits, response.chunk.control_steps, delayed):
        raise ServiceError(Code.ACTION_LIMIT_VIOLATION, "the plan leaves the action limits; no action is returned")


def _within(
    actions: np.ndarray,
    spec: schemas.ActionInfo,
    tighter: schemas.ActionLimits | None,
    control_steps: int,
    delayed: int,
) -> bool:
    """Whole model steps of this robot's actions but for the first `delayed`, within the limits of model and request."""
    if actions.ndim != 2 or actions.shape[1] != len(spec.names) or not len(actions):
        return False
    if control_steps != spec.control_steps or (len(actions) + delayed) % control_steps:
        return False
    low, high = np.asarray(spec.low), np.asarray(spec.high)
    if not ((actions >= low) & (actions <= high)).all():
        return False
    if tighter is None:
        return True
    change = np.abs(np.diff(actions, axis=0)) - ROUNDING * (high - low)
    slow = not tighter.max_delta or bool((change <= tighter.max_delta).all())
    return slow and bool(((actions >= tighter.min) & (actions <= tighter.max)).all())
