"""Goal-conditioned inverse dynamics: which action leads from one latent towards another.

A small network on the frozen world model's own latents, trained on goals that lie later in the same episode (hindsight
relabelling): it clones what was done on the way to what was reached. As a controller it needs no search, as a proposal
it tells the search where to begin; cf. goal-conditioned inverse dynamics on LeWorldModel (arXiv:2605.08732).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from worldmodel.data.latent_episodes import LatentEpisodes, actions_between
from worldmodel.heads.latent_training import train
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.goal_head import goal_head, with_difference


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsConfig:
    """Size of the head."""

    width: int = 512

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "width")


@dataclass(frozen=True, kw_only=True)
class InverseDynamicsTraining:
    """How the head is trained."""

    steps: int = 4000
    batch: int = 512
    learning_rate: float = 1e-3
    furthest: int = 15
    """Model steps between a latent and its goal, at most."""
    noise: float = 0.1
    """Standard deviation added to latents, which are of unit variance: imagined latents are not exact either."""


class InverseDynamics(nn.Module):
    """A planner's proposal: the actions of the next model step, unitless in (-1, 1)."""

    def __init__(self, config: InverseDynamicsConfig, latent_width: int, action_width: int) -> None:
        super().__init__()
        self.config = config
        self.layers = goal_head(latent_width, config.width, action_width)

    def forward(self, latents: Float[Tensor, "b 1 d"], goal: Float[Tensor, "b 1 d"]) -> Float[Tensor, "b a"]:
        return torch.tanh(self.layers(with_difference(latents, goal).squeeze(1)))


def fit_inverse_dynamics(
    data: LatentEpisodes,
    actions: Float[Tensor, "rows x"],
    config: InverseDynamicsConfig,
    training: InverseDynamicsTraining,
    control_steps: int,
    generator: Generator,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> InverseDynamics:
    """Train the head; `on_step(step, mean squared error of the actions)` is called after each step.

    `actions` are unitless, row by row what was done after each latent; what is in an episode's last row is never read.
    """
    head = InverseDynamics(config, data.latents.shape[1], control_steps * actions.shape[1]).to(data.device)
    starts = data.starts(2, control_steps)  # rows that have a whole model step after them

    def loss() -> Tensor:
        rows = starts[torch.randint(len(starts), (training.batch,), generator=generator)]
        goals = rows + _ahead(data.last_row[rows] - rows, training, control_steps, generator)
        noise = training.noise * torch.randn(training.batch, data.latents.shape[1], generator=generator).to(data.device)
        done = actions_between(actions, rows, 2, control_steps)[:, 0]  # [b a]
        return F.mse_loss(head((data.latents[rows] + noise)[:, None], data.latents[goals][:, None]), done)

    train(head, loss, steps=training.steps, learning_rate=training.learning_rate, on_step=on_step)
    return head


def _ahead(left: Tensor, training: InverseDynamicsTraining, control_steps: int, generator: Generator) -> Tensor:
    """Rows to the goal: from one model step to the furthest, or to the episode's end."""
    most = left.clamp_max(training.furthest * control_steps)
    share = torch.rand(len(left), generator=generator).to(left.device)
    return control_steps + (share * (most - control_steps + 1)).long()
