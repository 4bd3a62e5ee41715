"""Predictive sampling (Howell et al. 2022, arXiv:2212.00541): try variations of the best so far, keep the best.

The simplest method that there is, and the only one here whose spread never changes: good with few candidates, a warm
start and a search space of few knots; it refines slowly.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from planner.optimiser import Search
from planner.sampling import begin, best_of, check_spread, finite_or_worst
from planner.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class PredictiveSampling:
    """The method and its settings; how a search stands is in `Search`."""

    space: SearchSpace
    candidates: int = 128
    iterations: int = 6
    std: float = 0.7
    """Standard deviation of every sample, unitless."""

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise ValueError(f"candidates={self.candidates} must be at least 2: the best so far and one more")
        check_spread(self.iterations, self.std, self.std)

    def start(self, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> Search:
        """Begin around the warm start, or in the middle of the bounds."""
        return begin(self.space, horizon, warm_start, self.std)

    def ask(self, search: Search, generator: Generator) -> Float[Tensor, "s k v"]:
        """The best so far, and normal samples around it."""
        shape = (self.candidates - 1, *search.best.shape)
        noise = torch.randn(shape, generator=generator, device=generator.device).to(search.best)
        return self.space.clamp(torch.cat([search.best[None], search.best + search.std * noise]))

    def tell(self, search: Search, candidates: Float[Tensor, "s k v"], costs: Float[Tensor, " s"]) -> Search:
        """Keep the best."""
        best, best_cost = best_of(search, candidates, finite_or_worst(costs))
        return Search(mean=best, std=search.std, best=best, best_cost=best_cost)
