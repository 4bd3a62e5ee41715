"""Small networks of heads and losses: two normalised hidden layers, over a latent or over a latent and its goal."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def perceptron(in_width: int, width: int, out_width: int) -> nn.Sequential:
    """Two hidden layers of `width`, normalised."""
    return nn.Sequential(
        nn.Linear(in_width, width),
        nn.LayerNorm(width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.LayerNorm(width),
        nn.SiLU(),
        nn.Linear(width, out_width),
    )


def goal_perceptron(latent_width: int, width: int, out_width: int) -> nn.Sequential:
    """A `perceptron` over `with_difference`."""
    return perceptron(3 * latent_width, width, out_width)


def with_difference(latents: Float[Tensor, "*b d"], goals: Float[Tensor, "*b d"]) -> Float[Tensor, "*b 3*d"]:
    """Latent, goal, and latent minus goal, side by side."""
    return torch.cat([latents, goals, latents - goals], dim=-1)


class InverseModel(nn.Module):
    """The action that leads from one latent towards another, unitless in (-1, 1)."""

    def __init__(self, latent_width: int, width: int, action_width: int) -> None:
        super().__init__()
        self.layers = goal_perceptron(latent_width, width, action_width)

    def forward(self, latents: Float[Tensor, "*b d"], goals: Float[Tensor, "*b d"]) -> Float[Tensor, "*b a"]:
        return torch.tanh(self.layers(with_difference(latents, goals)))
