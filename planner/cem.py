"""The cross-entropy method (Rubinstein 1999), with what a robot needs: bounds, a floor under the spread, the best kept.

Each iteration samples candidates around a mean, scores them, and refits mean and standard deviation to the elites. The
first candidate is always the mean itself and the second the best so far, so neither is ever lost to chance.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from planner.optimiser import Search
from planner.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class CEM:
    """The method and its settings; how a search stands is in `Search`."""

    space: SearchSpace
    candidates: int = 128
    elites: int = 16
    iterations: int = 6
    std: float = 0.7
    """Standard deviation of the first samples, unitless."""
    std_floor: float = 0.05
    """Sampling never gets narrower than this, so a search can still move when its mean was wrong."""

    def __post_init__(self) -> None:
        if not 2 <= self.elites < self.candidates:
            raise ValueError(f"elites={self.elites} must be at least 2 and fewer than candidates={self.candidates}")
        if self.iterations < 1:
            raise ValueError(f"iterations={self.iterations} must be at least 1")
        if not 0 < self.std_floor <= self.std:
            raise ValueError(f"std={self.std} must be at least std_floor={self.std_floor}, and both above 0")

    def start(self, horizon: int, warm_start: Float[Tensor, "h v"] | None) -> Search:
        """Begin around the warm start, or in the middle of the bounds."""
        shape = (horizon, len(self.space.low))
        if warm_start is None:
            mean = ((self.space.low + self.space.high) / 2).expand(shape)
        elif tuple(warm_start.shape) != shape:
            raise ValueError(
                f"warm start has shape {tuple(warm_start.shape)}; wanted {shape} (horizon, search variables)"
            )
        elif not bool(warm_start.isfinite().all()):
            raise ValueError("warm start is not finite; begin without one")
        else:
            mean = self.space.clamp(warm_start)
        return Search(mean=mean, std=torch.full_like(mean, self.std), best=mean, best_cost=float("inf"))

    def ask(self, search: Search, generator: Generator) -> Float[Tensor, "s h v"]:
        """The mean, the best so far, and normal samples around the mean."""
        # Drawn where the generator lives, so that a seed means the same plan on every device.
        noise = torch.randn((self.candidates, *search.mean.shape), generator=generator).to(search.mean.device)
        noise[0] = 0  # the mean itself
        candidates = search.mean + search.std * noise
        if search.best_cost < float("inf"):
            candidates[1] = search.best
        return self.space.clamp(candidates)

    def tell(self, search: Search, candidates: Float[Tensor, "s h v"], costs: Float[Tensor, " s"]) -> Search:
        """Refit to the elites, and keep the best."""
        costs = torch.where(costs.isfinite(), costs, torch.inf)
        order = costs.argsort(stable=True)
        elites = candidates[order[: self.elites][costs[order[: self.elites]].isfinite()]]
        if len(elites) == 0:
            return search
        std = elites.std(dim=0, correction=0).clamp_min(self.std_floor)
        cost = float(costs[order[0]])
        better = cost < search.best_cost
        return Search(
            mean=elites.mean(dim=0),
            std=std,
            best=elites[0] if better else search.best,
            best_cost=min(cost, search.best_cost),
            converged=bool((std <= self.std_floor).all()),
        )
