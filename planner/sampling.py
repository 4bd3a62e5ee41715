"""What optimisers that sample have in common: where a search begins, and what becomes of costs that are no numbers."""

import torch
from jaxtyping import Float
from torch import Tensor

from planner.optimiser import Search
from planner.search_space import SearchSpace


def begin(space: SearchSpace, horizon: int, warm_start: Float[Tensor, "k v"] | None, std: float) -> Search:
    """Around the warm start, or in the middle of the bounds. Raises ValueError for a warm start of another shape."""
    shape = (space.rows(horizon), len(space.low))
    if warm_start is None:
        mean = ((space.low + space.high) / 2).expand(shape)
    elif tuple(warm_start.shape) != shape:
        raise ValueError(f"warm start has shape {tuple(warm_start.shape)}; wanted {shape} (rows, search variables)")
    elif not bool(warm_start.isfinite().all()):
        raise ValueError("warm start is not finite; begin without one")
    else:
        mean = space.clamp(warm_start)
    return Search(mean=mean, std=torch.full_like(mean, std), best=mean, best_cost=float("inf"))


def finite_or_worst(costs: Float[Tensor, " s"]) -> Float[Tensor, " s"]:
    """Infinite where a cost is NaN or infinite of either sign: such a candidate never wins."""
    return torch.where(costs.isfinite(), costs, torch.inf)


def best_of(search: Search, candidates: Float[Tensor, "s k v"], costs: Float[Tensor, " s"]) -> tuple[Tensor, float]:
    """The best so far [k v] and its cost, these candidates included; the earlier one when equal."""
    index = int(costs.argsort(stable=True)[0])
    cost = float(costs[index])
    return (candidates[index], cost) if cost < search.best_cost else (search.best, search.best_cost)


def check_elites(elites: int, candidates: int) -> None:
    """Raises ValueError."""
    if not 2 <= elites < candidates:
        raise ValueError(f"elites={elites} must be at least 2 and fewer than candidates={candidates}")


def check_spread(iterations: int, std: float, std_floor: float) -> None:
    """Raises ValueError."""
    if iterations < 1:
        raise ValueError(f"iterations={iterations} must be at least 1")
    if not 0 < std_floor <= std:
        raise ValueError(f"std={std} must be at least std_floor={std_floor}, and both above 0")
