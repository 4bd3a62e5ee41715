"""A transformer with LayerNorm before attention and MLP, as the encoders and predictors of the JEPA family have it.

Dosovitskiy et al. 2021, arXiv:2010.11929, without a class token. Heads can be turned (rotary positions), tokens that
only fill a batch up can be kept out, and several levels can be read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.positions import Rotation, rotated

EPSILON = 1e-6
"""Epsilon of every LayerNorm."""
INITIAL_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Size of a transformer."""

    width: int
    depth: int
    heads: int
    mlp_width: int

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "width", "heads", "mlp_width")
        require_range(self, 1, 100, "depth")
        if self.width % self.heads:
            raise ValueError(f"width={self.width} must be a multiple of heads={self.heads}")


TINY = TransformerConfig(width=32, depth=2, heads=2, mlp_width=64)
TINY_NARROW = TransformerConfig(width=16, depth=1, heads=1, mlp_width=32)
SMALL = TransformerConfig(width=128, depth=4, heads=4, mlp_width=512)
SMALL_NARROW = TransformerConfig(width=64, depth=3, heads=4, mlp_width=256)
VIT_B = TransformerConfig(width=768, depth=12, heads=12, mlp_width=3072)
VIT_L = TransformerConfig(width=1024, depth=24, heads=16, mlp_width=4096)
VIT_H = TransformerConfig(width=1280, depth=32, heads=16, mlp_width=5120)
VIT_G = TransformerConfig(width=1408, depth=40, heads=22, mlp_width=6144)
"""Called g in the papers; I-JEPA's has 16 heads."""
VIT_GG = TransformerConfig(width=1664, depth=48, heads=26, mlp_width=8192)
"""Called G in the papers."""


class Attention(nn.Module):
    """Every token looks at every real token."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "b k d"], rotation: Rotation | None, real: Bool[Tensor, "b k"] | None
    ) -> Float[Tensor, "b k d"]:
        qkv = self.to_qkv(tokens).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # [3 b heads k d/heads]
        if rotation is not None:
            query, key = rotated(query, rotation), rotated(key, rotation)
        looked_at = None if real is None else real[:, None, None]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=looked_at)
        return self.to_out(attended.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Attention and MLP, each added to its input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(config.width, eps=EPSILON)
        self.attention = Attention(config.width, config.heads)
        self.norm_mlp = nn.LayerNorm(config.width, eps=EPSILON)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, config.mlp_width), nn.GELU(), nn.Linear(config.mlp_width, config.width)
        )

    def forward(
        self, tokens: Float[Tensor, "b k d"], rotation: Rotation | None, real: Bool[Tensor, "b k"] | None
    ) -> Float[Tensor, "b k d"]:
        tokens = tokens + self.attention(self.norm_attention(tokens), rotation, real)
        return tokens + self.mlp(self.norm_mlp(tokens))


class Transformer(nn.Module):
    """Blocks one after another, without a norm at the end."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.depth))

    def forward(
        self, tokens: Float[Tensor, "b k d"], rotation: Rotation | None = None, real: Bool[Tensor, "b k"] | None = None
    ) -> Float[Tensor, "b k d"]:
        """The tokens after the last block. `real` is False for tokens that nobody may look at."""
        return self.levels(tokens, (len(self.blocks) - 1,), rotation, real)[0]

    def levels(
        self,
        tokens: Float[Tensor, "b k d"],
        wanted: Sequence[int],
        rotation: Rotation | None = None,
        real: Bool[Tensor, "b k"] | None = None,
    ) -> list[Float[Tensor, "b k d"]]:
        """The tokens after each of the wanted blocks, which are counted from 0."""
        found = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, rotation, real)
            if index in wanted:
                found.append(tokens)
        return found


def initialise(module: nn.Module) -> None:
    """Draw weights from a truncated normal distribution, and set biases to zero.

    The two layers of block l, counted from 1, whose outputs are added to the tokens are divided by sqrt(2 l), as the
    constructors of the published codes do. (A later pass of I-JEPA's and V-JEPA's training code undoes that.)
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.Conv3d):
            nn.init.trunc_normal_(part.weight, std=INITIAL_STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, Transformer):
            _rescale(part)


def _rescale(transformer: Transformer) -> None:
    for depth, block in enumerate(transformer.blocks, start=1):
        assert isinstance(block, TransformerBlock)
        for layer in (block.attention.to_out, block.mlp[-1]):
            assert isinstance(layer, nn.Linear)
            layer.weight.data.div_(math.sqrt(2 * depth))
