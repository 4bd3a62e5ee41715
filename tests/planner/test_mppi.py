"""What is particular to MPPI; all optimisers' laws are in tests/contracts/test_optimisers.py."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Generator

from planner.mppi import MPPI
from tests.planner.linear import space

COSTS = torch.tensor([2.0, 4.0, math.nan])
CANDIDATES = torch.tensor([0.2, 0.6, 0.9])[:, None, None].expand(3, 1, 2)


def test_weights_by_hand() -> None:
    """Costs 2 and 4 have a standard deviation of 1: the second is two of them worse, so exp(-2 / temperature)."""
    first, second = MPPI(space=space(), temperature=4.0).weights(torch.tensor([2.0, 4.0])).tolist()
    assert second / first == pytest.approx(math.exp(-0.5)) and first + second == pytest.approx(1)


def test_the_mean_is_the_weighted_average_and_the_std_is_weighted_too() -> None:
    mppi = MPPI(space=space(), candidates=3, temperature=4.0, std_floor=0.01)
    search = mppi.tell(mppi.start(1, None), CANDIDATES, COSTS)
    w = 1 / (1 + math.exp(-0.5))
    torch.testing.assert_close(search.mean, torch.full((1, 2), 0.2 * w + 0.6 * (1 - w)))
    torch.testing.assert_close(search.std, torch.full((1, 2), 0.4 * math.sqrt(w * (1 - w))))
    assert search.best_cost == 2.0 and torch.equal(search.best, CANDIDATES[0])


@pytest.mark.parametrize(("factor", "offset"), [(1e-6, 0.0), (1e6, 0.0), (1.0, 100.0), (3.0, -7.0)])
def test_the_unit_of_the_cost_does_not_matter(factor: float, offset: float) -> None:
    """So one temperature does for every cost function."""
    mppi, costs = MPPI(space=space()), torch.rand(50, generator=Generator().manual_seed(0))
    torch.testing.assert_close(mppi.weights(factor * costs + offset), mppi.weights(costs), rtol=1e-3, atol=1e-6)


def test_equal_costs_weigh_the_same() -> None:
    assert MPPI(space=space()).weights(torch.full((4,), 5.0)).tolist() == pytest.approx([0.25] * 4)


def test_one_finite_cost_takes_all() -> None:
    mppi = MPPI(space=space(), candidates=3)
    search = mppi.tell(mppi.start(1, None), CANDIDATES, torch.tensor([math.inf, 7.0, -math.inf]))
    torch.testing.assert_close(search.mean, CANDIDATES[1])
    assert search.best_cost == 7.0 and (search.std == mppi.std_floor).all()


def test_a_lower_temperature_goes_nearer_to_the_best() -> None:
    def mean(temperature: float) -> float:
        mppi = MPPI(space=space(), candidates=3, temperature=temperature)
        return float(mppi.tell(mppi.start(1, None), CANDIDATES, torch.tensor([1.0, 2.0, 3.0])).mean[0, 0])

    means = [mean(t) for t in (0.01, 0.3, 3.0, 1000.0)]
    assert means == sorted(means)
    assert mean(0.01) == pytest.approx(0.2) and mean(1000.0) == pytest.approx(1.7 / 3, abs=1e-3)


def test_without_any_finite_cost_nothing_changes() -> None:
    mppi = MPPI(space=space(), candidates=3)
    search = mppi.start(1, None)
    assert mppi.tell(search, CANDIDATES, torch.full((3,), math.nan)) is search


def test_the_first_candidate_is_the_mean_and_the_second_the_best_so_far() -> None:
    mppi = MPPI(space=space())
    search = dataclasses.replace(mppi.start(3, torch.full((3, 2), 0.3)), best=torch.full((3, 2), -0.4), best_cost=1.0)
    candidates = mppi.ask(search, Generator().manual_seed(0))
    assert torch.equal(candidates[0], search.mean) and torch.equal(candidates[1], search.best)
    assert candidates.shape == (128, 3, 2)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"candidates": 2}, "candidates=2 must be at least 3"),
        ({"iterations": 0}, "iterations=0 must be at least 1"),
        ({"std": 0.01}, "std=0.01 must be at least std_floor=0.05"),
        ({"temperature": 0.0}, "temperature=0.0 must be above 0"),
        ({"temperature": math.nan}, "temperature=nan"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MPPI(space=space(), **wrong)
