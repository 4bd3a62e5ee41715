"""Windows: short clips cut from episodes, what recipes train on."""

from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Frames one model step apart, and the actions between them, unitless in [-1, 1]."""

    frames: UInt8[Tensor, "b t height width 3"]
    actions: Float[Tensor, "b t-1 a"]
