"""The same few variables for each model step: one action held, or one action for each control step."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planner.warm_start import shift


@dataclass(frozen=True)
class PerStep:
    """Variables v of one model step, bounded by `low` and `high`, and the action block a that they stand for."""

    low: Float[Tensor, " v"]
    high: Float[Tensor, " v"]
    repeat: int
    """How many times the variables are repeated to fill one model step."""

    def rows(self, horizon: int) -> int:
        """One a model step."""
        return horizon

    def decode(self, variables: Float[Tensor, "*b v"]) -> Float[Tensor, "*b a"]:
        """The action blocks that the variables stand for."""
        return torch.cat([variables] * self.repeat, dim=-1)

    def encode(self, actions: Float[Tensor, "h a"]) -> Float[Tensor, "h v"]:
        """The mean over what is repeated, within bounds."""
        return self.clamp(actions.unflatten(-1, (self.repeat, -1)).mean(-2))

    def clamp(self, variables: Float[Tensor, "*b v"]) -> Float[Tensor, "*b v"]:
        """The nearest variables within bounds."""
        return torch.minimum(torch.maximum(variables, self.low), self.high)

    def shift(self, variables: Float[Tensor, "h v"], executed_steps: int) -> Float[Tensor, "h v"]:
        """Drop the model steps that were executed and repeat the last one."""
        return shift(variables, executed_steps)
