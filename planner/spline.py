"""Splines: a few knots over the whole horizon, and each control step's action on the curve through them.

As in MuJoCo MPC (Howell et al. 2022, arXiv:2212.00541). The knots are evenly spaced, the first at the first control
step and the last at the last. A cubic curve can swing beyond its knots, so its actions are clamped to the bounds.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Interpolation = Literal["linear", "cubic"]

HELD_TRUST = 0.1
"""Weight, in a shift, of control steps beyond the end of the old plan, where holding its last action is a guess."""


@dataclass(frozen=True)
class Spline:
    """Search space of knots k, each an action x, that are interpolated to all control steps c of a horizon."""

    low: Float[Tensor, " x"]
    high: Float[Tensor, " x"]
    weights: Float[Tensor, "c k"]
    """Weight of each knot in the action of each control step; each row adds up to 1."""
    control_steps: int
    """Number of control steps in one model step."""

    def rows(self, horizon: int) -> int:
        """Number of knots. Raises ValueError for another horizon than the knots were spread over."""
        if horizon * self.control_steps != len(self.weights):
            made = len(self.weights) // self.control_steps
            raise ValueError(f"horizon={horizon}; these knots are spread over {made} model steps")
        return self.weights.shape[1]

    def decode(self, variables: Float[Tensor, "*b k x"]) -> Float[Tensor, "*b h a"]:
        """Action blocks on the curve through the knots."""
        return self.clamp(self._curve(variables)).unflatten(-2, (-1, self.control_steps)).flatten(-2)

    def encode(self, actions: Float[Tensor, "h a"]) -> Float[Tensor, "k x"]:
        """Knots whose curve is nearest (least squares) to these actions, within bounds."""
        return self.clamp(_least_squares(self.weights, actions.reshape(len(self.weights), -1)))

    def clamp(self, variables: Float[Tensor, "*b x"]) -> Float[Tensor, "*b x"]:
        """The nearest knots within bounds."""
        return torch.minimum(torch.maximum(variables, self.low), self.high)

    def shift(self, variables: Float[Tensor, "k x"], executed_steps: int) -> Float[Tensor, "k x"]:
        """Knots whose curve is nearest (least squares) to the rest of the old one, with its last action held."""
        if executed_steps < 0:
            raise ValueError(f"executed_steps={executed_steps} must not be negative")
        steps = torch.arange(len(self.weights), device=variables.device) + executed_steps * self.control_steps
        left = self._curve(variables)[steps.clamp(max=len(self.weights) - 1)]  # [c x]
        trust = torch.where(steps < len(self.weights), 1.0, HELD_TRUST)[:, None]
        return self.clamp(_least_squares(trust * self.weights, trust * left))

    def _curve(self, variables: Float[Tensor, "*b k x"]) -> Float[Tensor, "*b c x"]:
        # Knot by knot rather than as a matrix product, which rounds differently for other numbers of candidates.
        parts = [w[:, None] * knot[..., None, :] for w, knot in zip(self.weights.T, variables.unbind(-2), strict=True)]
        return torch.stack(parts).sum(0)


def spline_weights(interpolation: Interpolation, *, steps: int, knots: int) -> Float[Tensor, "c k"]:
    """Weight of each of `knots` knots in the action of each of `steps` control steps.

    `cubic` is a cubic Hermite spline whose slopes are finite differences of the neighbouring knots (one-sided at the
    ends). Raises ValueError when there are more knots than control steps.
    """
    if not 1 <= knots <= steps:
        raise ValueError(f"knots={knots} must be at least 1 and at most the {steps} control steps of the horizon")
    position = torch.linspace(0, knots - 1, steps)
    if interpolation == "linear" or knots == 1:
        return (1 - (position[:, None] - torch.arange(knots)).abs()).clamp_min(0)
    before = position.floor().long().clamp(max=knots - 2)
    f = (position - before)[:, None]
    knot = torch.eye(knots)
    (slope,) = torch.gradient(knot, dim=0)
    return (
        (2 * f**3 - 3 * f**2 + 1) * knot[before]
        + (f**3 - 2 * f**2 + f) * slope[before]
        + (3 * f**2 - 2 * f**3) * knot[before + 1]
        + (f**3 - f**2) * slope[before + 1]
    )


def _least_squares(weights: Float[Tensor, "c k"], values: Float[Tensor, "c x"]) -> Float[Tensor, "k x"]:
    """Knots whose curve is nearest to the values.

    The weights have full rank. PyTorch's default driver reads uninitialised memory (pytorch issue 187411), so the same
    plan would differ from run to run.
    """
    return torch.linalg.lstsq(weights, values, driver="gels").solution
