"""Steps to go: a learned distance between latents, in model steps.

The squared distance of Gaussian latents saturates a short way from the goal and says nothing beyond. This head is
trained on the frozen world model's own latents: how many steps lay between two frames of one episode (hindsight), and,
across episodes, one step plus what is left after it (temporal difference). A low quantile is regressed, since a
wandering episode takes longer than needed; cf. the learned planning costs of arXiv:2608.12959 and the quantile variant
of goal-conditioned implicit value learning (arXiv:2307.11949). Half of the starts are imagined
(`worldmodel/training/imagined.py`), which is what a planner asks about, or of twins. Where it is known what the task is about,
no step is left once that is as it should be, whatever else the goal shows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from worldmodel.data.latent_episodes import LatentEpisodes
from worldmodel.heads.latent_training import train
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.goal_head import goal_head, with_difference


@dataclass(frozen=True, kw_only=True)
class StepsToGoConfig:
    """Size and range of the head."""

    width: int = 256
    longest: float = 30.0
    """Model steps at which the answer saturates."""

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "width", "longest")


@dataclass(frozen=True, kw_only=True)
class StepsToGoTraining:
    """How the head is trained."""

    steps: int = 6000
    batch: int = 512
    learning_rate: float = 1e-3
    quantile: float = 0.3
    noise: float = 0.1
    """Standard deviation added to latents, which are of unit variance: imagined latents are not exact either."""
    target_momentum: float = 0.99


class StepsToGo(nn.Module):
    """A planner's distance: model steps from each latent to the goal."""

    def __init__(self, config: StepsToGoConfig, latent_width: int) -> None:
        super().__init__()
        self.config = config
        self.layers = goal_head(latent_width, config.width, 1)

    def between(self, latents: Float[Tensor, "*b d"], goals: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """Model steps from each latent to its own goal, in (0, longest)."""
        return self.in_range(self.layers(with_difference(latents, goals)))

    def in_range(self, scores: Float[Tensor, "*b 1"]) -> Float[Tensor, "*b"]:
        """What the last layer gives, as model steps."""
        return self.config.longest * torch.sigmoid(scores.squeeze(-1) - 2)

    def forward(self, latents: Float[Tensor, "b s h 1 d"], goal: Float[Tensor, "b 1 d"]) -> Float[Tensor, "b s h"]:
        flat = latents.squeeze(3)
        return self.between(flat, goal[:, None, :].expand_as(flat))


def fit_steps_to_go(
    data: LatentEpisodes,
    config: StepsToGoConfig,
    training: StepsToGoTraining,
    control_steps: int,
    generator: Generator,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> StepsToGo:
    """Train the head; `on_step(step, loss)` is called after each step."""
    head = StepsToGo(config, data.latents.shape[1]).to(data.device)
    target = StepsToGo(config, data.latents.shape[1]).to(data.device).requires_grad_(False)
    target.load_state_dict(head.state_dict())

    @torch.no_grad()
    def follow(step: int, loss: float) -> None:
        for slow, fast in zip(target.parameters(), head.parameters(), strict=True):
            slow.lerp_(fast, 1 - training.target_momentum)
        on_step(step, loss)

    train(
        head,
        lambda: _loss(head, target, data, training, control_steps, generator),
        steps=training.steps,
        learning_rate=training.learning_rate,
        on_step=follow,
    )
    return head


def _loss(
    head: StepsToGo,
    target: StepsToGo,
    data: LatentEpisodes,
    training: StepsToGoTraining,
    control_steps: int,
    generator: Generator,
) -> Float[Tensor, ""]:
    """Half the goals lie later in the same episode, half anywhere."""
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
