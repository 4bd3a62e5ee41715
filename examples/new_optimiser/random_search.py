"""Random search: uniform samples within the bounds, of which the best is kept. A template: copy it, and improve on it.

Brooks 1958, "A discussion of random methods for seeking maxima", Operations Research 6(2). It gets near an optimum and
never settles on it, so it is held to the laws on safety and not to those on accuracy.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from planner.sampling import best_of, finite_or_worst, first_mean
from planner.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class RandomSearchState:
    """State of one robot's search: the four values that the planning loop reads, since this method needs no more."""

    best: Float[Tensor, "k v"]
    """Best candidate so far; the start of the search before any was scored."""
    best_cost: float
    std: Float[Tensor, "k v"]
    """Standard deviation of the candidates: constant, since each iteration samples the whole box."""
    converged: bool = False
    """Always False: another sample may be better."""


@dataclass(frozen=True, kw_only=True)
class RandomSearch:
    """The method and its settings; the state of a search is a `RandomSearchState`."""

    space: SearchSpace
    candidates: int = 128
    iterations: int = 6

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise ValueError(f"candidates={self.candidates} must be at least 2: the best so far and one more")
        if self.iterations < 1:
            raise ValueError(f"iterations={self.iterations} must be at least 1")

    def start(self, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> RandomSearchState:
        """Begin at the warm start, or in the middle of the bounds. Raises ValueError as `first_mean`."""
        best = first_mean(self.space, horizon, warm_start)
        std = ((self.space.high - self.space.low) / 12**0.5).expand_as(best)
        return RandomSearchState(best=best, best_cost=float("inf"), std=std)

    def ask(self, search: RandomSearchState, generator: Generator) -> Float[Tensor, "s k v"]:
        """The best so far, and uniform samples within the bounds."""
        shape = (self.candidates - 1, *search.best.shape)
        # Drawn where the generator lives, so that a seed means the same plan on every device.
        share = torch.rand(shape, generator=generator, device=generator.device).to(search.best)
        samples = self.space.low + (self.space.high - self.space.low) * share
        return self.space.clamp(torch.cat([search.best[None], samples]))  # rounding may lead beyond a bound

    def tell(
        self, search: RandomSearchState, candidates: Float[Tensor, "s k v"], costs: Float[Tensor, " s"]
    ) -> RandomSearchState:
        """Keep the best; a cost that is not finite never wins."""
        best, best_cost = best_of(search, candidates, finite_or_worst(costs))
        return RandomSearchState(best=best, best_cost=best_cost, std=search.std)
