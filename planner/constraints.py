"""Constraints on every candidate: how fast actions may change, and which ones are committed.

`Constrained` wraps a search space, so that every optimiser obeys the constraints without knowing of them. Where
variables ask for a faster change than allowed, differences are clipped forward in time, from the action executed last.
Clipping moves an action towards the one before it, so actions within bounds stay within them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planner.search_space import SearchSpace

ROUNDING = 1e-5
"""Largest contradiction, unitless, between constraints or between constraints and limits that is not refused.

Constraints arrive converted from physical units and rounded to 32-bit floats. The server's own tolerance is 1e-6 of an
action's range (server/safety.py, server/engine/motion.py): it lets a committed change exceed its limit by that much and
tightens the limits given here by as much again. A range is 2 wide here, so the two add up to 4e-6, and 32-bit rounding
adds less than 1e-6. This value is above their sum, so that what the server accepts is never refused here."""


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """Constraints on the control steps of one plan, unitless."""

    max_delta: Float[Tensor, " x"]
    """Largest change of each action from one control step to the next; infinite where any is allowed."""
    committed: Float[Tensor, "c x"]
    """Actions of the plan's first control steps, which the robot executes in any case; may be none."""
    max_start: Float[Tensor, " x"] | None = None
    """Largest change to the first action that is not committed, where tighter than `max_delta`; None for no limit."""
    last: Float[Tensor, " x"] | None = None
    """Action executed just before the plan; None when unknown, which leaves the first change free."""

    def __post_init__(self) -> None:
        if not bool((self.max_delta >= 0).all()):
            raise ValueError(f"max_delta={self.max_delta.tolist()} must not be negative")
        if self.max_start is not None and not bool((self.max_start >= 0).all()):
            raise ValueError(f"max_start={self.max_start.tolist()} must not be negative")
        if not bool(self.committed.isfinite().all()):
            raise ValueError("committed actions must be finite")
        before = self.committed[:0] if self.last is None else self.last[None]
        changes = torch.cat([before, self.committed]).diff(dim=0).abs()
        if bool((changes > self.max_delta + ROUNDING).any()):
            given = changes.amax(0).tolist()
            raise ValueError(f"committed actions change by up to {given}; max_delta={self.max_delta.tolist()}")

    def check_within(self, low: Float[Tensor, " x"], high: Float[Tensor, " x"]) -> None:
        """Check that some actions obey both these constraints and the bounds. Raises ValueError."""
        if bool(((self.committed < low - ROUNDING) | (self.committed > high + ROUNDING)).any()):
            raise ValueError(f"committed actions leave the limits low={low.tolist()}, high={high.tolist()}")
        if self.last is None or len(self.committed) > 0:
            return
        reach = self._start + ROUNDING
        if bool(((self.last - reach > high) | (self.last + reach < low)).any()):
            raise ValueError(
                f"from last={self.last.tolist()} a change of {self._start.tolist()} does not reach the "
                f"limits low={low.tolist()}, high={high.tolist()}"
            )

    def apply(self, actions: Float[Tensor, "*b h a"]) -> Float[Tensor, "*b h a"]:
        """Clip each action to within the largest change from its predecessor, front to back.

        Raises ValueError when more actions are committed than a plan has.
        """
        wanted = actions.unflatten(-1, (-1, len(self.max_delta)))  # [*b h control_steps x]
        steps = wanted.flatten(-3, -2).unbind(-2)
        if len(self.committed) > len(steps):
            raise ValueError(f"{len(self.committed)} committed actions are more than the {len(steps)} of a plan")
        obeyed = [each.expand_as(step) for each, step in zip(self.committed, steps, strict=False)]
        change = self._start
        for step in steps[len(obeyed) :]:
            before = obeyed[-1] if obeyed else self.last
            obeyed.append(step if before is None else step.clamp(before - change, before + change))
            change = self.max_delta
        return torch.stack(obeyed, dim=-2).reshape(actions.shape)

    @property
    def _start(self) -> Float[Tensor, " x"]:
        """Largest change to the first action that is not committed."""
        return self.max_delta if self.max_start is None else torch.minimum(self.max_delta, self.max_start)


@dataclass(frozen=True)
class Constrained:
    """A search space whose actions obey constraints."""

    space: SearchSpace
    constraints: Constraints

    @property
    def low(self) -> Float[Tensor, " v"]:
        """Least value of each variable of a row."""
        return self.space.low

    @property
    def high(self) -> Float[Tensor, " v"]:
        """Greatest value of each variable of a row."""
        return self.space.high

    def rows(self, horizon: int) -> int:
        """Number of rows for `horizon` model steps; the constraints change nothing."""
        return self.space.rows(horizon)

    def decode(self, variables: Float[Tensor, "*b k v"]) -> Float[Tensor, "*b h a"]:
        """Action blocks of the variables, clipped to the constraints."""
        return self.constraints.apply(self.space.decode(variables))

    def encode(self, actions: Float[Tensor, "h a"]) -> Float[Tensor, "k v"]:
        """Variables whose actions are nearest to these, regardless of the constraints, which `decode` applies."""
        return self.space.encode(actions)

    def clamp(self, variables: Float[Tensor, "*b k v"]) -> Float[Tensor, "*b k v"]:
        """The nearest variables within bounds."""
        return self.space.clamp(variables)

    def shift(self, variables: Float[Tensor, "k v"], executed_steps: int) -> Float[Tensor, "k v"]:
        """Variables of the rest of a plan, regardless of the constraints: the next plan brings its own."""
        return self.space.shift(variables, executed_steps)
