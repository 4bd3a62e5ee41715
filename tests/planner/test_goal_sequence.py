"""Goals in order: one after the other, none skipped, none lost."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from planner.costs import SquaredDistance
from planner.goal_sequence import GoalSequence

GOALS = torch.tensor([[0.0, 10.0, 20.0], [5.0, 6.0, 7.0]])[..., None, None]  # [b m n d]


def sequence(tolerance: float = 1.0) -> GoalSequence:
    return GoalSequence(GOALS, SquaredDistance(), torch.full((2, 3), tolerance))


def at(*places: float) -> Tensor:
    return torch.tensor(places)[:, None, None]  # [b n d]


def test_a_goal_is_reached_within_the_tolerance_and_each_robot_has_its_own() -> None:
    assert sequence().reached(at(1.0, 3.9), torch.tensor([0, 0])).tolist() == [1, 0]
    assert sequence().reached(at(1.1, 4.0), torch.tensor([0, 0])).tolist() == [0, 1]


def test_only_the_active_goal_counts() -> None:
    assert sequence().reached(at(20.0, 7.0), torch.tensor([0, 0])).tolist() == [0, 0]
    assert sequence().reached(at(10.0, 7.0), torch.tensor([1, 2])).tolist() == [2, 3]


def test_a_goal_that_was_reached_stays_reached() -> None:
    assert sequence().reached(at(99.0, 99.0), torch.tensor([2, 3])).tolist() == [2, 3]


def test_the_first_goal_not_reached_is_active_and_the_last_one_for_good() -> None:
    for reached, active in (([0, 1], [0.0, 6.0]), ([2, 2], [20.0, 7.0]), ([3, 3], [20.0, 7.0])):
        assert sequence().active(torch.tensor(reached)).flatten().tolist() == active


def test_at_the_last_goal_nothing_more_can_be_reached() -> None:
    assert sequence().reached(at(20.0, 7.0), torch.tensor([3, 3])).tolist() == [3, 3]


def test_a_robot_that_walks_along_reaches_all_in_order() -> None:
    reached, seen = torch.tensor([0, 0]), []
    for place in torch.arange(-3.0, 24.0).tolist():
        reached = sequence().reached(at(place, place), reached)
        seen.append(reached.tolist())
    assert seen[-1] == [3, 3]
    assert all(b[r] - a[r] in (0, 1) for a, b in pairwise(seen) for r in range(2))


def test_each_goal_has_its_own_tolerance() -> None:
    tolerance = torch.tensor([[0.0, 4.0, 0.0], [0.0, 0.0, 9.0]])
    goals = GoalSequence(GOALS, SquaredDistance(), tolerance)
    assert goals.reached(at(12.0, 4.0), torch.tensor([1, 2])).tolist() == [2, 3]
    assert goals.reached(at(12.0, 4.0), torch.tensor([0, 1])).tolist() == [0, 1]


@pytest.mark.parametrize("tolerance", [-0.1, float("nan")])
def test_a_tolerance_that_nothing_meets_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance="):
        sequence(tolerance)
