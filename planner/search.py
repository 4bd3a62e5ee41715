"""The loop that every optimiser runs in: ask, imagine, score, tell, for many robots in one batch."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from planner.optimiser import Optimiser, Search
from planner.plan import Plan
from planner.protocols import Cost, RolloutState, WorldModel
from planner.search_space import SearchSpace


class NoFinitePlan(ArithmeticError):  # noqa: N818 - the name says what there is not
    """Every candidate of a robot had a cost that is not finite: there is no action to give."""


def plan_iterations(
    model: WorldModel,
    state: RolloutState,
    cost: Cost,
    *,
    optimiser: Optimiser,
    space: SearchSpace,
    horizon: int,
    warm_starts: Sequence[Float[Tensor, "k v"] | None],
    generators: Sequence[Generator],
) -> Iterator[tuple[Plan, ...]]:
    """After each iteration, the best plan so far of each robot. Stop at a deadline by not asking for the next.

    `warm_starts` and `generators` have one entry a robot, in the order of `state`'s batch. Raises NoFinitePlan.
    """
    searches = [optimiser.start(horizon, warm_start) for warm_start in warm_starts]
    records = [_Record(generator) for _, generator in zip(searches, generators, strict=True)]
    asked = [torch.empty(0)] * len(searches)
    for _ in range(optimiser.iterations):
        # A robot whose search has converged rests, so that its plan does not depend on how long its neighbours need.
        searching = [robot for robot, search in enumerate(searches) if not search.converged]
        for robot in searching:
            asked[robot] = optimiser.ask(searches[robot], records[robot].generator)
        fewest = min(len(each) for each in asked)  # one that rests was asked when there may have been more
        candidates = torch.stack([each[:fewest] for each in asked])  # [b s k v]
        actions = space.decode(candidates)
        latents = model.rollout(state, actions)
        costs = cost(latents, actions)
        for robot in searching:
            records[robot].keep_best(costs[robot], latents[robot])
            searches[robot] = optimiser.tell(searches[robot], candidates[robot], costs[robot])
            records[robot].costs.append(searches[robot].best_cost)
        if any(search.best_cost == float("inf") for search in searches):
            raise NoFinitePlan("every candidate had a cost that is not finite; check the images and the checkpoint")
        yield tuple(_plan(search, record, space) for search, record in zip(searches, records, strict=True))
        if all(search.converged for search in searches):
            return


class _Record:
    """One robot's randomness, and the evidence of its search."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.costs: list[float] = []
        self.best_cost = float("inf")
        self.latents: Tensor | None = None

    def keep_best(self, costs: Float[Tensor, " s"], latents: Float[Tensor, "s h n d"]) -> None:
        finite = torch.where(costs.isfinite(), costs, torch.inf)
        index = int(finite.argsort(stable=True)[0])
        if float(finite[index]) < self.best_cost:
            self.best_cost = float(finite[index])
            self.latents = latents[index]


def _plan(search: Search, record: _Record, space: SearchSpace) -> Plan:
    assert record.latents is not None  # a finite cost came with latents
    return Plan(
        actions=space.decode(search.best),
        variables=search.best,
        latents=record.latents,
        cost=search.best_cost,
        first_cost=record.costs[0],
        best_costs=tuple(record.costs),
        elite_std=float(search.std.mean()),
        iterations=len(record.costs),
        converged=search.converged,
    )
