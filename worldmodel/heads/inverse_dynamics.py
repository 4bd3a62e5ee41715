"""Goal-conditioned inverse dynamics: the action that leads from one latent towards another.

A small network on the frozen world model's own latents, trained on goals that lie later in the same episode (hindsight
relabelling): it clones the recorded actions on the way to the frames that were reached. As a controller it needs no
search; as a proposal it gives a search its first candidate. Compare goal-conditioned inverse dynamics on LeWorldModel
(arXiv:2605.08732).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from worldmodel.data.latents import LatentEpisodes
from worldmodel.heads.fitting import OnStep, minimise
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.mlp import goal_perceptron, with_difference
from worldmodel.parts.tokens import Pooling, pool, pooled_width


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsConfig:
    """Size of the head, and its reading of several tokens."""

    width: int = 512
    pooling: Pooling = "concatenate"

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "width")


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsTraining:
    """Settings of the head's training."""

    steps: int = 4000
    batch: int = 512
    learning_rate: float = 1e-3
    furthest: int = 15
    """Largest number of model steps between a latent and its goal."""
    noise: float = 0.1
    """Standard deviation added to latents, which are of unit variance: imagined latents are not exact either."""


class InverseDynamics(nn.Module):
    """A policy: the actions of the next model step, unitless in (-1, 1)."""

    def __init__(self, config: InverseDynamicsConfig, tokens: int, width: int, action_width: int) -> None:
        super().__init__()
        self.config = config
        self.layers = goal_perceptron(pooled_width(config.pooling, tokens, width), config.width, action_width)

    def between(self, latents: Float[Tensor, "b n d"], goals: Float[Tensor, "b n d"]) -> Float[Tensor, "b a"]:
        """The action that leads from each latent towards its own goal."""
        read, wanted = (pool(each, self.config.pooling) for each in (latents, goals))
        return torch.tanh(self.layers(with_difference(read, wanted)))

    def forward(self, context: Float[Tensor, "b t n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b 1 a"]:
        return self.between(context[:, -1], goal)[:, None]


def fit_inverse_dynamics(
    head: InverseDynamics, data: LatentEpisodes, training: InverseDynamicsTraining, seed: int, on_step: OnStep
) -> None:
    """Train `head` in place; `on_step(step, mean squared error of the actions)` is called after each step."""
    generator = Generator().manual_seed(seed)
    starts = data.starts(2)  # rows that have a whole model step after them

    def loss() -> Tensor:
        rows = starts[torch.randint(len(starts), (training.batch,), generator=generator)]
        goals = rows + _ahead(data.last_row[rows] - rows, training, data.timing.control_steps, generator)
        seen = data.latents[rows]
        noise = training.noise * torch.randn(seen.shape, generator=generator).to(data.device)
        done = data.actions_between(rows, 2)[:, 0]  # [b a]
        return F.mse_loss(head.between(seen + noise, data.latents[goals]), done)

    minimise(head, loss, steps=training.steps, learning_rate=training.learning_rate, on_step=on_step)


def _ahead(left: Tensor, training: InverseDynamicsTraining, control_steps: int, generator: Generator) -> Tensor:
    """Random number of rows to the goal: from one model step to `furthest`, or to the episode's end."""
    most = left.clamp_max(training.furthest * control_steps)
    share = torch.rand(len(left), generator=generator).to(left.device)
    return control_steps + (share * (most - control_steps + 1)).long()
