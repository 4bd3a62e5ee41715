"""What is particular to iCEM; all optimisers' laws are in tests/contracts/test_optimisers.py."""

import math
from typing import Any

import pytest
import torch
from torch import Generator

from planner.icem import ICEM
from tests.planner.linear import LinearWorldModel, Problem, iterate, space

COSTS = torch.tensor([3.0, 1.0, 2.0, 4.0])
CANDIDATES = torch.tensor([0.0, 0.2, 0.6, 0.9])[:, None, None].expand(4, 1, 2)


def test_the_population_shrinks_down_to_two_for_each_elite() -> None:
    """By hand: 100, 100 / 1.25 = 80, 64, 51.2, 40.96, 32.77, 26.2, 20.97, then never fewer than 20."""
    model = LinearWorldModel()
    icem = ICEM(space=space(), candidates=100, elites=10, iterations=10, std_floor=1e-9)
    iterate([Problem(goal=(0.5, 0.5))], icem, space(), model=model)
    assert [actions.shape[1] for actions in model.rollouts] == [100, 80, 64, 51, 40, 32, 26, 20, 20, 20]


def test_without_decay_the_population_stays() -> None:
    icem = ICEM(space=space(), candidates=10, elites=8, decay=1.0)
    search = icem.start(3, None)
    for _ in range(3):
        asked = icem.ask(search, Generator().manual_seed(0))
        assert len(asked) == 10
        search = icem.tell(search, asked, asked.square().sum((-2, -1)))


def test_robots_have_as_many_candidates_in_the_same_iteration_whatever_became_of_them() -> None:
    """One found no finite cost in its first iteration and the other did: they are stacked in one batch."""
    icem = ICEM(space=space(), candidates=40, elites=4)
    asked = icem.ask(icem.start(3, None), Generator().manual_seed(0))
    lucky = icem.tell(icem.start(3, None), asked, asked.square().sum((-2, -1)))
    unlucky = icem.tell(icem.start(3, None), asked, torch.full((40,), math.nan))
    counts = {len(icem.ask(search, Generator().manual_seed(0))) for search in (lucky, unlucky)}
    assert counts == {32}
    assert unlucky.best_cost == math.inf and torch.equal(unlucky.mean, lucky.mean * 0)


def test_elites_are_candidates_again_best_first_after_the_mean() -> None:
    icem = ICEM(space=space(), candidates=4, elites=3, kept_share=0.7, momentum=0.0, std_floor=0.01)
    search = icem.tell(icem.start(1, None), CANDIDATES, COSTS)
    asked = icem.ask(search, Generator().manual_seed(0))
    torch.testing.assert_close(asked[0], torch.full((1, 2), 0.8 / 3))
    assert torch.equal(asked[1:3], CANDIDATES[1:3]), "0.7 * 3 is 2 of them"


def test_the_best_is_kept_when_no_share_is() -> None:
    icem = ICEM(space=space(), candidates=4, elites=3, kept_share=0.0)
    search = icem.tell(icem.start(1, None), CANDIDATES, COSTS)
    assert torch.equal(search.kept, CANDIDATES[1:2])


def test_mean_and_std_move_with_momentum() -> None:
    """By hand: elites 0.2 and 0.6 have mean 0.4 and standard deviation 0.2; it was 0 and 0.7."""
    icem = ICEM(space=space(), candidates=4, elites=2, momentum=0.25)
    search = icem.tell(icem.start(1, None), CANDIDATES, COSTS)
    torch.testing.assert_close(search.mean, torch.full((1, 2), 0.75 * 0.4))
    torch.testing.assert_close(search.std, torch.full((1, 2), 0.25 * 0.7 + 0.75 * 0.2))
    assert search.best_cost == 1.0 and torch.equal(search.best, CANDIDATES[1])


def test_samples_have_the_standard_deviation_asked_for_and_keep_their_direction() -> None:
    def asked(exponent: float) -> torch.Tensor:
        icem = ICEM(space=space(), candidates=4000, elites=10, std=0.2, exponent=exponent)
        return icem.ask(icem.start(8, None), Generator().manual_seed(0))[1:]

    for exponent in (0.0, 2.0):
        assert (asked(exponent).std(0) - 0.2).abs().max() < 0.02
    jumps = [float(asked(exponent).diff(dim=1).square().mean()) for exponent in (0.0, 1.0, 2.0)]
    assert jumps == sorted(jumps, reverse=True)


def test_it_has_converged_when_every_variable_is_at_the_floor() -> None:
    icem = ICEM(space=space(), candidates=4, elites=2, std=0.1, std_floor=0.1)
    search = icem.start(1, None)
    for _ in range(2):
        search = icem.tell(search, torch.zeros(4, 1, 2), COSTS)
    assert search.converged


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"elites": 1}, "elites=1 must be at least 2"),
        ({"elites": 128}, "fewer than candidates=128"),
        ({"iterations": 0}, "iterations=0 must be at least 1"),
        ({"std": math.nan}, "std=nan"),
        ({"exponent": -1.0}, "exponent=-1.0 must not be negative"),
        ({"decay": 0.9}, "decay=0.9 must be at least 1"),
        ({"kept_share": 1.0}, "kept_share=1.0 and"),
        ({"momentum": 1.0}, "momentum=1.0 must be in"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ICEM(space=space(), **wrong)
