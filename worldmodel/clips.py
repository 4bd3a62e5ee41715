"""Windows: short clips cut from episodes, what recipes train on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Frames one model step apart, and the actions between them, unitless in [-1, 1]."""

    frames: UInt8[Tensor, "b t height width 3"]
    actions: Float[Tensor, "b t-1 a"]
    twins: UInt8[Tensor, "b t height width 3"] | None = None
    """The same states, drawn in other worlds."""

    def to(self, device: torch.device) -> "Windows":
        """On that device; from pinned memory without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Windows":
        """In memory that a GPU copies from by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Windows":
        twins = None if self.twins is None else change(self.twins)
        return Windows(change(self.frames), change(self.actions), twins)


def frames_spanned(clip_frames: int, control_steps: int) -> int:
    """Frames of an episode, one control step apart, from the first of a clip to its last; a clip's are one model step
    apart."""
    return (clip_frames - 1) * control_steps + 1
