"""The table of losses against their formulas, and the schedule of a target encoder's momentum."""

import math

import pytest
import torch
from torch import Generator, Tensor

from worldmodel.parts.losses import ErrorKind, latent_errors, mean_of_real, normalised
from worldmodel.parts.targets import Momentum


def tokens(seed: int) -> Tensor:
    return 2 * torch.randn(2, 3, 4, generator=Generator().manual_seed(seed))


def huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


@pytest.mark.parametrize("kind", ["l1", "l2", "smooth_l1", "cosine"])
def test_each_error_is_its_formula(kind: ErrorKind) -> None:
    predicted, wanted = tokens(0), tokens(1)
    found = latent_errors(kind, predicted, wanted)
    for b in range(2):
        for n in range(3):
            one, other = predicted[b, n].tolist(), wanted[b, n].tolist()
            apart = [x - y for x, y in zip(one, other, strict=True)]
            by_hand = {
                "l1": sum(map(abs, apart)) / 4,
                "l2": sum(x**2 for x in apart) / 4,
                "smooth_l1": sum(map(huber, apart)) / 4,
                "cosine": 1
                - sum(x * y for x, y in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other),
            }
            assert float(found[b, n]) == pytest.approx(by_hand[kind], abs=1e-5)


def test_errors_are_float32_whatever_they_are_of() -> None:
    assert latent_errors("l1", tokens(0).bfloat16(), tokens(1)).dtype == torch.float32


def test_target_norms() -> None:
    wanted = 3 * tokens(0) + 1
    layer, standardised = normalised(wanted, "layer"), normalised(wanted, "standardised")
    assert torch.equal(normalised(wanted, "none"), wanted)
    torch.testing.assert_close(layer.mean(-1), torch.zeros(2, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.var(-1, correction=0), torch.ones(2, 3), rtol=0, atol=1e-3)
    torch.testing.assert_close(standardised.mean((0, 1)), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(standardised.square().mean((0, 1)), torch.ones(4), rtol=0, atol=1e-3)
    assert normalised(torch.ones(2, 3, 4), "standardised").isfinite().all()


def test_what_only_fills_a_batch_up_does_not_count() -> None:
    errors, real = torch.tensor([[1.0, 100.0], [3.0, 5.0]]), torch.tensor([[True, False], [True, True]])
    assert float(mean_of_real(errors, real)) == 3 and float(mean_of_real(errors, None)) == 27.25


@pytest.mark.parametrize(
    ("momentum", "middle"),
    [
        (Momentum(first=0.9, last=1.0), 0.95),
        (Momentum(first=0.9, last=0.9), 0.9),
        (Momentum(first=0.9, last=1.0, shape="cosine"), 0.95),
    ],
    ids=["linear", "constant", "cosine"],
)
def test_momentum(momentum: Momentum, middle: float) -> None:
    assert [momentum.at(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([momentum.first, middle, momentum.last])


def test_a_cosine_begins_and_ends_flat() -> None:
    straight, curved = (Momentum(first=0.0, last=1.0, shape=shape).at(0.1) for shape in ("linear", "cosine"))
    assert straight == pytest.approx(0.1) and curved == pytest.approx((1 - math.cos(0.1 * math.pi)) / 2)
