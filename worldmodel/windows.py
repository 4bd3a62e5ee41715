"""Windows: short clips cut from episodes, what recipes train on."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Frames one model step apart, and the actions between them, unitless in [-1, 1]."""

    frames: UInt8[Tensor, "b t height width 3"]
    actions: Float[Tensor, "b t-1 a"]

    def to(self, device: torch.device) -> "Windows":
        """On that device; from pinned memory without waiting."""
        return Windows(self.frames.to(device, non_blocking=True), self.actions.to(device, non_blocking=True))

    def pin_memory(self) -> "Windows":
        """In memory that a GPU copies from by itself."""
        return Windows(self.frames.pin_memory(), self.actions.pin_memory())
