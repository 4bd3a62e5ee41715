"""What is particular to the cross-entropy method; all optimisers' laws are in tests/contracts/test_optimisers.py."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Generator

from planner.cem import CEM
from tests.planner.linear import Problem, iterate, space


def test_the_first_candidate_is_the_mean_and_the_second_the_best_so_far() -> None:
    cem = CEM(space=space())
    search = dataclasses.replace(cem.start(3, torch.full((3, 2), 0.3)), best=torch.full((3, 2), -0.4), best_cost=1.0)
    candidates = cem.ask(search, Generator().manual_seed(0))
    assert torch.equal(candidates[0], search.mean) and torch.equal(candidates[1], search.best)
    assert candidates.shape == (128, 3, 2)


def test_before_anything_was_scored_there_is_no_best_to_keep() -> None:
    cem = CEM(space=space())
    candidates = cem.ask(cem.start(3, None), Generator().manual_seed(0))
    assert not torch.equal(candidates[1], candidates[0])


def test_without_a_warm_start_it_begins_in_the_middle_of_the_bounds() -> None:
    search = CEM(space=space((-0.2, 0.3), (0.9, 0.4))).start(4, None)
    torch.testing.assert_close(search.mean, torch.tensor([0.35, 0.35]).expand(4, 2))


def test_samples_have_the_standard_deviation_asked_for() -> None:
    cem = CEM(space=space((-1.0,) * 2, (1.0,) * 2), candidates=4000, elites=10, std=0.2)
    candidates = cem.ask(cem.start(3, None), Generator().manual_seed(0))
    assert (candidates.std(0) - 0.2).abs().max() < 0.02 and candidates.mean(0).abs().max() < 0.02


def test_mean_and_std_are_refitted_to_the_elites() -> None:
    """By hand: the two cheapest of four, their mean, and their standard deviation (divided by n)."""
    cem = CEM(space=space(), candidates=4, elites=2, std_floor=0.01)
    candidates = torch.tensor([0.0, 0.2, 0.6, 0.9])[:, None, None].expand(4, 1, 2)
    search = cem.tell(cem.start(1, None), candidates, torch.tensor([3.0, 1.0, 2.0, 4.0]))
    torch.testing.assert_close(search.mean, torch.full((1, 2), 0.4))
    torch.testing.assert_close(search.std, torch.full((1, 2), 0.2))
    torch.testing.assert_close(search.best, torch.full((1, 2), 0.2))
    assert search.best_cost == 1.0 and not search.converged


def test_costs_that_are_no_numbers_are_no_elites() -> None:
    cem = CEM(space=space(), candidates=4, elites=3, std_floor=0.01)
    candidates = torch.tensor([-1.0, 0.2, 0.6, 0.9])[:, None, None].expand(4, 1, 2)
    search = cem.tell(cem.start(1, None), candidates, torch.tensor([-math.inf, 1.0, 2.0, math.nan]))
    torch.testing.assert_close(search.mean, torch.full((1, 2), 0.4))
    assert search.best_cost == 1.0


def test_without_any_finite_cost_nothing_changes() -> None:
    cem = CEM(space=space(), candidates=4, elites=2)
    search = cem.start(1, None)
    assert cem.tell(search, torch.zeros(4, 1, 2), torch.full((4,), math.nan)) is search


def test_a_worse_iteration_does_not_replace_the_best() -> None:
    cem = CEM(space=space(), candidates=4, elites=2)
    found = cem.tell(cem.start(1, None), torch.full((4, 1, 2), 0.5), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    later = cem.tell(found, torch.full((4, 1, 2), -0.5), torch.tensor([5.0, 6.0, 7.0, 8.0]))
    assert later.best_cost == 1.0 and torch.equal(later.best, found.best)


@pytest.mark.parametrize("floor", [0.01, 0.1, 0.7])
def test_sampling_never_gets_narrower_than_its_floor(floor: float) -> None:
    """A search that is sure of itself can still move when its mean was wrong."""
    cem = CEM(space=space(), candidates=64, elites=8, iterations=12, std_floor=floor)
    search = cem.start(3, None)
    generator = Generator().manual_seed(0)
    for _ in range(cem.iterations):
        candidates = cem.ask(search, generator)
        search = cem.tell(search, candidates, (candidates - 0.5).square().sum((-2, -1)))
        assert (search.std >= floor).all()
    assert (search.std < floor + 0.05).all()
    spread = cem.ask(search, generator)[2:].std(0)
    assert (spread > 0.6 * floor).all()


def test_it_has_converged_when_every_variable_is_at_the_floor() -> None:
    cem = CEM(space=space(), candidates=4, elites=2, std_floor=0.1)
    costs = torch.tensor([1.0, 2.0, 3.0, 4.0])
    together, apart = torch.zeros(4, 1, 2), torch.zeros(4, 1, 2)
    apart[0, 0, 1] = 0.5
    assert cem.tell(cem.start(1, None), together, costs).converged
    assert not cem.tell(cem.start(1, None), apart, costs).converged


def test_a_finished_search_stops_and_says_so() -> None:
    plans = iterate([Problem(goal=(9.0, 9.0))], CEM(space=space(), iterations=50), space())
    assert len(plans) < 50 and plans[-1][0].converged
    assert plans[-1][0].elite_std == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"elites": 1}, "elites=1 must be at least 2"),
        ({"elites": 128}, "fewer than candidates=128"),
        ({"candidates": 2}, "fewer than candidates=2"),
        ({"iterations": 0}, "iterations=0 must be at least 1"),
        ({"std": 0.01}, "std=0.01 must be at least std_floor=0.05"),
        ({"std_floor": 0.0}, "both above 0"),
        ({"std": math.nan}, "std=nan"),
        ({"std_floor": math.nan}, "std_floor=nan"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        CEM(space=space(), **wrong)
