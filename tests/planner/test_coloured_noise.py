"""The spectrum is what the noise promises."""

import math

import pytest
import torch
from torch import Generator, Tensor

from planner.coloured_noise import coloured_noise


def noise(rows: int, exponent: float, *, samples: int = 4000, seed: int = 0) -> Tensor:
    return coloured_noise(samples, rows, 2, exponent=exponent, generator=Generator().manual_seed(seed))


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("rows", [32, 33])
def test_power_falls_with_frequency_as_asked(rows: int, exponent: float) -> None:
    """The slope of the mean periodogram on double logarithmic axes."""
    power = torch.fft.rfft(noise(rows, exponent), dim=1).abs().square().mean((0, 2))
    inner = slice(1, (rows - 1) // 2)  # neither the mean nor the fastest wave
    x, y = torch.fft.rfftfreq(rows)[inner].log(), power[inner].log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert float(slope) == pytest.approx(-exponent, abs=0.05)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8])
def test_every_row_has_mean_0_and_standard_deviation_1(rows: int, exponent: float) -> None:
    """So that a std means the same for every colour and horizon."""
    samples = noise(rows, exponent, samples=20000)
    assert samples.shape == (20000, rows, 2)
    assert samples.mean(0).abs().max() < 0.03
    assert (samples.std(0) - 1).abs().max() < 0.03


def test_without_colour_rows_are_independent() -> None:
    samples = noise(6, 0.0, samples=20000)[..., 0]
    assert (torch.corrcoef(samples.T) - torch.eye(6)).abs().max() < 0.03


def test_redder_noise_keeps_its_direction_for_longer() -> None:
    together = [float((s[:, 0] * s[:, 1]).mean()) for s in (noise(8, exponent) for exponent in (0.0, 1.0, 2.0, 4.0))]
    assert together == sorted(together) and together[0] < 0.05 and together[-1] > 0.5


def test_two_rows_by_hand() -> None:
    """Exponent 2: the mean's wave has frequency 1/2, the fastest one too, so both amplitudes are 2: white noise."""
    samples = noise(2, 2.0, samples=20000)[..., 0]
    assert float((samples[:, 0] * samples[:, 1]).mean()) == pytest.approx(0, abs=0.03)


def test_four_rows_by_hand() -> None:
    """Frequencies 1/4 (the mean), 1/4, 1/2; exponent 2: powers 16, 16, 4, of which the middle wave counts twice.

    Neighbours share the mean (+16), nothing of the middle wave (a quarter turn), and the fastest one reversed (-4):
    (16 - 4) / (16 + 2 * 16 + 4).
    """
    samples = noise(4, 2.0, samples=40000)[..., 0]
    assert float((samples[:, 0] * samples[:, 1]).mean()) == pytest.approx(12 / 52, abs=0.02)


def test_the_variables_are_independent() -> None:
    samples = noise(5, 2.0, samples=20000)
    assert (samples[..., 0] * samples[..., 1]).mean(0).abs().max() < 0.03


def test_same_seed_same_noise() -> None:
    assert torch.equal(noise(5, 1.0, seed=3), noise(5, 1.0, seed=3))
    assert not torch.equal(noise(5, 1.0, seed=3), noise(5, 1.0, seed=4))
    assert math.isfinite(float(noise(5, 1.0).abs().max()))
