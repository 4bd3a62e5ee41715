"""Several goals in order. Which one a robot is after changes between plans, never within one.

Pure functions: how many goals a robot has reached goes in and comes out, and whoever plans again remembers it. A plan's
cost is that of the one goal that is active, so every cost works with sequences, and costs of one plan stay comparable.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planner.protocols import Distance


@dataclass(frozen=True)
class GoalSequence:
    """Goals m of each robot, in order, and how near counts as reached."""

    goals: Float[Tensor, "b m n d"]
    distance: Distance
    tolerance: Float[Tensor, "b m"]
    """In the unit of `distance`. The distance that is reached in practice is the model's accuracy, not 0."""

    def __post_init__(self) -> None:
        if not bool((self.tolerance >= 0).all()):
            raise ValueError(f"tolerance={self.tolerance.tolist()} must not be negative")

    def reached(self, latent: Float[Tensor, "b n d"], before: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """How many goals are reached now, given how many were: one more when the active one is near. Never fewer, at
        most m. A goal that was passed while it was not active does not count: order matters."""
        tolerance = self.tolerance.gather(1, self.active_index(before)[:, None])[:, 0]
        near = self.distance(latent[:, None, None], self.active(before))[:, 0, 0] <= tolerance
        return (before + near.to(before)).clamp(max=self.goals.shape[1])

    def active(self, reached: Int[Tensor, " b"]) -> Float[Tensor, "b n d"]:
        """The first goal that is not reached; the last one when all are, since that is where to stay."""
        index = self.active_index(reached)
        return self.goals[torch.arange(len(index), device=index.device), index]

    def active_index(self, reached: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Which goal that is."""
        return reached.clamp(max=self.goals.shape[1] - 1)
