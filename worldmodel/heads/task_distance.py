"""Task distance: the distance of a latent to the goal in the quantities that the task is about, in tolerances.

A goal image shows more than a task asks for, such as the robot's own body. Latent distance and steps to go weigh
everything that is visible, so a search spends its plan on moving the body to its place in the picture. This head reads
the task's quantities (the block's position and angle) from latents of the frozen world model, and measures them in
tolerances. It learns from features recorded with the training frames, as probes do; planning needs images only. Half of
its training latents are stand-ins: latents of twins, and imagined latents labelled with the recorded truth of their
time, since a search asks about imagined latents and their errors can be learned.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from worldmodel.data.latents import LatentEpisodes
from worldmodel.data.task_truth import TaskTruth, apart
from worldmodel.errors import DatasetError
from worldmodel.heads.fitting import OnStep, minimise
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.mlp import perceptron
from worldmodel.parts.tokens import Pooling, pool, pooled_width


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """A condition on some features: as a vector, they are reached when no further from the goal's than `within`.

    For an angle take sine and cosine: two directions `a` apart are 2 sin(a / 2) apart.
    """

    features: tuple[str, ...]
    within: float
    """Euclidean, in the features' unit."""

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError("a tolerance wants one feature or more")
        if not (math.isfinite(self.within) and self.within > 0):
            raise ValueError(f"tolerance of {','.join(self.features)} is {self.within}; wanted a finite number above 0")


@dataclass(frozen=True, kw_only=True)
class TaskDistanceConfig:
    """Size of the head, and the features that a goal is judged by."""

    tolerances: tuple[Tolerance, ...]
    width: int = 256
    pooling: Pooling = "concatenate"

    def __post_init__(self) -> None:
        if not self.tolerances:
            raise ValueError("TaskDistanceConfig.tolerances is empty; wanted one or more")
        require_range(self, 1, WIDEST, "width")

    @property
    def features(self) -> list[str]:
        """The features of all tolerances, in order."""
        return [name for tolerance in self.tolerances for name in tolerance.features]

    @property
    def sizes(self) -> list[int]:
        """Number of features of each tolerance."""
        return [len(tolerance.features) for tolerance in self.tolerances]


@dataclass(frozen=True, kw_only=True)
class TaskDistanceTraining:
    """Settings of the head's training."""

    steps: int = 6000
    batch: int = 1024
    learning_rate: float = 1e-3
    noise: float = 0.05
    """Standard deviation added to latents, which are of unit variance."""


class TaskDistance(nn.Module):
    """A planner's distance: tolerances between each latent and the goal, summed over the task's quantities."""

    def __init__(self, config: TaskDistanceConfig, tokens: int, width: int) -> None:
        super().__init__()
        self.config = config
        read = pooled_width(config.pooling, tokens, width)
        self.layers = perceptron(read, config.width, len(config.features))

    def quantities(self, latents: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b f"]:
        """Features read from the latents, each divided by its tolerance, in the order of the config."""
        return self.layers(pool(latents, self.config.pooling))

    def forward(self, latents: Float[Tensor, "b s h n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b s h"]:
        return apart(self.quantities(latents), self.quantities(goal)[:, None, None], self.config.sizes).sum(-1)


def columns(config: TaskDistanceConfig, names: Sequence[str]) -> list[int]:
    """Indices of the task's features in `names`. Raises DatasetError when one is missing."""
    if unknown := [name for name in config.features if name not in names]:
        raise DatasetError(
            f"the goal wants a feature {unknown[0]!r}, which was not recorded; these were: {', '.join(names) or 'none'}"
        )
    return [names.index(name) for name in config.features]


def task_truth(config: TaskDistanceConfig, names: Sequence[str], features: Float[Tensor, "rows n"]) -> TaskTruth:
    """Targets of `TaskDistance.quantities`, from recorded features with these names."""
    within = [tolerance.within for tolerance in config.tolerances for _ in tolerance.features]
    return TaskTruth(features[:, columns(config, names)] / features.new_tensor(within), config.sizes)


def fit_task_distance(
    head: TaskDistance, data: LatentEpisodes, training: TaskDistanceTraining, seed: int, on_step: OnStep
) -> None:
    """Train `head` in place; `on_step(step, mean squared error in tolerances)` is called after each step.

    `data.task` must be given.
    """
    assert data.task is not None
    generator, wanted = Generator().manual_seed(seed), data.task.quantities
    with torch.no_grad():
        head.get_parameter("layers.6.bias").copy_(wanted.mean(0))  # of the last layer

    def loss() -> Tensor:
        rows, latents = data.sample(training.batch, training.noise, generator)
        return F.mse_loss(head.quantities(latents), wanted[rows])

    minimise(head, loss, steps=training.steps, learning_rate=training.learning_rate, on_step=on_step)
