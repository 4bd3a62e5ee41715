"""Translation of actions: physical units outside, unitless in [-1, 1] inside. Actions out of limits are refused."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from server.engine.motion import ROUNDING, Motion
from server.errors import Code, ServiceError, refuse
from server.schemas import ActionLimits, SafetyReport
from worldmodel import ActionSpec


@dataclass(frozen=True)
class Bounds:
    """Limits of one control step's action in physical units, [actions] each, tightened by the request."""

    low: np.ndarray
    high: np.ndarray
    spec: ActionSpec
    motion: Motion | None = None
    """Limits on change and committed actions; None if the request has neither."""

    @property
    def unitless(self) -> tuple[Tensor, Tensor]:
        """The limits for the planner: low and high, float32 [actions] in [-1, 1]."""
        low, high = (_unitless(edge, self.spec).clip(-1, 1).astype(np.float32) for edge in (self.low, self.high))
        return torch.from_numpy(low), torch.from_numpy(high)

    def to_physical(self, actions: Tensor) -> np.ndarray:
        """Model steps [h a], unitless, to control steps [h * control_steps, actions] in physical units, within bounds.

        Raises ServiceError (non-finite-plan, action-limit-violation).
        """
        share = (actions.double().cpu().numpy().reshape(-1, len(self.low)) + 1) / 2
        physical = np.asarray(self.spec.low) * (1 - share) + np.asarray(self.spec.high) * share
        if not np.isfinite(physical).all():
            raise ServiceError(Code.NON_FINITE_PLAN, "the planner gave an action that is not finite; none is returned")
        slack = ROUNDING * _range(self.spec)
        if (physical < self.low - slack).any() or (physical > self.high + slack).any():
            raise ServiceError(Code.ACTION_LIMIT_VIOLATION, "the planner left the action limits; no action is returned")
        physical = physical.clip(self.low, self.high)
        if self.motion is not None:
            self.motion.check(physical)
        return physical

    def report(self, actions: np.ndarray, before: np.ndarray | None = None) -> SafetyReport:
        """Report on a chunk in physical units, [steps, actions]; `before`, [actions], precedes it."""
        slack = ROUNDING * _range(self.spec)
        saturated = (actions <= self.low + slack) | (actions >= self.high - slack)
        return SafetyReport(
            saturated_fraction=float(saturated.mean()),
            max_step_delta=np.abs(np.diff(actions, axis=0)).max(axis=0, initial=0.0).tolist(),
            start_jump=[] if before is None else np.abs(actions[0] - before).tolist(),
            within_limits=bool(((actions >= self.low) & (actions <= self.high)).all()),
        )


def bounds(spec: ActionSpec, tighter: ActionLimits | None) -> Bounds:
    """The model's limits, or those of the request, which must lie within the model's. Raises ServiceError."""
    model_low, model_high = np.asarray(spec.low), np.asarray(spec.high)
    if tighter is None:
        return Bounds(model_low, model_high, spec)
    for name, values in (("min", tighter.min), ("max", tighter.max)):
        if len(values) != len(spec.names):
            wanted = f"wanted {len(spec.names)}, one for each of {', '.join(spec.names)}"
            raise refuse(Code.VALIDATION_FAILED, f"/limits/{name}", f"given {len(values)} values; {wanted}")
    low, high = np.asarray(tighter.min), np.asarray(tighter.max)
    for index, name in enumerate(spec.names):
        if not model_low[index] <= low[index] <= high[index] <= model_high[index]:
            given = f"given {low[index]:g} to {high[index]:g} for {name}"
            widest = f"{model_low[index]:g} to {model_high[index]:g} {spec.units[index]}"
            raise refuse(Code.VALIDATION_FAILED, f"/limits/min/{index}", f"{given}; may only tighten {widest}")
    return Bounds(low, high, spec)


def past_actions(blocks: Sequence[np.ndarray], spec: ActionSpec, frames: int, pointer: str) -> Tensor:
    """Actions executed between frames, from physical blocks to unitless [1 t-1 a]. Raises ServiceError."""
    if len(blocks) != frames - 1:
        wanted = f"wanted {frames - 1}: one between each two of the {frames} frames"
        raise refuse(Code.VALIDATION_FAILED, pointer, f"given {len(blocks)} blocks of actions; {wanted}")
    shape = (spec.control_steps, len(spec.names))
    slack = ROUNDING * _range(spec)
    for index, block in enumerate(blocks):
        if block.shape != shape:
            wanted = f"wanted {list(shape)}: control steps x ({', '.join(spec.names)})"
            raise refuse(Code.VALIDATION_FAILED, f"{pointer}/{index}", f"given shape {list(block.shape)}; {wanted}")
        if (block < np.asarray(spec.low) - slack).any() or (block > np.asarray(spec.high) + slack).any():
            wanted = f"wanted within {list(spec.low)} to {list(spec.high)}: send what was commanded"
            raise refuse(Code.VALIDATION_FAILED, f"{pointer}/{index}", f"holds an action outside the limits; {wanted}")
    physical = np.asarray(blocks, dtype=np.float64).reshape(frames - 1, *shape)
    unitless = _unitless(physical, spec).clip(-1, 1).astype(np.float32)
    return torch.from_numpy(unitless).reshape(1, frames - 1, spec.width)


def _unitless(physical: np.ndarray, spec: ActionSpec) -> np.ndarray:
    return 2 * (physical - np.asarray(spec.low)) / _range(spec) - 1


def _range(spec: ActionSpec) -> np.ndarray:
    return np.asarray(spec.high) - np.asarray(spec.low)
