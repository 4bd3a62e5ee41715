"""A recipe in few lines whose target is a moving average of its encoder, as that of I-JEPA and V-JEPA is."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldmodel.clips import Clips
from worldmodel.parts.targets import TargetEncoder
from worldmodel.recipe import ParameterGroup, Step

FIRST_MOMENTUM, LAST_MOMENTUM = 0.5, 1.0


def momentum_at(progress: float) -> float:
    """Rises in a straight line, as I-JEPA's does."""
    return FIRST_MOMENTUM + (LAST_MOMENTUM - FIRST_MOMENTUM) * progress


class MovingTarget(nn.Module):
    """Predicts the target encoder's latent of the next frame from the encoder's latent and the action.

    It counts what the loop hands it.
    """

    def __init__(self, image_px: int = 32, action_width: int = 10) -> None:
        super().__init__()
        torch.manual_seed(0)
        # BatchNorm has buffers, which a target takes over as they are.
        self.encoder = nn.Sequential(nn.Linear(3 * image_px**2, 8), nn.BatchNorm1d(8), nn.Linear(8, 8))
        self.predictor = nn.Linear(8 + action_width, 8)
        self.target = TargetEncoder(self.encoder)
        self.steps_of_losses: list[Step] = []
        self.steps_after: list[Step] = []

    def groups(self) -> list[ParameterGroup]:
        """The encoder slowly, the predictor without weight decay."""
        return [
            ParameterGroup(list(self.encoder.parameters()), learning_rate=0.5),
            ParameterGroup(list(self.predictor.parameters()), weight_decay=0.0),
        ]

    def losses(self, batch: Clips, step: Step) -> dict[str, Tensor]:
        """`predict`: mean squared error of the target's next latents."""
        self.steps_of_losses.append(step)
        assert batch.actions is not None
        pixels = batch.frames.values["top"].flatten(1) / 255
        seen, wanted = (each.unflatten(0, batch.shape) for each in (self.encoder(pixels), self.wanted(pixels)))
        predicted = self.predictor(torch.cat([seen[:, :-1], batch.actions], dim=-1))
        return {"predict": F.mse_loss(predicted.float(), wanted[:, 1:].float())}

    def wanted(self, pixels: Tensor) -> Tensor:
        """The target's latents of frames [rows p]."""
        latents = self.target(pixels)
        assert isinstance(latents, Tensor)
        return latents

    def after_step(self, step: Step) -> None:
        """The target follows the encoder."""
        self.steps_after.append(step)
        self.target.follow(self.encoder, momentum_at(step.progress))
