"""The small network that every head on a frozen world model's latents is, and how it is trained."""

from collections.abc import Callable

import torch
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


def train(
    head: nn.Module,
    loss_of_a_batch: Callable[[], Tensor],
    *,
    steps: int,
    learning_rate: float,
    on_step: Callable[[int, float], None],
) -> None:
    """AdamW on a cosine to zero, then no gradients; `on_step(step, loss)` is called after each step."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        loss = loss_of_a_batch()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        on_step(step, float(loss.detach()))
    head.eval().requires_grad_(False)
