"""Costs: plain callables over imagined latents, lower is better, that add up.

Averaging over the horizon asks to be near the goal soon and to stay, and beats looking at the last step only.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from planner.protocols import CostFunction, Distance

Over = Literal["mean", "last", "closest"]
DistanceName = Literal["squared", "absolute"]


@dataclass(frozen=True)
class SquaredDistance:
    """Squared L2 between latents over all tokens, divided by `scale`. Range [0, inf); about 1 for unrelated frames when
    `scale` is their mean squared distance."""

    scale: float = 1.0

    def __call__(self, latents: Float[Tensor, "b s h n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b s h"]:
        return (latents - goal[:, None, None]).square().sum((-2, -1)) / self.scale


@dataclass(frozen=True)
class AbsoluteDistance:
    """L1 between latents over all tokens, divided by `scale`. Range [0, inf). Grows evenly, so that one token far off
    does not outweigh all others."""

    scale: float = 1.0

    def __call__(self, latents: Float[Tensor, "b s h n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b s h"]:
        return (latents - goal[:, None, None]).abs().sum((-2, -1)) / self.scale


@dataclass(frozen=True)
class GoalCost:
    """A distance to the goal: its mean over the horizon, at the last step, or at the step closest to the goal.

    Range: the distance's. `closest` lets a robot pass through its goal; the other two ask it to be there.
    """

    distance: Distance
    goal: Float[Tensor, "b n d"]
    over: Over = "mean"

    def __call__(self, latents: Float[Tensor, "b s h n d"], actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s"]:
        distances = self.distance(latents, self.goal)
        match self.over:
            case "mean":
                return distances.mean(-1)
            case "last":
                return distances[..., -1]
            case "closest":
                return distances.amin(-1)


@dataclass(frozen=True)
class ControlEffort:
    """Mean square of the actions. Range [0, 1]."""

    def __call__(self, latents: Float[Tensor, "b s h n d"], actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s"]:
        return actions.square().mean((-2, -1))


@dataclass(frozen=True)
class Smoothness:
    """Mean squared change from one control step to the next, within the plan. Range [0, 4]; 0 for one control step."""

    control_steps: int
    """Number of control steps in one model step."""

    def __call__(self, latents: Float[Tensor, "b s h n d"], actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s"]:
        steps = actions.unflatten(-1, (self.control_steps, -1)).flatten(2, 3)  # [b s c x]
        changes = steps.diff(dim=2)
        return changes.square().sum((-2, -1)) / max(1, changes.shape[2] * changes.shape[3])


@dataclass(frozen=True)
class KeepOutCost:
    """Mean depth of the imagined future within `radius` of latents to avoid.

    A step costs (1 - distance / radius) squared with the nearest of them, and nothing beyond the radius. Range [0, 1].
    """

    distance: Distance
    avoid: Float[Tensor, "b m n d"]
    """Latents to avoid, one or more of each robot."""
    radius: float
    """Distance from a latent below which a step costs something, in the unit of `distance`."""

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"radius={self.radius} must be above 0")

    def __call__(self, latents: Float[Tensor, "b s h n d"], actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s"]:
        nearest = torch.stack([self.distance(latents, each) for each in self.avoid.unbind(1)]).amin(0)  # [b s h]
        return (1 - nearest / self.radius).clamp(0, 1).square().mean(-1)


@dataclass(frozen=True)
class WeightedSum:
    """Sum of weight times cost. Range: that of its terms, weighted."""

    terms: tuple[tuple[float, Callable[..., Tensor]], ...]

    def __call__(self, latents: Float[Tensor, "b s h n d"], actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s"]:
        return torch.stack([weight * cost(latents, actions) for weight, cost in self.terms]).sum(0)


LATENT_DISTANCE_WEIGHT = 10.0
"""Weight of the latent distance in the default cost; each learned distance brings its own weight."""


def latent_distance(name: DistanceName, *, scale: float, values: int) -> SquaredDistance | AbsoluteDistance:
    """Latent distance that is about 1 for unrelated frames.

    `values` is how many numbers a frame's latents have, and `scale` the mean squared distance of unrelated frames. The
    absolute distance is scaled as for Gaussian latents, which SIGReg trains them to be.
    """
    if name == "squared":
        return SquaredDistance(scale)
    return AbsoluteDistance(math.sqrt(2 * scale * values / math.pi))


def goal_cost(
    goal: Float[Tensor, "b n d"],
    *,
    scale: float,
    learned: Sequence[tuple[float, Distance]] = (),
    over: Over = "mean",
    distance: DistanceName = "squared",
) -> CostFunction:
    """The default cost: the model's learned distances, each with its weight, and the latent distance.

    The latent distance is sharp near the goal; learned distances see further, and know what matters about the goal.
    `scale` is the mean squared latent distance of unrelated frames.
    """
    near = GoalCost(latent_distance(distance, scale=scale, values=goal[0].numel()), goal, over)
    terms = [(weight, GoalCost(each, goal, over)) for weight, each in learned]
    return WeightedSum((*terms, (LATENT_DISTANCE_WEIGHT, near))) if terms else near
