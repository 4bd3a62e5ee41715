"""Regularisers that prevent collapse without a target encoder or stop-gradient (SIGReg, VICReg), and smoothness.

SIGReg: Balestriero and LeCun 2025, LeJEPA, arXiv:2511.08544: project the batch on random directions and hold each
projection against N(0, 1) with the Epps-Pulley statistic. Quadrature as in the authors' code: 17 knots on [0, 3],
trapezoid with doubled interior weights.

VICReg: Bardes, Ponce and LeCun 2022, arXiv:2105.04906, equations 1 to 4, with the covariance's mean over pairs of
channels, as PLDM has it (arXiv:2502.14819 and its code), instead of their sum over the width.

With several training processes, the batch is that of all of them together.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from worldmodel.parts.processes import average, process_count

KNOTS = 17
LAST_KNOT = 3.0


def sigreg(latents: Float[Tensor, "*groups b d"], directions: int, generator: Generator) -> Float[Tensor, ""]:
    """Mean Epps-Pulley statistic over fresh random directions and over the leading axes.

    `b` must hold independent samples: time steps or views of one sample belong on a leading axis, never on `b`.
    A perfect standard Gaussian scores 1.052, a point at the origin 0.402 b.
    """
    width = latents.shape[-1]
    normal = torch.randn(width, directions, generator=generator, device=generator.device)
    unit = (normal / normal.norm(dim=0)).to(latents.device)
    with torch.autocast(latents.device.type, enabled=False):  # the means below do not survive bfloat16
        return epps_pulley(latents.float() @ unit).mean()


def epps_pulley(samples: Float[Tensor, "*groups b m"]) -> Float[Tensor, "*groups m"]:
    """b * integral of |phi_b(t) - exp(-t^2/2)|^2 exp(-t^2/2) dt over the samples on axis -2, in float32 or wider.

    The first knot, t = 0, adds nothing (every characteristic function is 1 there) and is left out.
    """
    count = samples.shape[-2] * process_count()
    spacing = LAST_KNOT / (KNOTS - 1)
    knots = torch.arange(1, KNOTS, dtype=samples.dtype, device=samples.device) * spacing
    gaussian = torch.exp(-knots.square() / 2)
    weights = torch.full_like(knots, 2 * spacing)
    weights[-1] = spacing
    angles = samples.unsqueeze(-1) * knots  # [*groups b m k]
    real, imaginary = average(torch.stack([angles.cos().mean(dim=-3), angles.sin().mean(dim=-3)]))
    real = real - gaussian
    return count * ((real.square() + imaginary.square()) * (weights * gaussian)).sum(dim=-1)


def variance_hinge(latents: Float[Tensor, "*groups b d"]) -> Float[Tensor, ""]:
    """Mean shortfall below 1 of the channels' standard deviations over the batch. `b` as in `sigreg`."""
    with torch.autocast(latents.device.type, enabled=False):
        centred, samples = _centred(latents)
        variance = average(centred.square().mean(-2)) * samples / (samples - 1)
        return F.relu(1 - (variance + 1e-4).sqrt()).mean()


def covariance(latents: Float[Tensor, "*groups b d"]) -> Float[Tensor, ""]:
    """Mean square of the covariances between different channels over the batch. `b` as in `sigreg`."""
    width = latents.shape[-1]
    with torch.autocast(latents.device.type, enabled=False):
        centred, samples = _centred(latents)
        matrix = average(centred.mT @ centred / latents.shape[-2]) * samples / (samples - 1)
        apart = matrix.square().sum((-2, -1)) - matrix.diagonal(dim1=-2, dim2=-1).square().sum(-1)
        return apart.mean() / (width * (width - 1))


def smoothness(latents: Float[Tensor, "b t *n d"]) -> Float[Tensor, ""]:
    """Mean squared change from each latent to the next (PLDM, arXiv:2502.14819). Alone, this term collapses latents."""
    return latents.diff(dim=1).float().square().mean()


def _centred(latents: Float[Tensor, "*groups b d"]) -> tuple[Float[Tensor, "*groups b d"], int]:
    """The latents in float32, less the mean of the whole batch, and the number of samples in that batch."""
    wide = latents.float()
    return wide - average(wide.mean(-2, keepdim=True)), latents.shape[-2] * process_count()
