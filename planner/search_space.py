"""Search spaces of an optimiser: a few variables, and how they become actions.

Fewer dimensions beat more samples. `constant` holds one action over a model step's control steps, `free` chooses each
control step's action, and the splines put a few knots over the whole horizon.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from planner.names import SearchSpaceName
from planner.spline import Spline, spline_weights


@runtime_checkable
class SearchSpace(Protocol):
    """Variables in rows k of v, each row bounded by the same `low` and `high`."""

    @property
    def low(self) -> Float[Tensor, " v"]:
        """Least value of each variable of a row."""
        ...

    @property
    def high(self) -> Float[Tensor, " v"]:
        """Greatest value of each variable of a row."""
        ...

    def rows(self, horizon: int) -> int:
        """Number of rows for `horizon` model steps. Raises ValueError when this space was made for another horizon."""
        ...

    def decode(self, variables: Float[Tensor, "*b k v"]) -> Float[Tensor, "*b h a"]:
        """Action blocks of the variables, within bounds when the variables are."""
        ...

    def encode(self, actions: Float[Tensor, "h a"]) -> Float[Tensor, "k v"]:
        """Variables within bounds whose actions are nearest (least squares) to these."""
        ...

    def clamp(self, variables: Float[Tensor, "*b k v"]) -> Float[Tensor, "*b k v"]:
        """The nearest variables within bounds."""
        ...

    def shift(self, variables: Float[Tensor, "k v"], executed_steps: int) -> Float[Tensor, "k v"]:
        """Variables of the rest of a plan after `executed_steps` model steps, for a warm start."""
        ...


@dataclass(frozen=True)
class PerStep:
    """Search space with the variables v of each model step, repeated to fill its action block a."""

    low: Float[Tensor, " v"]
    high: Float[Tensor, " v"]
    repeat: int
    """Number of times that the variables are repeated to fill one model step."""

    def rows(self, horizon: int) -> int:
        """One row for each model step."""
        return horizon

    def decode(self, variables: Float[Tensor, "*b v"]) -> Float[Tensor, "*b a"]:
        """Action blocks of the variables."""
        return torch.cat([variables] * self.repeat, dim=-1)

    def encode(self, actions: Float[Tensor, "h a"]) -> Float[Tensor, "h v"]:
        """Mean over the repetitions, within bounds."""
        return self.clamp(actions.unflatten(-1, (self.repeat, -1)).mean(-2))

    def clamp(self, variables: Float[Tensor, "*b v"]) -> Float[Tensor, "*b v"]:
        """The nearest variables within bounds."""
        return torch.minimum(torch.maximum(variables, self.low), self.high)

    def shift(self, variables: Float[Tensor, "h v"], executed_steps: int) -> Float[Tensor, "h v"]:
        """Drop the executed model steps and repeat the last one to fill up; the last one is never dropped.

        Raises ValueError when `executed_steps` is negative.
        """
        if executed_steps < 0:
            raise ValueError(f"executed_steps={executed_steps} must not be negative")
        kept = variables[min(executed_steps, len(variables) - 1) :]
        return torch.cat([kept, kept[-1:].expand(len(variables) - len(kept), -1)])


def make_search_space(
    name: SearchSpaceName,
    *,
    low: Float[Tensor, " x"],
    high: Float[Tensor, " x"],
    control_steps: int,
    horizon: int = 1,
    knots: int = 4,
) -> SearchSpace:
    """Search space of this name for one control step's unitless limits `low` and `high`, within [-1, 1].

    Only splines read `horizon` and `knots`; a horizon of fewer control steps than `knots` has one knot for each.
    Raises ValueError for limits that are not -1 <= low <= high <= 1.
    """
    if not bool(((low >= -1) & (high <= 1) & (low <= high)).all()):
        raise ValueError(
            f"action limits must satisfy -1 <= low <= high <= 1; given low={low.tolist()}, high={high.tolist()}"
        )
    steps = horizon * control_steps
    match name:
        case "constant":
            return PerStep(low, high, control_steps)
        case "free":
            return PerStep(low.repeat(control_steps), high.repeat(control_steps), 1)
        case "linear_spline":
            weights = spline_weights("linear", steps=steps, knots=min(knots, steps))
        case "cubic_spline":
            weights = spline_weights("cubic", steps=steps, knots=min(knots, steps))
    return Spline(low, high, weights.to(low), control_steps)
