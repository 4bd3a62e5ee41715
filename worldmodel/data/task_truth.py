"""Quantities that a task is about, recorded with every frame of the training episodes."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_SPARED = 0.8
"""Number of tolerances within which a task counts as done in training; below 1, since latents are read inexactly."""


def apart(a: Float[Tensor, "*b f"], b: Float[Tensor, "*#b f"], sizes: list[int]) -> Float[Tensor, "*b t"]:
    """Distance between two sets of quantities, in tolerances, for each tolerance; up to 1 is near enough."""
    return torch.stack([part.norm(dim=-1) for part in (a - b).split(sizes, dim=-1)], dim=-1)


@dataclass(frozen=True)
class TaskTruth:
    """Quantities that the task is about, in every frame."""

    quantities: Float[Tensor, "rows f"]
    """Each divided by its tolerance."""
    sizes: list[int]
    """Number of quantities, in order, that share each tolerance."""

    def reached(self, rows: Int[Tensor, " b"], goals: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """True where the task is done, with a margin, in each of `rows` when the frame of `goals` is the goal."""
        return (apart(self.quantities[rows], self.quantities[goals], self.sizes) < _SPARED).all(-1)
