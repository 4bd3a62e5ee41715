"""What the goal-conditioned heads on a frozen model's latents share: they see a latent, a goal and their difference."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.parts.mlp import perceptron


def goal_head(latent_width: int, width: int, out_width: int) -> nn.Sequential:
    """From `with_difference` to `out_width` numbers, through two hidden layers of `width`."""
    return perceptron(3 * latent_width, width, out_width)


def with_difference(latents: Float[Tensor, "*b d"], goals: Float[Tensor, "*b d"]) -> Float[Tensor, "*b 3*d"]:
    """Latent, goal, and the way from the goal to the latent, in this order."""
    return torch.cat([latents, goals, latents - goals], dim=-1)
