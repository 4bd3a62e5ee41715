"""Encoders, which turn normalised images into one feature vector a frame."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.parts.checks import WIDEST, require_range


@dataclass(frozen=True, kw_only=True)
class ConvConfig:
    """One convolution a stage, with GroupNorm and SiLU; it trains on two CPU cores. Defaults: patches, then halvings.

    Against four 4x4 convolutions of stride 2 to (16, 32, 64, 128) channels, the defaults take 0.4 of the time forward
    and backward (64 px, bfloat16, one core of an AMD EPYC Zen 5), and learn as much from as many frames.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    kernels: tuple[int, ...] = (4, 3, 3)
    strides: tuple[int, ...] = (4, 2, 2)
    groups: int = 8

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "groups")
        if not self.channels or any(width < 1 or width % self.groups for width in self.channels):
            raise ValueError(f"channels={self.channels} must each be a multiple of groups={self.groups}")
        for name in ("kernels", "strides"):
            values = getattr(self, name)
            if len(values) != len(self.channels) or min(values) < 1:
                raise ValueError(f"{name}={values} must be one number from 1 for each of channels={self.channels}")


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
        shrinks = math.prod(config.strides)
        if image_px % shrinks:
            raise ValueError(f"image side {image_px} px must be a multiple of {shrinks} px, by which strides shrink it")
        stages: list[nn.Module] = []
        previous = 3
        for channels, kernel, stride in zip(config.channels, config.kernels, config.strides, strict=True):
            padding = (kernel - stride + 1) // 2  # so that the side shrinks by the stride, no more
            stages += [nn.Conv2d(previous, channels, kernel, stride, padding), nn.GroupNorm(config.groups, channels)]
            stages.append(nn.SiLU())
            previous = channels
        self.stages = nn.Sequential(*stages)
        self.width = previous * (image_px // shrinks) ** 2

    def forward(self, images: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b f"]:
        return self.stages(images).flatten(1)


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
