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
    frequencies = BASE ** (-torch.arange(0, width, 2, device=heads.device, dtype=torch.float32) / width)
    angles = torch.arange(first, first + steps, device=heads.device, dtype=torch.float32)[:, None] * frequencies
    cos, sin = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
    even, odd = heads.unflatten(-1, (2, -1)).unbind(-2)
    return torch.cat([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
