"""Several goals in order. The active goal changes between plans, never within one.

Pure functions: the number of goals reached goes in and comes out, and the caller remembers it between plans. A plan's
cost is that of the active goal alone, so every cost works with sequences, and the costs within one plan are comparable.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planner.protocols import Distance


@dataclass(frozen=True)
class GoalSequence:
    """Goals m of each robot, in order, and the distance at which each counts as reached."""

    goals: Float[Tensor, "b m n d"]
    distance: Distance
    tolerance: Float[Tensor, "b m"]
    """Distance at which a goal counts as reached, in the unit of `distance`; 0 is below the accuracy of any model."""

    def __post_init__(self) -> None:
        if not bool((self.tolerance >= 0).all()):
            raise ValueError(f"tolerance={self.tolerance.tolist()} must not be negative")

    def reached(self, latent: Float[Tensor, "b n d"], before: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Number of goals reached, given the number before: one more, up to m, when the active goal is near.

        A goal that was passed while it was not active does not count: order matters.
        """
        tolerance = self.tolerance.gather(1, self.active_index(before)[:, None])[:, 0]
        near = self.distance(latent[:, None, None], self.active(before))[:, 0, 0] <= tolerance
        return (before + near.to(before)).clamp(max=self.goals.shape[1])

    def active(self, reached: Int[Tensor, " b"]) -> Float[Tensor, "b n d"]:
        """First goal that is not reached; the last one when all are, since the robot stays there."""
        index = self.active_index(reached)
        return self.goals[torch.arange(len(index), device=index.device), index]

    def active_index(self, reached: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Index of the active goal."""
        return reached.clamp(max=self.goals.shape[1] - 1)
