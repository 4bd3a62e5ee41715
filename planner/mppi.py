"""Model predictive path integral control (Williams et al. 2017, "Information theoretic MPC", ICRA).

The mean moves to the candidates' average, weighted by exp(-cost / temperature). Departures: costs are put in units of
their own standard deviation, so that a temperature means the same for every cost function; the standard deviation
of samples is refitted with the same weights, down to a floor, instead of being fixed; the plan is the best candidate.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from planner.sampling import GaussianSearch, begin, best_of, check_spread, finite_or_worst, normal
from planner.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class MPPI:
    """The method and its settings; the state of a search is a `GaussianSearch`."""

    space: SearchSpace
    candidates: int = 128
    iterations: int = 6
    std: float = 0.7
    """Standard deviation of the first samples, unitless."""
    std_floor: float = 0.05
    temperature: float = 0.2
    """Temperature of the weights, in standard deviations of the costs; a lower one favours fewer, better candidates."""

    def __post_init__(self) -> None:
        if self.candidates < 3:
            raise ValueError(f"candidates={self.candidates} must be at least 3: the mean, the best and one more")
        check_spread(self.iterations, self.std, self.std_floor)
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} must be above 0")

    def start(self, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> GaussianSearch:
        """Begin around the warm start, or in the middle of the bounds."""
        return begin(self.space, horizon, warm_start, self.std)

    def ask(self, search: GaussianSearch, generator: Generator) -> Float[Tensor, "s k v"]:
        """The mean, the best so far, and normal samples around the mean."""
        noise = normal(self.candidates - 2, search.mean, generator)
        known = torch.stack([search.mean, search.best])
        return self.space.clamp(torch.cat([known, search.mean + search.std * noise]))

    def tell(
        self, search: GaussianSearch, candidates: Float[Tensor, "s k v"], costs: Float[Tensor, " s"]
    ) -> GaussianSearch:
        """Move to the weighted average, and keep the best."""
        costs = finite_or_worst(costs)
        finite = costs.isfinite()
        if not bool(finite.any()):
            return search
        weights = self.weights(costs[finite])[:, None, None]
        scored = candidates[finite]
        mean = (weights * scored).sum(0)
        std = (weights * (scored - mean).square()).sum(0).sqrt().clamp_min(self.std_floor)
        best, best_cost = best_of(search, candidates, costs)
        converged = bool((std <= self.std_floor).all())
        return GaussianSearch(mean=mean, std=std, best=best, best_cost=best_cost, converged=converged)

    def weights(self, costs: Float[Tensor, " s"]) -> Float[Tensor, " s"]:
        """Weights of the candidates, which add up to 1.

        Equal costs weigh the same; a cost one standard deviation higher weighs exp(1/temperature) times less.
        """
        spread = costs.std(correction=0).clamp_min(torch.finfo(costs.dtype).tiny)
        return torch.softmax((costs.min() - costs) / spread / self.temperature, dim=0)
