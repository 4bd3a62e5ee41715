"""Last check of a plan before it leaves, independent of the engine and with its own arithmetic."""

from collections.abc import Iterable

import numpy as np

from server import schemas
from server.errors import Code, ServiceError

ROUNDING = 1e-6
"""Rounding error that is allowed in a change, as a share of an action's range.

Equal to the constant of engine/motion.py, but not imported from there: this check must hold even when that code is
wrong. A robot's own check (telos/chunk.py) is wider, since a plan on the wire may have been rounded to float32.
"""


def check_actions(
    response: schemas.PlanResponse, request: schemas.PlanRequest, models: Iterable[schemas.ModelInfo]
) -> None:
    """Check a response of one of `models`. Raises ServiceError (non-finite-plan, action-limit-violation)."""
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
    """True if the actions are this robot's, and a new plan has whole model steps, less those already executed."""
    actions = response.chunk.actions
    if actions.ndim != 2 or actions.shape[1] != len(spec.names) or not len(actions):
        return False
    cut = (len(actions) + (request.inference_delay_steps or 0)) % spec.control_steps
    return response.chunk.control_steps == spec.control_steps and (not cut or response.status == "FALLBACK_PREVIOUS")


def _within(actions: np.ndarray, spec: schemas.ActionInfo, tighter: schemas.ActionLimits | None) -> bool:
    """True if the actions are within the limits of the model and of the request."""
    if not ((actions >= spec.low) & (actions <= spec.high)).all():
        return False
    return tighter is None or bool(((actions >= tighter.min) & (actions <= tighter.max)).all())


def _goes_on(actions: np.ndarray, request: schemas.PlanRequest, spec: schemas.ActionInfo) -> bool:
    """True if the plan continues from the robot's last action without changes that the request forbids."""
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
