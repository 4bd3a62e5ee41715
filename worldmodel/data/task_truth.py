"""The task's own quantities, recorded beside every frame of the episodes that the heads learn from."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_SPARED = 0.8
"""Tolerances within which a task counts as done in training: a reading of a latent is not exact."""


def apart(a: Float[Tensor, "*b f"], b: Float[Tensor, "*#b f"], sizes: list[int]) -> Float[Tensor, "*b t"]:
    """How far two sets of quantities in tolerances are from each other, for each tolerance; up to 1 is near enough."""
    return torch.stack([part.norm(dim=-1) for part in (a - b).split(sizes, dim=-1)], dim=-1)


@dataclass(frozen=True)
class TaskTruth:
    """The task's own quantities in every frame."""

    quantities: Float[Tensor, "rows f"]
    """Each divided by its tolerance."""
    sizes: list[int]
    """Number of quantities, in order, that share each tolerance."""

    def reached(self, rows: Int[Tensor, " b"], goals: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Whether the task is done in these rows, if the goals are what those rows show; with a little to spare."""
        return (apart(self.quantities[rows], self.quantities[goals], self.sizes) < _SPARED).all(-1)
