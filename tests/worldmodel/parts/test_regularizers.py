"""SIGReg: the golden numbers of LeJEPA's statistic, and the two ways to use it wrongly."""

import math

import pytest
import torch
from torch import Generator, Tensor

from worldmodel.parts.regularizers import epps_pulley, sigreg


def statistic(samples: list[float] | Tensor) -> float:
    return float(epps_pulley(torch.as_tensor(samples, dtype=torch.float64)[:, None]))


def symmetric_trapezoid(samples: Tensor) -> float:
    """The same integral over [-3, 3] with 33 knots, complex numbers and nothing folded."""
    knots = torch.linspace(-3, 3, 33, dtype=torch.float64)
    window = torch.exp(-knots.square() / 2)
    empirical = torch.exp(1j * samples[:, None] * knots).mean(0)
    integrand = (empirical - window).abs().square() * window
    return float(len(samples) * torch.trapezoid(integrand, knots))


def test_three_points() -> None:
    assert statistic([0.0, 1.0, -1.0]) == pytest.approx(0.0329465, abs=1e-7)


def test_five_points() -> None:
    assert statistic(torch.linspace(-2, 2, 5, dtype=torch.float64)) == pytest.approx(0.9292364, abs=1e-7)


@pytest.mark.parametrize("count", [8, 128])
def test_a_collapsed_batch_is_punished_in_proportion_to_its_size(count: int) -> None:
    assert statistic(torch.zeros(count)) == pytest.approx(0.402048 * count, rel=1e-5)
    assert statistic(torch.full((count,), 5.0)) == pytest.approx(3.94 * count, rel=2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_folding_the_quadrature_changes_nothing(seed: int) -> None:
    samples = torch.randn(50, generator=Generator().manual_seed(seed), dtype=torch.float64) * (1 + seed) + 0.3 * seed
    assert statistic(samples) == pytest.approx(symmetric_trapezoid(samples), abs=1e-12)


def test_a_perfect_gaussian_scores_the_finite_sample_floor_not_zero() -> None:
    generator = Generator().manual_seed(0)
    scores = [float(sigreg(torch.randn(256, 32, generator=generator), 1024, generator)) for _ in range(8)]
    assert sum(scores) / len(scores) == pytest.approx(1.0525, abs=0.1)


@pytest.mark.parametrize(
    ("spoil", "golden"),
    [(lambda z: 2 * z, 32.3), (lambda z: z / 2, 19.5), (lambda z: z + 1, 50.9), (lambda z: z[:, :1] * z[:1], None)],
    ids=["too wide", "too narrow", "shifted", "rank one"],
)
def test_what_is_not_a_standard_gaussian_scores_far_above_the_floor(spoil, golden: float | None) -> None:
    generator = Generator().manual_seed(1)
    score = float(sigreg(spoil(torch.randn(128, 192, generator=generator)), 1024, generator))
    assert score > 5
    assert golden is None or score == pytest.approx(golden, rel=0.1)


def test_flattening_time_into_the_batch_hides_temporal_collapse() -> None:
    """Every clip of a batch is the same, but its frames differ: each time step has collapsed, their union has not."""
    generator = Generator().manual_seed(0)
    collapsed = torch.randn(64, 1, 8, generator=generator).expand(64, 32, 8)  # [t b d]
    by_time = float(sigreg(collapsed, 256, Generator().manual_seed(1)))
    flattened = float(sigreg(collapsed.flatten(0, 1)[::32], 256, Generator().manual_seed(1)))
    assert by_time > 5
    assert flattened < 2


def test_leading_axes_are_averaged() -> None:
    groups = torch.randn(3, 40, 6, generator=Generator().manual_seed(0))
    together = float(sigreg(groups, 64, Generator().manual_seed(7)))
    apart = [float(sigreg(group, 64, Generator().manual_seed(7))) for group in groups]
    assert together == pytest.approx(sum(apart) / 3, rel=1e-5)


def test_directions_are_unit_vectors_drawn_anew_and_carry_no_gradient() -> None:
    latents = torch.randn(30, 5, generator=Generator().manual_seed(0)).requires_grad_()
    generator = Generator().manual_seed(0)
    first, second = sigreg(latents, 4, generator), sigreg(latents, 4, generator)
    assert float(first.detach()) != float(second.detach()), "the same directions twice"
    leaves: set[Tensor] = set()
    frontier = [first.grad_fn]
    while frontier:
        if (node := frontier.pop()) is not None:
            leaves |= {leaf for leaf in (getattr(node, "variable", None),) if leaf is not None}
            frontier += [following for following, _ in node.next_functions]
    assert leaves == {latents}, "something besides the latents is trained"
    # Unit vectors: in one dimension every direction is +1 or -1, so the score is the plain statistic.
    line = torch.tensor([[0.0], [1.0], [-1.0]])
    assert float(sigreg(line, 9, generator)) == pytest.approx(0.0329465, abs=1e-6)


def test_gradient_descent_on_the_points_makes_them_gaussian() -> None:
    generator = Generator().manual_seed(0)
    points = (0.2 * torch.randn(64, 3, generator=generator) + 1).requires_grad_()
    optimiser = torch.optim.Adam([points], lr=0.1)
    for step in range(120):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 120)
        optimiser.zero_grad()
        sigreg(points, 16, generator).backward()
        optimiser.step()
    assert points.detach().mean(0).abs().max() < 0.1
    assert (torch.cov(points.detach().T) - torch.eye(3)).abs().max() < 0.2


def test_bfloat16_autocast_changes_nothing() -> None:
    latents = 3 * torch.randn(128, 16, generator=Generator().manual_seed(0))
    plain = sigreg(latents, 64, Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = sigreg(latents, 64, Generator().manual_seed(1))
    assert cast.dtype == torch.float32
    assert float(cast) == float(plain)


def test_bfloat16_latents_are_judged_in_float32() -> None:
    latents = torch.randn(64, 8, generator=Generator().manual_seed(0)).bfloat16()
    assert float(sigreg(latents, 32, Generator().manual_seed(1))) == float(
        sigreg(latents.float(), 32, Generator().manual_seed(1))
    )


def test_infinite_range_limit() -> None:
    """The floor's analytic value over the whole line is sqrt(2 pi) - sqrt(2 pi / 3) = 1.0594; [0, 3] loses 0.7 %."""
    assert math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3) == pytest.approx(1.052464, rel=0.007)
