"""The last look at a plan before it leaves, whatever the engine says: with arithmetic of its own."""

from collections.abc import Iterable

import numpy as np

from server import schemas
from server.errors import Code, ServiceError

ROUNDING = 1e-6
"""The share of an action's range that a change may be off by.

Equal to the constant of engine/motion.py, and not imported from there: this check stands even when that code is wrong.
A robot's own check (telos/chunk.py) is wider, since a plan on the wire may have been rounded to float32.
"""


def check_actions(
    response: schemas.PlanResponse, request: schemas.PlanRequest, models: Iterable[schemas.ModelInfo]
) -> None:
    """`models` are those that may have answered. Raises ServiceError (non-finite-plan, action-limit-violation)."""
    actions = response.chunk.actions
    imagined = (response.predicted_cost, response.planned_goal_distance)
    numbers = [response.goal_distance, *response.costs, *(number for number in imagined if number is not None)]
    if not (np.isfinite(actions).all() and np.isfinite(numbers).all()):
        raise ServiceError(Code.NON_FINITE_PLAN, "the plan holds a number that is not finite; no action is returned")
    made_by = response.provenance.manifest_sha256
    spec = next((model.action for model in models if model.manifest_sha256 == made_by), None)
    if spec is None or not (
        _has_shape(response, request, spec)
        and _within(actions, spec, request.limits)
        and _goes_on(actions, request, spec)
    ):
        raise ServiceError(Code.ACTION_LIMIT_VIOLATION, "the plan leaves the action limits; no action is returned")


def _has_shape(response: schemas.PlanResponse, request: schemas.PlanRequest, spec: schemas.ActionInfo) -> bool:
    """This robot's actions: of a new plan whole model steps, but for those run meanwhile."""
    actions = response.chunk.actions
    if actions.ndim != 2 or actions.shape[1] != len(spec.names) or not len(actions):
        return False
    cut = (len(actions) + (request.inference_delay_steps or 0)) % spec.control_steps
    return response.chunk.control_steps == spec.control_steps and (not cut or response.status == "FALLBACK_PREVIOUS")


def _within(actions: np.ndarray, spec: schemas.ActionInfo, tighter: schemas.ActionLimits | None) -> bool:
    """The limits of the model and of the request."""
    if not ((actions >= spec.low) & (actions <= spec.high)).all():
        return False
    return tighter is None or bool(((actions >= tighter.min) & (actions <= tighter.max)).all())


def _goes_on(actions: np.ndarray, request: schemas.PlanRequest, spec: schemas.ActionInfo) -> bool:
    """From what the robot ran before, through what is committed, no faster than the request allows."""
    slack = ROUNDING * (np.asarray(spec.high) - np.asarray(spec.low))
    committed = np.zeros((0, len(spec.names))) if request.committed_actions is None else request.committed_actions
    run, settled = np.split(committed, [request.inference_delay_steps or 0])
    if (np.abs(actions[: len(settled)] - settled[: len(actions)]) > slack).any():
        return False
    history = [block[-1] for block in request.action_history[-1:]]
    before = run[-1:] if len(run) else np.reshape(history, (-1, len(spec.names)))
    changes = np.abs(np.diff(np.concatenate([before, actions]), axis=0))
    start = len(before) + len(settled) - 1  # of the change to the first action that was planned
    limits = request.limits
    if limits is None:
        return True
    slow = not limits.max_delta or bool((changes <= limits.max_delta + slack).all())
    jumps = changes[start : start + 1] if start >= 0 else changes[:0]
    return slow and (not limits.max_start_jump or bool((jumps <= limits.max_start_jump + slack).all()))
