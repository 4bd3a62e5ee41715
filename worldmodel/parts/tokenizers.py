"""From pixels to tokens: patches of pictures, and tubelets of clips, which are patches that last for some frames."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn


class PixelNorm(nn.Module):
    """Images or clips of 8-bit pixels as normalised channels."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        # On the CPU even where shapes are tried on the meta device, whose arithmetic takes seconds to import.
        wanted, spread = (torch.tensor(rgb, device="cpu") for rgb in (mean, std))
        self.register_buffer("scale", 1 / (255 * spread), persistent=False)
        self.register_buffer("shift", -wanted / spread, persistent=False)

    def forward(self, frames: UInt8[Tensor, "b *t height width 3"]) -> Float[Tensor, "b 3 *t height width"]:
        channels = 3, *[1] * (frames.ndim - 2)
        pixels = frames.movedim(-1, 1).contiguous().float()
        return pixels.mul_(self.scale.view(channels)).add_(self.shift.view(channels))


class TubeletTokenizer(nn.Module):
    """One token for each patch of each `frames` frames: with one frame, a tokenizer of pictures.

    A single frame counts as `frames` equal ones.
    """

    def __init__(self, width: int, patch: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        size = (frames, patch, patch)
        self.project = nn.Conv3d(3, width, kernel_size=size, stride=size)

    def forward(self, pixels: Float[Tensor, "b 3 t height width"]) -> Float[Tensor, "b n d"]:
        """Raises ValueError where the number of frames is neither 1 nor a multiple of a tubelet's."""
        count = pixels.shape[2]
        if count == 1:
            pixels = pixels.expand(-1, -1, self.frames, -1, -1)
        elif count % self.frames:
            raise ValueError(f"a clip has {count} frames; wanted 1, or a multiple of the tubelet's {self.frames}")
        return self.project(pixels).flatten(2).transpose(1, 2)
