"""Rotary positions (Su et al. 2021, arXiv:2104.09864).

Attention depends on how far apart two tokens are, not on where they stand.
"""

import torch
from jaxtyping import Float
from torch import Tensor

BASE = 100.0
"""Slowest wavelength over 2 pi, in tokens. Windows here are tens of tokens, not thousands."""


def rotate(heads: Float[Tensor, "*b t w"], first: int) -> Float[Tensor, "*b t w"]:
    """Turn each pair of channels by its position first..first+t-1 times the pair's frequency."""
    steps, width = heads.shape[-2:]
    turned = angles(first, steps, width, heads.device)
    cos, sin = turned.cos().to(heads.dtype), turned.sin().to(heads.dtype)
    even, odd = heads.unflatten(-1, (2, -1)).unbind(-2)
    return torch.cat([even * cos - odd * sin, even * sin + odd * cos], dim=-1)


def angles(first: int, steps: int, width: int, device: torch.device) -> Float[Tensor, "t half"]:
    """The angle, in radians, by which each pair of channels is turned at positions first..first+steps-1."""
    frequencies = BASE ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    return torch.arange(first, first + steps, device=device, dtype=torch.float32)[:, None] * frequencies
