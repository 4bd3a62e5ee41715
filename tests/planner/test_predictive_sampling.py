"""What is particular to predictive sampling; all optimisers' laws are in tests/contracts/test_optimisers.py."""

import math
from typing import Any

import pytest
import torch
from torch import Generator

from planner.predictive_sampling import PredictiveSampling
from tests.planner.linear import space

CANDIDATES = torch.tensor([0.0, 0.2, 0.6])[:, None, None].expand(3, 1, 2)


def test_it_samples_around_the_best_and_the_best_is_one_of_them() -> None:
    sampling = PredictiveSampling(space=space(), candidates=4000, std=0.1)
    search = sampling.tell(sampling.start(1, None), CANDIDATES, torch.tensor([3.0, 1.0, 2.0]))
    asked = sampling.ask(search, Generator().manual_seed(0))
    assert torch.equal(asked[0], CANDIDATES[1]) and asked.shape == (4000, 1, 2)
    assert (asked.mean(0) - 0.2).abs().max() < 0.01 and (asked.std(0) - 0.1).abs().max() < 0.01


def test_the_spread_never_changes_and_it_never_says_that_it_is_done() -> None:
    sampling = PredictiveSampling(space=space(), candidates=3)
    search = sampling.start(1, None)
    for _ in range(5):
        search = sampling.tell(search, CANDIDATES, torch.tensor([0.0, 0.0, 0.0]))
        assert (search.std == sampling.std).all() and not search.converged


@pytest.mark.parametrize("costs", [[5.0, 6.0, 7.0], [1.0, 1.0, 1.0], [math.nan, math.inf, -math.inf]])
def test_what_is_no_better_does_not_replace_the_best(costs: list[float]) -> None:
    sampling = PredictiveSampling(space=space(), candidates=3)
    found = sampling.tell(sampling.start(1, None), CANDIDATES, torch.tensor([3.0, 2.0, 1.0]))
    later = sampling.tell(found, -CANDIDATES, torch.tensor(costs))
    assert later.best_cost == 1.0 and torch.equal(later.best, found.best)
    asked = [sampling.ask(search, Generator().manual_seed(0)) for search in (found, later)]
    assert torch.equal(*asked), "the search goes on around the best"


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"candidates": 1}, "candidates=1 must be at least 2"),
        ({"iterations": 0}, "iterations=0 must be at least 1"),
        ({"std": 0.0}, "std=0.0"),
        ({"std": math.nan}, "std=nan"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        PredictiveSampling(space=space(), **wrong)
