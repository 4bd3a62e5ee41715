"""How whatever learns on the latents of a frozen encoder is trained: the heads, and the predictor alone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def train(
    module: nn.Module,
    loss_of_a_batch: Callable[[], Tensor],
    *,
    steps: int,
    learning_rate: float,
    on_step: Callable[[int, float], None],
) -> None:
    """AdamW on a cosine to zero, then no gradients; `on_step(step, loss)` is called after each step."""
    optimiser = torch.optim.AdamW(module.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        loss = loss_of_a_batch()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        on_step(step, float(loss.detach()))
    module.eval().requires_grad_(False)
