"""Frames of cameras through one encoder of patches, and an observation's latents made of their tokens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.clips import Clips
from worldmodel.observation import ObservationBatch, SensorSpec
from worldmodel.parts.frames import LEAST_PIXEL_STD
from worldmodel.parts.tokenizers import PixelNorm
from worldmodel.parts.tokens import vector_tokens
from worldmodel.recipe import Latents

Rgb = tuple[float, float, float]
HALVES: Rgb = (0.5, 0.5, 0.5)
IMAGENET_MEAN: Rgb = (0.485, 0.456, 0.406)
IMAGENET_STD: Rgb = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class PixelConfig:
    """Tokenizer of the pixels."""

    patch: int
    """Side of a patch in px."""
    mean: Rgb = HALVES
    std: Rgb = HALVES
    """Per channel, of pixels in [0, 1]."""

    def __post_init__(self) -> None:
        if self.patch < 1 or min(self.std) < LEAST_PIXEL_STD:
            raise ValueError(f"patch={self.patch} must be at least 1 and std={self.std} at least {LEAST_PIXEL_STD}")


class Cameras(nn.Module):
    """The cameras among a robot's sensors. They share an encoder, so their images have one size."""

    def __init__(self, sensors: Sequence[SensorSpec], config: PixelConfig) -> None:
        """Raises ValueError where there is no camera, or images are no multiple of a patch or too small for masks."""
        super().__init__()
        self.sensors = tuple(sensors)
        self.specs = [spec for spec in sensors if spec.kind == "camera"]
        if len({spec.shape for spec in self.specs}) != 1:
            given = ", ".join(f"{spec.name} {spec.shape}" for spec in sensors)
            raise ValueError(f"sensors are {given}; wanted one or more cameras with images of one size")
        height, width, _ = self.specs[0].shape
        if height % config.patch or width % config.patch or min(height, width) < 2 * config.patch:
            raise ValueError(
                f"images are {height} x {width} px; wanted a multiple of patch={config.patch} px, twice it at least"
            )
        self.grid = height // config.patch, width // config.patch
        """Rows and columns of patches."""
        self.normalise = PixelNorm(config.mean, config.std)

    def pixels(self, frames: Mapping[str, Tensor]) -> Float[Tensor, "rows 3 t height width"]:
        """Clips [b t height width 3] of each camera, one camera after another."""
        return self.normalise(torch.cat([frames[spec.name] for spec in self.specs]))


@dataclass(frozen=True)
class CameraEncoder:
    """The encoder that a recipe offers: tokens of all cameras, and a vector sensor's readings as one token.

    A frame is encoded alone, so that its latents do not depend on what was seen before it and are computed once.
    """

    cameras: Cameras
    width: int
    tokens_of: Callable[[Tensor], Tensor]
    """From pixels [b 3 t height width] to tokens [b slots n d]."""

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Tokens and width of a frame."""
        return sum(self._tokens), self.width

    @property
    def learned(self) -> list[int]:
        """Indices of the learned tokens: those of cameras."""
        is_learned: list[bool] = []
        for spec, count in zip(self.cameras.sensors, self._tokens, strict=True):
            is_learned += count * [spec.kind == "camera"]
        return [index for index, learned in enumerate(is_learned) if learned]

    def encode(self, observation: ObservationBatch) -> Latents:
        """Latents [b n d] of one frame a robot: the sensors' tokens in order, a camera's by row and column."""
        frames = {spec.name: observation.values[spec.name][:, None] for spec in self.cameras.specs}
        seen = self.tokens_of(self.cameras.pixels(frames))[:, 0].chunk(len(frames))
        felt = vector_tokens(self.cameras.sensors, observation, self.width)
        tokens = dict(zip(frames, seen, strict=True)) | {name: token[:, None] for name, token in felt.items()}
        return Latents(torch.cat([tokens[spec.name] for spec in self.cameras.sensors], dim=1))

    def encode_clips(self, batch: Clips) -> Float[Tensor, "b slots n d"]:
        """Tokens of the cameras over whole clips: motion is in them where the recipe's time slots see several frames.

        Clips are no longer than those that the recipe trains on.
        """
        tokens = self.tokens_of(self.cameras.pixels(batch.sensors))
        return torch.cat(tokens.chunk(len(self.cameras.specs)), dim=2)

    @property
    def _tokens(self) -> list[int]:
        rows, columns = self.cameras.grid
        return [rows * columns if spec.kind == "camera" else 1 for spec in self.cameras.sensors]
