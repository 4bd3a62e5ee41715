"""Surprise: the squared distance of a frame's latents from their prediction, calibrated on held-out transitions."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.manifest import CalibrationSpec
from worldmodel.recipe import WorldModel

QUANTILES = 101
ALARM_QUANTILE = 0.99


def surprise(
    model: WorldModel, latents: Float[Tensor, "b t n d"], actions: Float[Tensor, "b t-1 a"]
) -> Float[Tensor, "b t-1"]:
    """Squared distance between each frame's latents and their prediction from the frames and actions before it.

    LeWorldModel's violation of expectation (arXiv:2603.19312, section 5): summed over the channels of all tokens.
    """
    return (model.predictions(latents, actions) - latents[:, 1:]).square().sum((-2, -1))


def calibrated(surprises: Iterable[Float[Tensor, "b t"]]) -> CalibrationSpec:
    """The quantiles of held-out transitions, and the threshold that 1 % of them exceed."""
    values = torch.cat([each.flatten().cpu() for each in surprises]).double()
    ranks = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    return CalibrationSpec(
        quantiles=tuple(values.quantile(ranks).tolist()),
        transitions=len(values),
        threshold=float(values.quantile(ALARM_QUANTILE)),
    )
