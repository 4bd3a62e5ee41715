"""Latent tokens of a frame: pooling for small heads, and tokens of vector sensors."""

import math
from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from worldmodel.observation import ObservationBatch, SensorSpec

Pooling = Literal["concatenate", "mean"]

MOST_CONCATENATED = 1024
"""Most numbers of a frame that a small head reads one by one; of larger frames it reads the mean token."""


def pooling_of(tokens: int, width: int) -> Pooling:
    """The pooling of a head that reads frames of this shape."""
    return "concatenate" if tokens * width <= MOST_CONCATENATED or tokens == 1 else "mean"


def pooled_width(pooling: Pooling, tokens: int, width: int) -> int:
    """Width of the output of `pool`."""
    return tokens * width if pooling == "concatenate" else width


def pool(latents: Float[Tensor, "*b n d"], pooling: Pooling) -> Float[Tensor, "*b p"]:
    """One vector a frame: its tokens side by side, or their mean."""
    return latents.flatten(-2) if pooling == "concatenate" else latents.mean(-2)


def vector_token(standardised: Float[Tensor, "*b k"], width: int) -> Float[Tensor, "*b d"]:
    """A vector's standardised entries as a token of `width`, padded with zeros.

    Scaled by sqrt(width / k), so that it weighs in a squared distance as a token of `width` such entries would. Nothing
    of it is learned: it cannot collapse, and distances between tokens are those between readings.
    """
    entries = standardised.shape[-1]
    if entries > width:
        raise ValueError(f"a vector of {entries} entries does not fit into a token of {width}; widen the latents")
    return F.pad(standardised * math.sqrt(width / entries), (0, width - entries))


def vector_tokens(
    sensors: Sequence[SensorSpec], observation: ObservationBatch, width: int
) -> dict[str, Float[Tensor, "b d"]]:
    """The token of each vector sensor, by its name."""
    vectors = [spec for spec in sensors if spec.kind == "vector"]
    return {spec.name: vector_token(spec.standardised(observation.values[spec.name]), width) for spec in vectors}
