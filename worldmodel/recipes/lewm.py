"""LeWorldModel: a world model learned end to end from pixels with two losses.

Maes, Le Lidec et al. 2026, arXiv:2603.19312, and the authors' code. Predict the next latent (mean squared error) and
keep the latents Gaussian (SIGReg); gradients flow into both sides of the prediction, no teacher, no stop-gradient, no
decoder.

Departures:
- actions are scaled to [-1, 1] by the robot's limits instead of standardised by the dataset's statistics;
- preset `small`: convolutional encoder, rotary positions instead of learned ones (so that keys and values can be kept),
  one normalisation before each modulation instead of two, no dropout, clips of 6 frames, 256 directions.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor, nn

from worldmodel.checks import WIDEST, require_range
from worldmodel.encoders import ConvConfig, ViTConfig, build_encoder
from worldmodel.predictor import Predictor, PredictorConfig
from worldmodel.projector import projector
from worldmodel.regularizers import sigreg
from worldmodel.windows import Windows


@dataclass(frozen=True, kw_only=True)
class LeWMConfig:
    """Defaults are the published model: 18.0 M parameters, 224 px."""

    image_px: int = 224
    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    latent_width: int = 192
    clip_frames: int = 4
    encoder: ConvConfig | ViTConfig = field(default_factory=ViTConfig)
    projector_width: int = 2048
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    sigreg_weight: float = 0.09
    sigreg_directions: int = 1024

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "image_px", "latent_width", "projector_width", "sigreg_directions")
        require_range(self, 2, WIDEST, "clip_frames")
        require_range(self, 0, WIDEST, "sigreg_weight")
        if min(self.pixel_std) <= 0:
            raise ValueError(f"pixel_std={self.pixel_std} must be above 0")


def paper() -> LeWMConfig:
    """The published architecture. Train it on a GPU."""
    return LeWMConfig()


def small() -> LeWMConfig:
    """Trains on two CPU cores in under an hour and plans in tens of milliseconds."""
    return LeWMConfig(
        image_px=64,
        pixel_mean=(0.5, 0.5, 0.5),
        pixel_std=(0.5, 0.5, 0.5),
        latent_width=64,
        clip_frames=6,
        encoder=ConvConfig(),
        projector_width=512,
        predictor=PredictorConfig(
            width=128,
            depth=3,
            heads=2,
            mlp_width=512,
            projector_width=512,
            action_bottleneck=32,
            dropout=0.0,
            positions="rotary",
            window=6,
            double_norm=False,
        ),
        sigreg_weight=0.1,
        sigreg_directions=256,
    )


def tiny() -> LeWMConfig:
    """For tests: learns next to nothing, in milliseconds."""
    return LeWMConfig(
        image_px=32,
        pixel_mean=(0.5, 0.5, 0.5),
        pixel_std=(0.5, 0.5, 0.5),
        latent_width=16,
        clip_frames=4,
        encoder=ConvConfig(channels=(8, 16, 16), groups=4),
        projector_width=32,
        predictor=PredictorConfig(
            width=32,
            depth=2,
            heads=2,
            head_width=16,
            mlp_width=64,
            projector_width=32,
            action_bottleneck=8,
            dropout=0.0,
            positions="rotary",
            window=4,
            double_norm=False,
        ),
        sigreg_directions=32,
    )


PRESETS = {"paper": paper, "small": small, "tiny": tiny}


class LeWM(nn.Module):
    """Encoder and predictor with their two losses."""

    pixel_scale: Tensor
    pixel_shift: Tensor

    def __init__(self, config: LeWMConfig, action_width: int) -> None:
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

    def losses(self, batch: Windows, generator: Generator) -> dict[str, Float[Tensor, ""]]:
        """`predict`: mean squared error of the next latent. `sigreg`: weighted, over the batch of each time step."""
        clips, steps = batch.frames.shape[:2]
        latents = self.encode(batch.frames.flatten(0, 1)).unflatten(0, (clips, steps))  # [b t d]
        predicted = self.predictor(latents[:, :-1], batch.actions)
        return {
            "predict": (predicted - latents[:, 1:]).float().square().mean(),
            "sigreg": self.config.sigreg_weight
            * sigreg(latents.transpose(0, 1), self.config.sigreg_directions, generator),
        }

    def after_step(self) -> None:
        """Nothing moves but the optimiser: LeWM has no teacher."""
