"""iCEM: the cross-entropy method with fewer, better samples (Pinneri et al. 2020, arXiv:2008.06389).

Noise is coloured along the horizon, the population shrinks with each iteration, the best elites are candidates again,
and mean and standard deviation move with momentum. Departures: the mean is a candidate in every iteration, not only in
the last; elites pass from one plan to the next only through the warm start; the standard deviation has a floor.
"""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from planner.coloured_noise import coloured_noise
from planner.sampling import GaussianSearch, begin, best_of, check_elites, check_spread, finite_or_worst
from planner.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class ICEMSearch(GaussianSearch):
    """State of a search whose population shrinks and whose best elites are candidates again."""

    iteration: int
    """Number of iterations done; the population shrinks with it."""
    kept: Float[Tensor, "e k v"]
    """Elites that are candidates again, best first; none before any candidate was scored."""


@dataclass(frozen=True, kw_only=True)
class ICEM:
    """The method and its settings; the state of a search is an `ICEMSearch`."""

    space: SearchSpace
    candidates: int = 128
    """Number of candidates in the first iteration."""
    elites: int = 16
    iterations: int = 6
    std: float = 0.7
    """Standard deviation of the first samples, unitless."""
    std_floor: float = 0.05
    exponent: float = 2.0
    """Exponent of the coloured noise; the paper takes 0.25 to 4, depending on the task."""
    decay: float = 1.25
    """Factor by which the number of candidates falls each iteration, down to two for each elite."""
    kept_share: float = 0.3
    """Share of the elites that are candidates again; the best one always is."""
    momentum: float = 0.1
    """Share of the old mean and standard deviation in the new ones."""

    def __post_init__(self) -> None:
        check_elites(self.elites, self.candidates)
        check_spread(self.iterations, self.std, self.std_floor)
        if not self.exponent >= 0:
            raise ValueError(f"exponent={self.exponent} must not be negative")
        if not self.decay >= 1:
            raise ValueError(f"decay={self.decay} must be at least 1")
        if not (0 <= self.kept_share < 1 and 0 <= self.momentum < 1):
            raise ValueError(f"kept_share={self.kept_share} and momentum={self.momentum} must be in [0, 1)")

    def start(self, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> ICEMSearch:
        """Begin around the warm start, or in the middle of the bounds."""
        first = begin(self.space, horizon, warm_start, self.std)
        return ICEMSearch(**vars(first), iteration=0, kept=first.mean.new_zeros(0, *first.mean.shape))

    def ask(self, search: ICEMSearch, generator: Generator) -> Float[Tensor, "s k v"]:
        """The mean, the kept elites (the best so far first), and coloured samples around the mean."""
        known = torch.cat([search.mean[None], search.kept])
        fresh = self._population(search.iteration) - len(known)
        noise = coloured_noise(fresh, *search.mean.shape, exponent=self.exponent, generator=generator)
        return self.space.clamp(torch.cat([known, search.mean + search.std * noise.to(search.mean)]))

    def tell(self, search: ICEMSearch, candidates: Float[Tensor, "s k v"], costs: Float[Tensor, " s"]) -> ICEMSearch:
        """Move towards the elites, and keep the best of them."""
        costs = finite_or_worst(costs)
        order = costs.argsort(stable=True)[: self.elites]
        elites = candidates[order[costs[order].isfinite()]]
        if len(elites) == 0:
            return dataclasses.replace(search, iteration=search.iteration + 1)
        fresh_std = elites.std(dim=0, correction=0)
        std = (self.momentum * search.std + (1 - self.momentum) * fresh_std).clamp_min(self.std_floor)
        best, best_cost = best_of(search, candidates, costs)
        return ICEMSearch(
            mean=self.momentum * search.mean + (1 - self.momentum) * elites.mean(dim=0),
            std=std,
            best=best,
            best_cost=best_cost,
            converged=bool((std <= self.std_floor).all()),
            iteration=search.iteration + 1,
            kept=torch.cat([best[None], elites[1 : max(1, int(self.kept_share * self.elites))]]),
        )

    def _population(self, iteration: int) -> int:
        return max(int(self.candidates * self.decay**-iteration), min(2 * self.elites, self.candidates))
