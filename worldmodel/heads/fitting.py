"""Optimisation of a network on the latents of a frozen encoder: each head, and the predictor alone."""

import math
from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from worldmodel.errors import TrainingError
from worldmodel.parts.schedule import cosine

OnStep = Callable[[int, float], None]
"""Step callback: steps done before this one, and its loss."""


class ResumableTraining(Protocol):
    """Saves a training's state, and restores it."""

    def restore(self) -> int:
        """Restore the saved state; returns the steps done, 0 where none was saved."""
        ...

    def save(self, step: int, *, last: bool) -> None:
        """Save the state after `step` steps, if a save is due or the step is the last."""
        ...


def minimise(
    module: nn.Module,
    loss_of_a_batch: Callable[[], Tensor],
    *,
    steps: int,
    learning_rate: float,
    on_step: OnStep,
    saved_by: Callable[[Optimizer], ResumableTraining] | None = None,
) -> None:
    """Train with AdamW, whose learning rate falls as a cosine to zero, then freeze the module.

    `on_step(step, loss)` is called after each step. `saved_by` gets the optimiser and returns the object that saves the
    training's state. Raises TrainingError for a loss that is not finite.
    """
    optimiser = AdamW(module.parameters(), lr=learning_rate)
    saved = None if saved_by is None else saved_by(optimiser)
    for step in range(saved.restore() if saved else 0, steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * cosine(step, steps)
        loss = loss_of_a_batch()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"loss is not finite at step {step + 1}; lower the learning rate")
        on_step(step, value)
        if saved:
            saved.save(step + 1, last=step + 1 == steps)
    module.eval().requires_grad_(False)
