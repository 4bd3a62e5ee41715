"""Episodes as a frozen world model sees them: what the heads of a checkpoint learn from."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Imagined:
    """Latents that the model imagined of frames that it has also seen."""

    latents: Float[Tensor, "m d"]
    rows: Int[Tensor, " m"]
    """Of these frames, among those of the episodes."""


@dataclass(frozen=True)
class LatentEpisodes:
    """Latents of every frame of many episodes, end to end."""

    latents: Float[Tensor, "rows d"]
    last_row: Int[Tensor, " rows"]
    """For each row, the row of its episode's last frame."""
    imagined: Imagined | None = None
