"""SIGReg: keeps latents from collapsing without a teacher or a stop-gradient.

Balestriero and LeCun 2025, LeJEPA, arXiv:2511.08544: project the batch on random directions and hold each projection
against N(0, 1) with the Epps-Pulley statistic. Quadrature as in the authors' code: 17 knots on [0, 3], trapezoid with
doubled interior weights.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from worldmodel.processes import average, process_count

KNOTS = 17
LAST_KNOT = 3.0


def sigreg(latents: Float[Tensor, "*groups b d"], directions: int, generator: Generator) -> Float[Tensor, ""]:
    """Mean Epps-Pulley statistic over fresh random directions and over the leading axes.

    `b` must hold independent samples: time steps or views of one sample belong on a leading axis, never on `b`. Of
    several training processes, the batch is that of all of them.
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
