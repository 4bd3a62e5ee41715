"""Costs: plain callables over imagined latents, lower is better, that add up.

Averaging over the horizon asks to be near the goal soon and to stay, and beats looking at the last step only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from planner.protocols import Cost, Distance

Over = Literal["mean", "last"]


@dataclass(frozen=True)
class SquaredDistance:
    """Squared L2 between latents over all tokens, divided by `scale`. Range [0, inf); about 1 for unrelated frames when
    `scale` is their mean squared distance."""

    scale: float = 1.0

    def __call__(self, latents: Float[Tensor, "b s h n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b s h"]:
        return (latents - goal[:, None, None]).square().sum((-2, -1)) / self.scale


@dataclass(frozen=True)
class GoalCost:
    """A distance to the goal, over the horizon or at its last step. Range: the distance's."""

    distance: Distance
    goal: Float[Tensor, "b n d"]
    over: Over = "mean"

    def __call__(self, latents: Float[Tensor, "b s h n d"], actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s"]:
        distances = self.distance(latents, self.goal)
        return distances.mean(-1) if self.over == "mean" else distances[..., -1]


@dataclass(frozen=True)
class ControlEffort:
    """Mean square of the actions. Range [0, 1]."""

    def __call__(self, latents: Float[Tensor, "b s h n d"], actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s"]:
        return actions.square().mean((-2, -1))


@dataclass(frozen=True)
class WeightedSum:
    """Sum of weight times cost."""

    terms: tuple[tuple[float, Callable[..., Tensor]], ...]

    def __call__(self, latents: Float[Tensor, "b s h n d"], actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s"]:
        return torch.stack([weight * cost(latents, actions) for weight, cost in self.terms]).sum(0)


STEPS_TO_GO_WEIGHT = 1.0
SQUARED_DISTANCE_WEIGHT = 10.0


def goal_cost(goal: Float[Tensor, "b n d"], *, scale: float, steps_to_go: Distance | None, over: Over = "mean") -> Cost:
    """The default cost: learned steps to go, which sees far, plus squared distance, which is sharp near the goal."""
    near = GoalCost(SquaredDistance(scale), goal, over)
    if steps_to_go is None:
        return near
    return WeightedSum(((STEPS_TO_GO_WEIGHT, GoalCost(steps_to_go, goal, over)), (SQUARED_DISTANCE_WEIGHT, near)))
