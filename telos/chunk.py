"""Actions of a plan by control step, and the time until which they may be executed."""

import math
from dataclasses import dataclass

import numpy as np

from telos.errors import TelosError
from telos.replies import ModelInfo, PlanReply

ROUNDING = 1e-4
"""Rounding error that is allowed in a reply, as a share of an action's range."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Actions that were planned for a span of control steps."""

    actions: np.ndarray
    """[steps, actions], physical units"""
    first_step: int
    valid_steps: int
    """Number of control steps, from the first one, for which the plan is valid."""
    expires_s: float
    """End of validity, on the robot's clock."""

    @classmethod
    def of(cls, reply: PlanReply, seen_s: float) -> "Chunk":
        """Chunk of a reply. `seen_s` is when the plan's observation was made, on the robot's clock."""
        valid_steps = min(len(reply.actions), int(reply.valid_for_s / reply.dt_s + ROUNDING))
        return cls(reply.actions, reply.first_step, valid_steps, seen_s + reply.valid_for_s)

    def at(self, step: int, now_s: float) -> np.ndarray | None:
        """Action of a control step, [actions]; None when the plan does not cover the step or has expired."""
        row = step - self.first_step
        return self.actions[row] if 0 <= row < self.valid_steps and now_s < self.expires_s else None


def check_plan(reply: PlanReply, model: ModelInfo) -> None:
    """Raises TelosError for actions with other names, not finite, or outside the model's limits: never execute them."""
    spec = model.required_action
    low, high = np.asarray(spec.low), np.asarray(spec.high)
    slack = ROUNDING * (high - low)
    actions = reply.actions
    if actions.ndim != 2 or actions.shape[1] != len(spec.names) or reply.action_names != spec.names or not len(actions):
        reason = (
            f"{reply.action_names} in shape {list(actions.shape)}; wanted [steps, {len(spec.names)}] of {spec.names}"
        )
    elif not (np.isfinite(actions).all() and (actions >= low - slack).all() and (actions <= high + slack).all()):
        reason = f"an action that is not finite or outside {low.tolist()} to {high.tolist()}"
    elif not math.isclose(reply.dt_s * 1e3, spec.dt_ms) or not 0 < reply.valid_for_s < np.inf:
        reason = (
            f"steps of {reply.dt_s} s, valid for {reply.valid_for_s} s; wanted steps of {spec.dt_ms} ms, some of them"
        )
    else:
        return
    raise TelosError("unusable-plan", f"given {reason}: discarded", request_id=reply.request_id)
