"""A frozen random encoder: how far does planning get on latents that nobody learned?

A control, not a published method: encoder and projector keep the weights that they were drawn with, and only the
predictor learns. Latents are standardised once, on the first batch, since the losses and distances of the other recipes
are of unit variance too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor, nn

from worldmodel.clips import Windows
from worldmodel.parts.processes import average
from worldmodel.recipes.baseline_presets import baseline_presets
from worldmodel.recipes.joint_embedding import JointEmbedding, JointEmbeddingConfig

LEAST_STD = 1e-3
"""What a latent's standard deviation is taken for when it is less: in the dark nothing varies."""


@dataclass(frozen=True, kw_only=True)
class RandomEncoderConfig(JointEmbeddingConfig):
    """The architecture says it all."""


PRESETS = baseline_presets(RandomEncoderConfig, tiny={})
tiny = PRESETS["tiny"]


class RandomEncoder(JointEmbedding):
    """A trained predictor over random latents."""

    is_standardised: Tensor

    def __init__(self, config: RandomEncoderConfig, action_width: int) -> None:
        super().__init__(config, action_width)
        for part in (self.encoder, self.projector):
            part.requires_grad_(False)
        self.register_buffer("is_standardised", torch.tensor(False))

    def train(self, mode: bool = True) -> "RandomEncoder":
        """The predictor alone: frozen BatchNorm keeps its statistics."""
        super().train(mode)
        self.projector.eval()
        return self

    def losses(self, batch: Windows, generator: Generator) -> dict[str, Float[Tensor, ""]]:
        """`predict`: mean squared error of the next latent."""
        if not self.is_standardised:
            self._standardise(batch.frames.flatten(0, 1))
        return {"predict": self.prediction_error(self.encode_clips(batch), batch)}

    @torch.no_grad()
    def _standardise(self, images: UInt8[Tensor, "b height width 3"]) -> None:
        """Fold the mean and the standard deviation of these images' latents into the last layer."""
        _, norm, _, last = self.projector
        assert isinstance(norm, nn.BatchNorm1d) and isinstance(last, nn.Linear)
        assert norm.running_mean is not None and norm.running_var is not None
        with torch.autocast(images.device.type, enabled=False):
            features = self.features(images)
            mean, variance = _moments(self.projector[0](features))
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            mean, variance = _moments(self.projector(features))
        std = variance.sqrt().clamp_min(LEAST_STD)
        last.weight.div_(std[:, None])
        last.bias.sub_(mean).div_(std)
        self.is_standardised.fill_(True)


def _moments(rows: Float[Tensor, "rows w"]) -> tuple[Tensor, Tensor]:
    """Mean and variance of each column, over all training processes."""
    mean = average(rows.mean(0))
    return mean, average((rows - mean).square().mean(0))
