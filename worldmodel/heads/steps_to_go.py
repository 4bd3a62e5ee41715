"""Steps to go: a learned distance between latents, in model steps.

The squared distance of Gaussian latents saturates a short way from the goal and says nothing beyond. This head is
trained on the frozen world model's own latents: how many steps lay between two frames of one episode (hindsight), and,
across episodes, one step plus what is left after it (temporal difference). A low quantile is regressed, since a
wandering episode takes longer than needed; cf. the learned planning costs of arXiv:2608.12959 and the quantile variant
of goal-conditioned implicit value learning (arXiv:2307.11949). Half of the starts are imagined latents,
as in a search, or latents of twins. Where the task's quantities were recorded, no step is left once they are within
their tolerances of the goal's, whatever else the goal shows.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from worldmodel.data.latents import LatentEpisodes
from worldmodel.heads.fitting import OnStep, minimise
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.mlp import goal_perceptron, with_difference
from worldmodel.parts.targets import TargetEncoder
from worldmodel.parts.tokens import Pooling, pool, pooled_width


@dataclass(frozen=True, kw_only=True)
class StepsToGoConfig:
    """Size and range of the head, and its reading of several tokens."""

    width: int = 256
    longest: float = 30.0
    """Number of model steps at which the answer saturates."""
    pooling: Pooling = "concatenate"

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "width", "longest")


@dataclass(frozen=True, kw_only=True)
class StepsToGoTraining:
    """Settings of the head's training."""

    steps: int = 6000
    batch: int = 512
    learning_rate: float = 1e-3
    quantile: float = 0.3
    noise: float = 0.1
    """Standard deviation added to latents, which are of unit variance: imagined latents are not exact either."""
    target_momentum: float = 0.99


class StepsToGo(nn.Module):
    """A planner's distance: model steps from each latent to the goal."""

    def __init__(self, config: StepsToGoConfig, tokens: int, width: int) -> None:
        super().__init__()
        self.config = config
        self.layers = goal_perceptron(pooled_width(config.pooling, tokens, width), config.width, 1)

    def between(self, latents: Float[Tensor, "*b n d"], goals: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b"]:
        """Model steps from each latent to its own goal, in (0, longest)."""
        read, wanted = (pool(each, self.config.pooling) for each in (latents, goals))
        return self.in_range(self.layers(with_difference(read, wanted)))

    def in_range(self, scores: Float[Tensor, "*b 1"]) -> Float[Tensor, "*b"]:
        """The last layer's scores as model steps."""
        return self.config.longest * torch.sigmoid(scores.squeeze(-1) - 2)

    def forward(self, latents: Float[Tensor, "b s h n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b s h"]:
        return self.between(latents, goal[:, None, None].expand_as(latents))


def fit_steps_to_go(
    head: StepsToGo, data: LatentEpisodes, training: StepsToGoTraining, seed: int, on_step: OnStep
) -> None:
    """Train `head` in place; `on_step(step, loss)` is called after each step."""
    generator = Generator().manual_seed(seed)
    target = TargetEncoder(head)

    def follow(step: int, loss: float) -> None:
        target.follow(head, training.target_momentum)
        on_step(step, loss)

    minimise(
        head,
        lambda: _loss(head, cast(StepsToGo, target.module), data, training, generator),
        steps=training.steps,
        learning_rate=training.learning_rate,
        on_step=follow,
    )


def _loss(
    head: StepsToGo, target: StepsToGo, data: LatentEpisodes, training: StepsToGoTraining, generator: Generator
) -> Float[Tensor, ""]:
    """Half the goals lie later in the same episode, half anywhere."""
    control_steps = data.timing.control_steps
    rows, start = data.sample(training.batch, training.noise, generator)
    left = data.last_row[rows] - rows
    share = torch.rand(training.batch, generator=generator).to(data.device)
    hindsight_goals = rows + (share * (left + 1)).long()
    any_goals = torch.randint(len(data.latents), (training.batch,), generator=generator).to(data.device)
    own = torch.arange(training.batch, device=data.device) < training.batch // 2
    goals = torch.where(own, hindsight_goals, any_goals)
    goal = data.latents[goals]
    following = torch.minimum(rows + control_steps, data.last_row[rows])
    with torch.no_grad():
        left_then = target.between(data.latents[following], goal)
        if data.task is not None:
            left_then = torch.where(data.task.reached(following, goals), 0.0, left_then)
        onward = left_then + (following - rows) / control_steps
        hindsight = (goals - rows) / control_steps
        wanted = torch.where(own, torch.minimum(hindsight, onward), onward).clamp_max(head.config.longest)
        if data.task is not None:
            wanted = torch.where(data.task.reached(rows, goals), 0.0, wanted)
    error = wanted - head.between(start, goal)
    smooth = F.huber_loss(error, torch.zeros_like(error), reduction="none")
    return (torch.where(error > 0, training.quantile, 1 - training.quantile) * smooth).mean()
