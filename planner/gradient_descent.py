"""Gradient descent through the world model: Adam (Kingma and Ba 2015, arXiv:1412.6980) from several starts at once.

Each candidate goes its own way downhill in the search variables and is projected onto the bounds after each step.
Steps shrink to nothing over the iterations, so that the last ones settle. The first candidate begins at the warm start,
the others around it, since a cost that is flat or folded far from the goal has many valleys.
"""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from planner.optimiser import Search
from planner.sampling import begin, best_of, check_spread, finite_or_worst
from planner.search_space import SearchSpace

MEMORY = (0.9, 0.95)
"""Of Adam's means of gradients and of their squares. A search has tens of steps: 0.999 would never warm up."""
TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class GradientDescent:
    """The method and its settings; how a search stands is in `Search`."""

    space: SearchSpace
    candidates: int = 16
    iterations: int = 20
    std: float = 0.7
    """Standard deviation of the starts around the warm start, unitless."""
    learning_rate: float = 0.2
    """First step of each variable, unitless."""

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"candidates={self.candidates} must be at least 1")
        check_spread(self.iterations, self.std, self.std)
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate} must be above 0")

    def start(self, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> Search:
        """Begin around the warm start, or in the middle of the bounds."""
        return begin(self.space, horizon, warm_start, self.std)

    def ask(self, search: Search, generator: Generator) -> Float[Tensor, "s k v"]:
        """Where each descent stands; at first, the mean and samples around it."""
        if search.kept is not None:
            return search.kept
        noise = torch.randn((self.candidates, *search.mean.shape), generator=generator, device=generator.device)
        noise[0] = 0  # the mean itself
        return self.space.clamp(search.mean + search.std * noise.to(search.mean))

    def follow(
        self,
        search: Search,
        candidates: Float[Tensor, "s k v"],
        costs: Float[Tensor, " s"],
        gradients: Float[Tensor, "s k v"],
    ) -> Search:
        """One step of each candidate; one whose cost or gradient is not finite goes on from the best so far."""
        costs = finite_or_worst(costs)
        best, best_cost = best_of(search, candidates, costs)
        sound = (costs.isfinite() & gradients.isfinite().all(-1).all(-1))[:, None, None]
        gradients = torch.where(sound, gradients, 0)
        before = torch.zeros(2, *gradients.shape).to(gradients) if search.moments is None else search.moments
        told = torch.stack([gradients, gradients.square()])
        memory = torch.tensor(MEMORY).to(gradients).view(2, 1, 1, 1)
        moments = torch.where(sound, memory * before + (1 - memory) * told, 0)
        mean, square = moments / (1 - memory ** (search.iteration + 1))
        step = self.learning_rate * (1 - search.iteration / self.iterations)
        moved = self.space.clamp(candidates - step * mean / (square.sqrt() + TINY))
        kept = torch.where(sound, moved, best)
        return dataclasses.replace(
            search,
            mean=best,
            std=kept.std(dim=0, correction=0),
            best=best,
            best_cost=best_cost,
            iteration=search.iteration + 1,
            kept=kept,
            moments=moments,
        )
