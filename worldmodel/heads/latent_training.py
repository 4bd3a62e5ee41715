"""How whatever learns on the latents of a frozen encoder is trained: the heads, and the predictor alone."""

import math
from collections.abc import Callable

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from worldmodel.errors import TrainingError
from worldmodel.parts.schedule import cosine
from worldmodel.training.saved_training import SavedTraining


def train(
    module: nn.Module,
    loss_of_a_batch: Callable[[], Tensor],
    *,
    steps: int,
    learning_rate: float,
    on_step: Callable[[int, float], None],
    saved_by: Callable[[Optimizer], SavedTraining] | None = None,
) -> None:
    """AdamW on a cosine to zero, then no gradients; `on_step(step, loss)` is called after each step.

    What `saved_by` makes of the optimiser says where to go on, and keeps how far the training came. Raises
    TrainingError for a loss that is not finite.
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
