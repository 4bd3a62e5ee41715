"""The cross-entropy method (Rubinstein 1999) with bounds, a floor under the standard deviation, and the best kept.

Each iteration samples candidates around a mean, scores them, and refits mean and standard deviation to the elites. The
first candidate is always the mean itself and the second the best so far, so neither is ever lost to chance.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Generator, Tensor

from planner.sampling import GaussianSearch, begin, best_of, check_elites, check_spread, finite_or_worst, normal
from planner.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class CEM:
    """The method and its settings; the state of a search is a `GaussianSearch`."""

    space: SearchSpace
    candidates: int = 128
    elites: int = 16
    iterations: int = 6
    std: float = 0.7
    """Standard deviation of the first samples, unitless."""
    std_floor: float = 0.05
    """Least standard deviation of samples, so that a search can still move when its mean was wrong."""

    def __post_init__(self) -> None:
        check_elites(self.elites, self.candidates)
        check_spread(self.iterations, self.std, self.std_floor)

    def start(self, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> GaussianSearch:
        """Begin around the warm start, or in the middle of the bounds."""
        return begin(self.space, horizon, warm_start, self.std)

    def ask(self, search: GaussianSearch, generator: Generator) -> Float[Tensor, "s k v"]:
        """The mean, the best so far, and normal samples around the mean."""
        noise = normal(self.candidates, search.mean, generator)
        noise[0] = 0  # the mean itself
        candidates = search.mean + search.std * noise
        if search.best_cost < float("inf"):
            candidates[1] = search.best
        return self.space.clamp(candidates)

    def tell(
        self, search: GaussianSearch, candidates: Float[Tensor, "s k v"], costs: Float[Tensor, " s"]
    ) -> GaussianSearch:
        """Refit to the elites, and keep the best."""
        costs = finite_or_worst(costs)
        order = costs.argsort(stable=True)
        elites = candidates[order[: self.elites][costs[order[: self.elites]].isfinite()]]
        if len(elites) == 0:
            return search
        std = elites.std(dim=0, correction=0).clamp_min(self.std_floor)
        best, best_cost = best_of(search, candidates, costs)
        return GaussianSearch(
            mean=elites.mean(dim=0),
            std=std,
            best=best,
            best_cost=best_cost,
            converged=bool((std <= self.std_floor).all()),
        )
