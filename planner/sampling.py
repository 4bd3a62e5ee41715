"""Shared steps of the optimisers: the start of a search, normal samples, and costs that are not finite."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from planner.optimiser import Search
from planner.search_space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class GaussianSearch:
    """State of a search that samples around a mean and refits mean and standard deviation."""

    mean: Float[Tensor, "k v"]
    std: Float[Tensor, "k v"]
    best: Float[Tensor, "k v"]
    """Best candidate so far; the mean before any was scored."""
    best_cost: float
    converged: bool


def begin(space: SearchSpace, horizon: int, warm_start: Float[Tensor, "k v"] | None, std: float) -> GaussianSearch:
    """State at the start of a search: around the warm start, or in the middle of the bounds.

    Raises ValueError as `first_mean` does.
    """
    mean = first_mean(space, horizon, warm_start)
    return GaussianSearch(mean=mean, std=torch.full_like(mean, std), best=mean, best_cost=float("inf"), converged=False)


def first_mean(space: SearchSpace, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> Float[Tensor, "k v"]:
    """The warm start within bounds, or the middle of the bounds.

    Raises ValueError for a warm start of another shape, or one that is not finite.
    """
    shape = (space.rows(horizon), len(space.low))
    if warm_start is None:
        return ((space.low + space.high) / 2).expand(shape)
    if tuple(warm_start.shape) != shape:
        raise ValueError(f"warm start has shape {tuple(warm_start.shape)}; wanted {shape} (rows, search variables)")
    if not bool(warm_start.isfinite().all()):
        raise ValueError("warm start is not finite; begin without one")
    return space.clamp(warm_start)


def normal(count: int, like: Float[Tensor, "k v"], generator: Generator) -> Float[Tensor, "s k v"]:
    """`count` standard normal samples, each of the shape of `like`.

    Drawn where the generator lives and then moved to `like`, so that a seed means the same plan on every device.
    """
    return torch.randn((count, *like.shape), generator=generator, device=generator.device).to(like)


def finite_or_worst(costs: Float[Tensor, "*b s"]) -> Float[Tensor, "*b s"]:
    """Infinite where a cost is NaN or infinite of either sign: such a candidate never wins."""
    return torch.where(costs.isfinite(), costs, torch.inf)


def cheapest(costs: Float[Tensor, "*b s"]) -> Int[Tensor, "*b"]:
    """The candidate with the lowest finite cost; the first one when equal, or when no cost is finite."""
    return finite_or_worst(costs).argsort(dim=-1, stable=True)[..., 0]


def best_of(search: Search, candidates: Float[Tensor, "s k v"], costs: Float[Tensor, " s"]) -> tuple[Tensor, float]:
    """The best so far [k v] and its cost, these candidates included; the earlier one when equal.

    `costs` are finite, or infinite where `finite_or_worst` made them so.
    """
    index = int(cheapest(costs))
    cost = float(costs[index])
    return (candidates[index], cost) if cost < search.best_cost else (search.best, search.best_cost)


def check_elites(elites: int, candidates: int) -> None:
    """Check the number of elites. Raises ValueError."""
    if not 2 <= elites < candidates:
        raise ValueError(f"elites={elites} must be at least 2 and fewer than candidates={candidates}")


def check_spread(iterations: int, std: float, std_floor: float) -> None:
    """Check the number of iterations and the standard deviations. Raises ValueError."""
    if iterations < 1:
        raise ValueError(f"iterations={iterations} must be at least 1")
    if not 0 < std_floor <= std:
        raise ValueError(f"std={std} must be at least std_floor={std_floor}, and both above 0")
