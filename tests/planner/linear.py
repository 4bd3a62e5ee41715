"""Worlds whose future can be worked out by hand, and short ways to plan in them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from planner.cem import CEM
from planner.constraints import Constraints
from planner.costs import GoalCost, Over, SquaredDistance
from planner.names import SearchSpaceName
from planner.optimiser import Optimiser
from planner.presets import Preset, build_space
from planner.protocols import CostFunction, RolloutModel, RolloutState
from planner.search import Plan, RobotSearch, advance
from planner.search_space import SearchSpace, make_search_space


@dataclass
class LinearWorldModel:
    """A world whose latent is the running sum of the actions: one token, as wide as an action."""

    rollouts: list[Tensor] = field(default_factory=list)
    """Every batch of actions that was imagined."""

    def rollout(self, state: Tensor, actions: Tensor) -> Tensor:
        """Latents after each action, from the latents [b 1 d] of the newest frame."""
        self.rollouts.append(actions)
        return (state[:, None, None, 0] + actions.cumsum(2)).unsqueeze(3)


@dataclass(frozen=True)
class Problem:
    """One robot's start, goal, seed and warm start."""

    goal: tuple[float, ...]
    start: tuple[float, ...] = (0.0, 0.0)
    seed: int = 0
    warm_start: Tensor | None = None


def space(
    low: Sequence[float] = (-1.0, -1.0),
    high: Sequence[float] = (1.0, 1.0),
    control_steps: int = 1,
    name: SearchSpaceName = "constant",
    horizon: int = 3,
) -> SearchSpace:
    """A search space with these limits, holding each action over a model step if it has no other name."""
    return make_search_space(
        name, low=torch.tensor(low), high=torch.tensor(high), control_steps=control_steps, horizon=horizon
    )


def cem(within: SearchSpace, **settings: float) -> CEM:
    """A CEM with enough candidates and iterations to be accurate."""
    return CEM(space=within, **{"candidates": 256, "elites": 24, "iterations": 15, "std_floor": 0.01, **settings})


def build(
    preset: Preset, *, low: Tensor, high: Tensor, control_steps: int, constraints: Constraints | None = None
) -> tuple[Optimiser, SearchSpace]:
    """Optimiser and search space of a preset that searches."""
    within = build_space(preset, low=low, high=high, control_steps=control_steps, constraints=constraints)
    return preset.optimiser(within), within


def plan_iterations(
    model: RolloutModel,
    state: RolloutState,
    cost: CostFunction,
    searches: Sequence[RobotSearch],
    latent_shape: Sequence[int],
) -> Iterator[tuple[Plan, ...]]:
    """The best plan so far of each robot after each iteration. Arguments are those of `advance`."""
    while not all(search.is_over for search in searches):
        advance(model, state, cost, searches, latent_shape)
        yield tuple(search.plan for search in searches)


def iterate(
    problems: Sequence[Problem],
    optimiser: Optimiser,
    within: SearchSpace,
    *,
    horizon: int = 3,
    model: LinearWorldModel | None = None,
    cost: CostFunction | None = None,
    over: Over = "mean",
) -> list[tuple[Plan, ...]]:
    """Plans of all robots after each iteration."""
    model = LinearWorldModel() if model is None else model
    width = within.decode(torch.zeros(within.rows(horizon), len(within.low))).shape[-1]
    starts, goals = (torch.tensor(rows)[:, None] for rows in zip(*((p.start, p.goal) for p in problems), strict=True))
    state = starts.repeat(1, 1, width // starts.shape[-1])
    goal = goals.repeat(1, 1, width // goals.shape[-1])
    searches = [
        RobotSearch(
            optimiser=optimiser,
            space=within,
            horizon=horizon,
            generator=Generator().manual_seed(problem.seed),
            warm_start=problem.warm_start,
        )
        for problem in problems
    ]
    cost = GoalCost(SquaredDistance(), goal, over) if cost is None else cost
    return list(plan_iterations(model, state, cost, searches, (1, width)))


def same_plan(one: Plan, other: Plan) -> bool:
    """To the last bit, evidence included."""
    assert one.latents is not None and other.latents is not None
    return (
        torch.equal(one.actions, other.actions)
        and torch.equal(one.latents, other.latents)
        and (one.cost, one.best_costs, one.elite_std, one.converged)
        == (other.cost, other.best_costs, other.elite_std, other.converged)
    )


MakeOptimiser = Callable[[SearchSpace], Optimiser]
