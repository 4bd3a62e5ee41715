"""Few candidates keep to one thread; a full batch has all of them."""

from collections.abc import Iterator

import pytest
import torch

from planner.search import advance
from planner.threads import CANDIDATES_PER_THREAD, threads_for
from tests.planner.linear import LinearWorldModel
from tests.planner.test_search import GOALS, GoalCost, SquaredDistance, searches


@pytest.fixture(autouse=True)
def eight_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("of_a_thread", "threads"), [(0.5, 1), (1.5, 1), (2, 2), (3.9, 3), (100, 8)])
def test_as_many_threads_as_are_worth_it(of_a_thread: float, threads: int) -> None:
    with threads_for(int(of_a_thread * CANDIDATES_PER_THREAD)):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 8


def test_all_threads_are_back_after_an_error() -> None:
    with pytest.raises(RuntimeError), threads_for(1):
        raise RuntimeError
    assert torch.get_num_threads() == 8


def test_an_iteration_counts_the_candidates_of_all_robots() -> None:
    used: list[int] = []

    class Watched(LinearWorldModel):
        def rollout(self, state: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
            used.append(torch.get_num_threads())
            return super().rollout(state, actions)

    robots = searches()
    assert len(robots[0].ask()) == 4 * CANDIDATES_PER_THREAD
    for count in (1, 3):
        advance(Watched(), torch.zeros(count, 1, 2), GoalCost(SquaredDistance(), GOALS[:count]), robots[:count])
    assert used == [4, 8]
