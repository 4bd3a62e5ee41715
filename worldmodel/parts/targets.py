"""Target encoders: an exponential moving average of a module, which no optimiser moves."""

import copy
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from worldmodel.parts.checks import require_range


@dataclass(frozen=True, kw_only=True)
class Momentum:
    """Share of itself that a target encoder keeps at each step, over the course of a training."""

    first: float
    last: float
    """Equal to `first` for a constant momentum."""
    shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        require_range(self, 0, 1, "first", "last")

    def at(self, progress: float) -> float:
        """The momentum after this share of the steps, 0 to 1."""
        share = progress if self.shape == "linear" else (1 - math.cos(math.pi * progress)) / 2
        return self.first + (self.last - self.first) * share


class TargetEncoder(nn.Module):
    """A copy of `source` that follows it (Grill et al. 2020, arXiv:2006.07733). No gradient enters it.

    It is in no parameter group, so the optimiser keeps no state of it; it is saved with the module that holds it.
    """

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(source).requires_grad_(False)

    @torch.no_grad()
    def follow(self, source: nn.Module, momentum: float) -> None:
        """Move to `momentum` of itself and the rest of `source`. Buffers (running statistics) are copied."""
        for slow, fast in zip(self.module.parameters(), source.parameters(), strict=True):
            slow.lerp_(fast, 1 - momentum)
        for slow, fast in zip(self.module.buffers(), source.buffers(), strict=True):
            slow.copy_(fast)

    @torch.no_grad()
    def forward(self, *inputs: object, **named: object) -> object:
        return self.module(*inputs, **named)
