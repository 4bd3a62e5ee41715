"""Errors of predicted latents, and how targets are normalised before."""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

ErrorKind = Literal["l1", "l2", "smooth_l1", "cosine"]
TargetNorm = Literal["none", "layer", "standardised"]
LEAST_STD = 1e-5

_ERRORS: dict[ErrorKind, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": lambda predicted, wanted: (predicted - wanted).abs().mean(-1),
    "l2": lambda predicted, wanted: (predicted - wanted).square().mean(-1),
    "smooth_l1": lambda predicted, wanted: F.smooth_l1_loss(predicted, wanted, reduction="none").mean(-1),
    "cosine": lambda predicted, wanted: 1 - F.cosine_similarity(predicted, wanted, dim=-1),
}


def latent_errors(
    kind: ErrorKind, predicted: Float[Tensor, "*b d"], wanted: Float[Tensor, "*b d"]
) -> Float[Tensor, "*b"]:
    """The error of each token in float32: a mean over channels, or 1 less the cosine."""
    return _ERRORS[kind](predicted.float(), wanted.float())


def mean_of_real(errors: Float[Tensor, "b k"], real: Bool[Tensor, "b k"] | None) -> Float[Tensor, ""]:
    """The mean over tokens, without those that only fill a batch up."""
    return errors.mean() if real is None else (errors * real).sum() / real.sum()


def normalised(wanted: Float[Tensor, "b n d"], norm: TargetNorm) -> Float[Tensor, "b n d"]:
    """Targets in float32. `layer`: each token over its channels. `standardised`: each channel over all tokens."""
    wanted = wanted.float()
    if norm == "layer":
        return F.layer_norm(wanted, wanted.shape[-1:])
    if norm == "standardised":
        centred = wanted - wanted.mean((0, 1))
        return centred / centred.square().mean((0, 1)).sqrt().clamp_min(LEAST_STD)
    return wanted
