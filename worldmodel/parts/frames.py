"""Encodes all sensors of a frame as latents, one token a sensor."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.observation import ObservationBatch, SensorSpec
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.encoders import ConvConfig, ViTConfig, build_encoder
from worldmodel.parts.projector import projector
from worldmodel.parts.tokenizers import PixelNorm
from worldmodel.parts.tokens import vector_tokens
from worldmodel.recipe import Latents, ParameterGroup, Step

LEAST_PIXEL_STD = 1e-3
"""Least standard deviation of a channel in [0, 1]: about a quarter of a step of 8-bit pixels."""


@dataclass(frozen=True, kw_only=True)
class FrameConfig:
    """Configuration of a `FrameEncoder`. Defaults are LeWorldModel's published encoder."""

    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    latent_width: int = 192
    """Numbers in one sensor's token."""
    clip_frames: int = 4
    encoder: ConvConfig | ViTConfig = field(default_factory=ViTConfig)
    projector_width: int = 2048

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "latent_width", "projector_width")
        require_range(self, 2, WIDEST, "clip_frames")
        if min(self.pixel_std) < LEAST_PIXEL_STD:
            raise ValueError(f"pixel_std={self.pixel_std} must be at least {LEAST_PIXEL_STD}")

    @property
    def wants_twins(self) -> bool:
        """True where a loss needs twins of the frames."""
        return False


class FrameEncoder(nn.Module):
    """A camera's token is learned; a vector's is its readings, standardised.

    The first sensor is a camera. Its encoder and projector have the names of the published weights; those of further
    cameras are in `further`, in order.
    """

    def __init__(self, config: FrameConfig, sensors: Sequence[SensorSpec]) -> None:
        super().__init__()
        first, *others = sensors
        if first.kind != "camera":
            raise ValueError(f"the first sensor, {first.name}, is a {first.kind}; wanted a camera first")
        self.sensors = tuple(sensors)
        self.latent_width = config.latent_width
        self.encoder = build_encoder(config.encoder, _side(first))
        self.projector = projector(self.encoder.width, config.projector_width, config.latent_width)
        self.further = nn.ModuleList(_further(config, spec) for spec in others if spec.kind == "camera")
        self.pixels = PixelNorm(config.pixel_mean, config.pixel_std)

    @property
    def latent_shape(self) -> tuple[int, int]:
        """One token a sensor."""
        return len(self.sensors), self.latent_width

    @property
    def cameras(self) -> list[tuple[SensorSpec, nn.Module, nn.Sequential]]:
        """Each camera with its encoder and its projector, in order."""
        specs = [spec for spec in self.sensors if spec.kind == "camera"]
        parts = [(self.encoder, self.projector), *((each[0], each[1]) for each in self.further)]  # type: ignore[index]
        return [(spec, encoder, head) for spec, (encoder, head) in zip(specs, parts, strict=True)]

    @property
    def learned(self) -> list[int]:
        """Indices of the learned tokens: those of cameras."""
        return [index for index, spec in enumerate(self.sensors) if spec.kind == "camera"]

    def tokens(self, observation: ObservationBatch) -> Float[Tensor, "b n d"]:
        """One token a sensor, in order."""
        seen = {
            spec.name: head(encoder(self.pixels(observation.values[spec.name]))) for spec, encoder, head in self.cameras
        }
        by_name = seen | vector_tokens(self.sensors, observation, self.latent_width)
        return torch.stack([by_name[spec.name] for spec in self.sensors], dim=1)

    def encode(self, observation: ObservationBatch) -> Latents:
        """Latents [b n d] of one frame a robot."""
        return Latents(self.tokens(observation))

    def groups(self) -> list[ParameterGroup]:
        """All parameters alike."""
        return [ParameterGroup(list(self.parameters()))]

    def after_step(self, step: Step) -> None:
        """Nothing moves but by the optimiser."""


def _side(camera: SensorSpec) -> int:
    height, width, _ = camera.shape
    if height != width:
        raise ValueError(f"camera {camera.name} gives {height} x {width} px; wanted square images")
    return height


def _further(config: FrameConfig, camera: SensorSpec) -> nn.Sequential:
    encoder = build_encoder(config.encoder, _side(camera))
    return nn.Sequential(encoder, projector(encoder.width, config.projector_width, config.latent_width))
