"""Encoders: normalised images to one feature vector a frame."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.checks import WIDEST, require_range


@dataclass(frozen=True, kw_only=True)
class ConvConfig:
    """Patches without overlap, then stride-2 convolutions of 3x3, all with GroupNorm and SiLU: trains on CPU cores.

    Against four 4x4 convolutions of stride 2, `channels` (16, 32, 64, 128), it takes 0.4 of the time forward and
    backward (64 px, bfloat16, one core of an AMD EPYC Zen 5), and learns as much from as many frames.
    """

    patch: int = 4
    channels: tuple[int, ...] = (32, 64, 128)
    """Of the patches, and after each convolution."""
    groups: int = 8

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "patch", "groups")
        if not self.channels or any(width < 1 or width % self.groups for width in self.channels):
            raise ValueError(f"channels={self.channels} must each be a multiple of groups={self.groups}")


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Vision transformer (Dosovitskiy et al. 2021); the defaults are ViT-Tiny/14, LeWorldModel's encoder."""

    patch: int = 14
    width: int = 192
    depth: int = 12
    heads: int = 3

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "patch", "width", "heads")
        require_range(self, 1, 100, "depth")
        if self.width % self.heads:
            raise ValueError(f"width={self.width} must be a multiple of heads={self.heads}")


class ConvEncoder(nn.Module):
    """Features are the flattened last map: positions of objects stay readable from it."""

    def __init__(self, config: ConvConfig, image_px: int) -> None:
        super().__init__()
        halvings = len(config.channels) - 1
        least = config.patch * 2**halvings
        if image_px % least:
            raise ValueError(
                f"image side {image_px} px must be a multiple of {least} px, what one last feature sees of it"
            )
        first, *others = config.channels
        stages = _stage(nn.Conv2d(3, first, kernel_size=config.patch, stride=config.patch), config.groups)
        for before, after in zip(config.channels, others, strict=False):
            stages += _stage(nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), config.groups)
        self.stages = nn.Sequential(*stages)
        self.width = config.channels[-1] * (image_px // least) ** 2

    def forward(self, images: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b f"]:
        return self.stages(images).flatten(1)


def _stage(convolution: nn.Conv2d, groups: int) -> list[nn.Module]:
    return [convolution, nn.GroupNorm(groups, convolution.out_channels), nn.SiLU()]


class ViTEncoder(nn.Module):
    """Features are the class token after the last LayerNorm."""

    def __init__(self, config: ViTConfig, image_px: int) -> None:
        super().__init__()
        if image_px % config.patch:
            raise ValueError(f"image side {image_px} px must be a multiple of the patch, {config.patch} px")
        patches = (image_px // config.patch) ** 2
        self.patchify = nn.Conv2d(3, config.width, kernel_size=config.patch, stride=config.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.positions = nn.Parameter(torch.zeros(1, patches + 1, config.width))
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(*(ViTBlock(config.width, config.heads) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.width = config.width

    def forward(self, images: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b f"]:
        patches = self.patchify(images).flatten(2).transpose(1, 2)  # [b n f]
        tokens = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1) + self.positions
        return self.norm(self.blocks(tokens))[:, 0]


class ViTBlock(nn.Module):
    """Pre-LayerNorm attention and MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width, eps=1e-12)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width, eps=1e-12)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Float[Tensor, "b n f"]) -> Float[Tensor, "b n f"]:
        qkv = self.to_qkv(self.norm_attention(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [3 b heads n f/heads]
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.to_out(attended.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norm_mlp(tokens))


def build_encoder(config: ConvConfig | ViTConfig, image_px: int) -> ConvEncoder | ViTEncoder:
    """The encoder that a configuration describes. Raises ValueError when the image size does not suit it."""
    match config:
        case ConvConfig():
            return ConvEncoder(config, image_px)
        case ViTConfig():
            return ViTEncoder(config, image_px)
