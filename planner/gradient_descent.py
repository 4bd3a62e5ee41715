"""Gradient descent through the world model: Adam (Kingma and Ba 2015, arXiv:1412.6980) from several starts at once.

Each candidate descends on its own in the search variables and is projected onto the bounds after each step. Steps
shrink to nothing over the iterations, so that the last ones settle. The first candidate begins at the warm start and
the others around it, since the cost may have many local minima far from the goal.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from planner.sampling import best_of, check_spread, finite_or_worst, first_mean, normal
from planner.search_space import SearchSpace

MEMORY = (0.9, 0.95)
"""Decay of Adam's means of gradients and of their squares. A search has tens of steps: 0.999 would never warm up."""
TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class DescentSearch:
    """State of a search whose candidates descend independently."""

    best: Float[Tensor, "k v"]
    """Best candidate so far; the start of the search before any was scored."""
    best_cost: float
    std: Float[Tensor, "k v"]
    """Standard deviation of the positions."""
    iteration: int
    """Number of iterations done; steps shrink with it."""
    positions: Float[Tensor, "s k v"] | None
    """Position of each descent; None before the starts are drawn and scored."""
    moments: Float[Tensor, "2 s k v"]
    """Running means of each candidate's gradient and of its square."""

    @property
    def converged(self) -> bool:
        """Always False: steps shrink to nothing by the last iteration, and not before."""
        return False


@dataclass(frozen=True, kw_only=True)
class GradientDescent:
    """The method and its settings; the state of a search is a `DescentSearch`."""

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

    def start(self, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> DescentSearch:
        """Begin around the warm start, or in the middle of the bounds."""
        best = first_mean(self.space, horizon, warm_start)
        return DescentSearch(
            best=best,
            best_cost=float("inf"),
            std=torch.full_like(best, self.std),
            iteration=0,
            positions=None,
            moments=best.new_zeros(2, self.candidates, *best.shape),
        )

    def ask(self, search: DescentSearch, generator: Generator) -> Float[Tensor, "s k v"]:
        """Position of each descent; in the first iteration, the start of the search and samples around it."""
        if search.positions is not None:
            return search.positions
        noise = normal(self.candidates, search.best, generator)
        noise[0] = 0  # the start of the search
        return self.space.clamp(search.best + search.std * noise)

    def follow(
        self,
        search: DescentSearch,
        candidates: Float[Tensor, "s k v"],
        costs: Float[Tensor, " s"],
        gradients: Float[Tensor, "s k v"],
    ) -> DescentSearch:
        """Move each candidate one step; one whose cost or gradient is not finite goes on from the best so far."""
        costs = finite_or_worst(costs)
        best, best_cost = best_of(search, candidates, costs)
        sound = (costs.isfinite() & gradients.isfinite().all(-1).all(-1))[:, None, None]
        gradients = torch.where(sound, gradients, 0)
        fresh = torch.stack([gradients, gradients.square()])
        memory = torch.tensor(MEMORY).to(gradients).view(2, 1, 1, 1)
        moments = torch.where(sound, memory * search.moments + (1 - memory) * fresh, 0)
        mean, square = moments / (1 - memory ** (search.iteration + 1))
        step = self.learning_rate * (1 - search.iteration / self.iterations)
        moved = self.space.clamp(candidates - step * mean / (square.sqrt() + TINY))
        positions = torch.where(sound, moved, best)
        return DescentSearch(
            best=best,
            best_cost=best_cost,
            std=positions.std(dim=0, correction=0),
            iteration=search.iteration + 1,
            positions=positions,
            moments=moments,
        )
