"""Limits on the change of actions, and committed actions: checked in a request, and again in the plan.

Units are physical here and unitless in the planner.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from planner.constraints import Constraints
from server import schemas
from server.errors import Code, ServiceError, refuse
from worldmodel import ActionSpec

ROUNDING = 1e-6
"""Rounding error of 32-bit arithmetic, as a share of an action's range, here and in engine/actions.py.

It is a few units in the last place of a float32 in [-1, 1]. The planner's own tolerance (planner/constraints.py) is
wider, so that it never refuses actions accepted here. server/safety.py has its own equal constant on purpose: the last
check before a plan leaves must not change with the code that it checks.
"""


@dataclass(frozen=True)
class Motion:
    """Limits on change and committed actions, in physical units, with one entry or column for each action."""

    spec: ActionSpec
    max_delta: np.ndarray
    """Largest change between control steps, [actions]; infinite for no limit."""
    max_start: np.ndarray
    """Largest change to the first action that is not committed, [actions]; infinite for no limit."""
    committed: np.ndarray
    """First control steps of the plan, [steps, actions]; may be empty."""
    last: np.ndarray | None
    """Action executed just before the plan, [actions]; None if unknown."""

    def constraints(self, device: torch.device) -> Constraints:
        """The same for the planner: unitless, and tightened by the rounding error."""

        def change(physical: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(2 * self._tight(physical) / self._range).to(device, torch.float32)

        def unitless(physical: np.ndarray) -> torch.Tensor:
            share = (physical - np.asarray(self.spec.low)) / self._range
            return torch.from_numpy((2 * share - 1).clip(-1, 1)).to(device, torch.float32)

        return Constraints(
            max_delta=change(self.max_delta),
            max_start=change(self.max_start),
            committed=unitless(self.committed),
            last=None if self.last is None else unitless(self.last),
        )

    def check(self, actions: np.ndarray) -> None:
        """Check a plan, [steps, actions]. Raises ServiceError (action-limit-violation)."""
        slack = ROUNDING * self._range
        settled = np.abs(actions[: len(self.committed)] - self.committed) <= slack
        slow = self._changes(actions) <= self.max_delta + slack
        gentle = self._start_jump(actions) <= self.max_start + slack
        if not (settled.all() and slow.all() and gentle.all()):
            detail = "the planner changed a settled action, or exceeded max_delta or max_start_jump; none is returned"
            raise ServiceError(Code.ACTION_LIMIT_VIOLATION, detail)

    @property
    def committed_too_fast(self) -> bool:
        """True if the committed actions themselves change faster than allowed."""
        return bool((self._changes(self.committed) > self.max_delta + ROUNDING * self._range).any())

    def reaching(self, low: np.ndarray, high: np.ndarray) -> "Motion | None":
        """A copy whose last action is moved by at most the rounding error, so that the limits are within reach.

        None if they are still out of reach.
        """
        if self.last is None or len(self.committed):
            return self
        reach = self._tight(np.minimum(self.max_delta, self.max_start))
        within_reach = self.last.clip(low - reach, high + reach)
        if (np.abs(within_reach - self.last) > 2 * ROUNDING * self._range).any():
            return None
        return dataclasses.replace(self, last=within_reach)

    def _changes(self, actions: np.ndarray) -> np.ndarray:
        before = actions[:0] if self.last is None else self.last[None]
        return np.abs(np.diff(np.concatenate([before, actions]), axis=0))

    def _start_jump(self, actions: np.ndarray) -> np.ndarray:
        """Change to the first planned action, [actions]; 0 if none is planned or the action before is unknown."""
        settled = len(self.committed)
        before = self.committed[-1] if settled else self.last
        if before is None or settled == len(actions):
            return np.zeros(len(self.max_start))
        return np.abs(actions[settled] - before)

    def _tight(self, change: np.ndarray) -> np.ndarray:
        return (change - ROUNDING * self._range).clip(min=0)

    @property
    def _range(self) -> np.ndarray:
        return np.asarray(self.spec.high) - np.asarray(self.spec.low)


def motion(
    request: schemas.PlanRequest, spec: ActionSpec, *, low: np.ndarray, high: np.ndarray, steps: int
) -> Motion | None:
    """The request's limits on change and its committed actions; None if it has neither.

    `low` and `high` are its limits, and `steps` is its plan's length in control steps. The action history must have
    been checked. Raises ServiceError.
    """
    max_delta = request.limits.max_delta if request.limits is not None else []
    max_start = request.limits.max_start_jump if request.limits is not None else []
    if not max_delta and not max_start and request.committed_actions is None:
        return None
    if max_start and request.committed_actions is None and not request.action_history:
        reason = "the action before the plan is not known; send action_history or committed_actions"
        raise refuse(Code.VALIDATION_FAILED, "/limits/max_start_jump", reason)
    asked = Motion(
        spec,
        max_delta=_largest_change(max_delta, spec, "/limits/max_delta"),
        max_start=_largest_change(max_start, spec, "/limits/max_start_jump"),
        committed=_committed(request.committed_actions, spec, low=low, high=high, steps=steps),
        last=np.asarray(request.action_history[-1][-1], dtype=np.float64) if request.action_history else None,
    )
    if asked.committed_too_fast:
        reason = f"change faster than limits.max_delta {max_delta}, or jump from the last action of action_history"
        raise refuse(Code.VALIDATION_FAILED, "/committed_actions", reason)
    reaching = asked.reaching(low, high)
    if reaching is None:
        reason = "from the last action of action_history the limits are out of reach in one control step; widen either"
        raise refuse(Code.VALIDATION_FAILED, "/limits/max_delta" if max_delta else "/limits/max_start_jump", reason)
    return reaching


def _largest_change(given: list[float], spec: ActionSpec, pointer: str) -> np.ndarray:
    names = ", ".join(spec.names)
    if not given:
        return np.full(len(spec.names), np.inf)
    if len(given) != len(spec.names):
        reason = f"given {len(given)} values; wanted {len(spec.names)}, one for each of {names}"
        raise refuse(Code.VALIDATION_FAILED, pointer, reason)
    for index, most in enumerate(given):
        if most < 0:
            reason = f"given {most:g} for {spec.names[index]}; wanted 0 or more"
            raise refuse(Code.VALIDATION_FAILED, f"{pointer}/{index}", reason)
    return np.asarray(given)


def _committed(
    given: np.ndarray | None, spec: ActionSpec, *, low: np.ndarray, high: np.ndarray, steps: int
) -> np.ndarray:
    if given is None:
        return np.zeros((0, len(spec.names)))
    if given.ndim != 2 or given.shape[1] != len(spec.names) or not 1 <= len(given) <= steps:
        wanted = f"wanted 1 to {steps} control steps x ({', '.join(spec.names)}), as long as the plan at most"
        raise refuse(Code.VALIDATION_FAILED, "/committed_actions", f"given shape {list(given.shape)}; {wanted}")
    slack = ROUNDING * (np.asarray(spec.high) - np.asarray(spec.low))
    if (given < low - slack).any() or (given > high + slack).any():
        wanted = f"wanted within {low.tolist()} to {high.tolist()}"
        raise refuse(Code.VALIDATION_FAILED, "/committed_actions", f"holds an action outside the limits; {wanted}")
    return given.astype(np.float64).clip(low, high)
