"""Predictive sampling (Howell et al. 2022, arXiv:2212.00541): try variations of the best so far, keep the best.

The standard deviation of the samples never changes. The method is good with few candidates, a warm start and a search
space of few knots; it refines slowly.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from planner.sampling import best_of, check_spread, finite_or_worst, first_mean, normal
from planner.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class VariationSearch:
    """State of a search that varies the best candidate so far."""

    best: Float[Tensor, "k v"]
    """Best candidate so far; the start of the search before any was scored."""
    best_cost: float
    std: Float[Tensor, "k v"]

    @property
    def converged(self) -> bool:
        """Always False: another sample may be better."""
        return False


@dataclass(frozen=True, kw_only=True)
class PredictiveSampling:
    """The method and its settings; the state of a search is a `VariationSearch`."""

    space: SearchSpace
    candidates: int = 128
    iterations: int = 6
    std: float = 0.7
    """Standard deviation of every sample, unitless."""

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise ValueError(f"candidates={self.candidates} must be at least 2: the best so far and one more")
        check_spread(self.iterations, self.std, self.std)

    def start(self, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> VariationSearch:
        """Begin around the warm start, or in the middle of the bounds."""
        best = first_mean(self.space, horizon, warm_start)
        return VariationSearch(best=best, best_cost=float("inf"), std=torch.full_like(best, self.std))

    def ask(self, search: VariationSearch, generator: Generator) -> Float[Tensor, "s k v"]:
        """The best so far, and normal samples around it."""
        noise = normal(self.candidates - 1, search.best, generator)
        return self.space.clamp(torch.cat([search.best[None], search.best + search.std * noise]))

    def tell(
        self, search: VariationSearch, candidates: Float[Tensor, "s k v"], costs: Float[Tensor, " s"]
    ) -> VariationSearch:
        """Keep the best."""
        best, best_cost = best_of(search, candidates, finite_or_worst(costs))
        return VariationSearch(best=best, best_cost=best_cost, std=search.std)
