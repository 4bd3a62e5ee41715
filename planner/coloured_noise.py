"""Noise whose power falls with frequency as 1/f**exponent (Timmer & König 1995): 0 white, 1 pink, 2 red.

Along the horizon, higher exponents give samples that keep their direction for longer.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor


def coloured_noise(
    samples: int, rows: int, width: int, *, exponent: float, generator: Generator
) -> Float[Tensor, "s k v"]:
    """Normal samples of mean 0 and standard deviation 1, coloured along the rows k and independent otherwise.

    They are drawn where the generator lives, so that a seed means the same noise on every device.
    """
    frequency = torch.fft.rfftfreq(rows, device=generator.device)
    frequency[0] = 1 / rows  # the mean has the power of the slowest wave, not an infinite one
    amplitude = frequency ** (-exponent / 2)
    real_only = torch.zeros_like(amplitude, dtype=torch.bool)
    real_only[0] = True  # the mean, and for even rows the fastest wave, have no phase
    real_only[-1] |= rows % 2 == 0
    deviation = torch.where(real_only, amplitude * 2**0.5, amplitude)
    # Each row is a sum over the spectrum, in which a wave with a phase counts for itself and its mirror image.
    total = (torch.where(real_only, 1, 4) * deviation.square()).sum().sqrt() / rows
    draws = torch.randn((2, samples, width, len(amplitude)), generator=generator, device=generator.device)
    spectrum = torch.complex(draws[0] * deviation, draws[1] * deviation.masked_fill(real_only, 0))
    return torch.fft.irfft(spectrum, n=rows).transpose(1, 2) / total
