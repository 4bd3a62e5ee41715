"""What an optimiser searches: a few variables for each model step, and how they become actions.

Fewer dimensions beat more samples: `constant` holds one action over a model step's control steps, `free` chooses each
control step's action. Both are linear, so a plan can be read back into variables for a warm start.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

SearchSpaceName = Literal["constant", "free"]


@dataclass(frozen=True)
class SearchSpace:
    """Variables v of one model step, bounded by `low` and `high`, and the action block a that they stand for."""

    low: Float[Tensor, " v"]
    high: Float[Tensor, " v"]
    repeat: int
    """How many times the variables are repeated to fill one model step."""

    def decode(self, variables: Float[Tensor, "*b v"]) -> Float[Tensor, "*b a"]:
        """The action blocks that the variables stand for."""
        return torch.cat([variables] * self.repeat, dim=-1)

    def clamp(self, variables: Float[Tensor, "*b v"]) -> Float[Tensor, "*b v"]:
        """The nearest variables within bounds."""
        return torch.minimum(torch.maximum(variables, self.low), self.high)


def make_search_space(
    name: SearchSpaceName, *, low: Float[Tensor, " x"], high: Float[Tensor, " x"], control_steps: int
) -> SearchSpace:
    """`low` and `high` bound one control step's action, unitless, within [-1, 1]."""
    if not bool(((low >= -1) & (high <= 1) & (low <= high)).all()):
        raise ValueError(
            f"action limits must satisfy -1 <= low <= high <= 1; given low={low.tolist()}, high={high.tolist()}"
        )
    if name == "constant":
        return SearchSpace(low, high, control_steps)
    return SearchSpace(low.repeat(control_steps), high.repeat(control_steps), 1)
