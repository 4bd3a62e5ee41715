"""The small network that every head on a frozen world model's latents is."""

from torch import nn


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
