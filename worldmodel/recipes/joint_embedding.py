"""What the world models of single frames share: an encoder, a projector behind it, a predictor of the next latent.

A recipe adds losses, and with them what keeps the latents from collapsing.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from worldmodel.clips import Windows
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.encoders import ConvConfig, ViTConfig, build_encoder
from worldmodel.parts.predictor import Predictor, PredictorConfig
from worldmodel.parts.projector import projector


@dataclass(frozen=True, kw_only=True)
class JointEmbeddingConfig:
    """Defaults are LeWorldModel's published architecture: 18.0 M parameters, 224 px."""

    image_px: int = 224
    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    latent_width: int = 192
    clip_frames: int = 4
    encoder: ConvConfig | ViTConfig = field(default_factory=ViTConfig)
    projector_width: int = 2048
    predictor: PredictorConfig = field(default_factory=PredictorConfig)

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "image_px", "latent_width", "projector_width")
        require_range(self, 2, WIDEST, "clip_frames")
        if min(self.pixel_std) <= 0:
            raise ValueError(f"pixel_std={self.pixel_std} must be above 0")

    @property
    def wants_twins(self) -> bool:
        """Whether a loss needs twins of the frames."""
        return False

    def architecture(self) -> dict[str, Any]:
        """The fields that every recipe has: `OtherConfig(**config.architecture())` is the same network."""
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(JointEmbeddingConfig)}


class JointEmbedding(nn.Module):
    """Frames to latents, and latents with actions to the next latents."""

    pixel_scale: Tensor
    pixel_shift: Tensor

    def __init__(self, config: JointEmbeddingConfig, action_width: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.encoder, config.image_px)
        self.projector = projector(self.encoder.width, config.projector_width, config.latent_width)
        self.predictor = Predictor(config.predictor, config.latent_width, action_width)
        # On the CPU even where shapes are tried on the meta device, whose arithmetic takes seconds to import.
        mean, std = (torch.tensor(rgb, device="cpu").view(3, 1, 1) for rgb in (config.pixel_mean, config.pixel_std))
        self.register_buffer("pixel_scale", 1 / (255 * std), persistent=False)
        self.register_buffer("pixel_shift", -mean / std, persistent=False)

    def encode(self, images: UInt8[Tensor, "b height width 3"]) -> Float[Tensor, "b d"]:
        """One latent an image."""
        return self.projector(self.features(images))

    def features(self, images: UInt8[Tensor, "b height width 3"]) -> Float[Tensor, "b f"]:
        """What the encoder gives for an image, before the projector."""
        pixels = images.movedim(-1, 1).contiguous().float()
        return self.encoder(pixels.mul_(self.pixel_scale).add_(self.pixel_shift))

    def encode_clips(self, batch: Windows) -> Float[Tensor, "b t d"]:
        """One latent a frame."""
        return self.encode(batch.frames.flatten(0, 1)).unflatten(0, batch.frames.shape[:2])

    def prediction_error(self, latents: Float[Tensor, "b t d"], batch: Windows) -> Float[Tensor, ""]:
        """Mean square over the latents that have one before them. Gradients flow into both sides."""
        return self.prediction_errors(latents, batch, 1)[0]

    def prediction_errors(
        self, latents: Float[Tensor, "b t d"], batch: Windows, furthest: int
    ) -> list[Float[Tensor, ""]]:
        """Mean squares 1, 2, ... `furthest` steps ahead, `furthest` below t. Gradients flow into both sides.

        Each pass feeds the predictor what the pass before imagined, at every place of a clip at once: after it, each
        latent but the earliest is imagined from latents that were imagined one step less far.
        """
        given, errors = latents[:, :-1], []
        for step in range(furthest):
            predicted = self.predictor(given, batch.actions)
            errors.append((predicted[:, step:] - latents[:, step + 1 :]).float().square().mean())
            given = torch.cat([latents[:, :1], predicted[:, :-1]], dim=1)
        return errors

    def after_step(self) -> None:
        """Nothing moves but the optimiser: there is no teacher."""
