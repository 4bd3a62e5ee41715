"""Few rows keep to one thread; a full batch has all of them."""

from collections.abc import Iterator

import pytest
import torch
from torch import Generator

from planner.cem import CEM
from planner.search import RobotSearch, advance
from planner.threads import ROWS_PER_THREAD, threads_for
from tests.planner.linear import LinearWorldModel, space
from tests.planner.test_search import GOALS, GoalCost, SquaredDistance, searches
from tests.planner.tokens import TokenWorldModel, token_world


@pytest.fixture(autouse=True)
def eight_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("of_a_thread", "threads"), [(0.5, 1), (1.5, 1), (2, 2), (3.9, 3), (100, 8)])
def test_as_many_threads_as_are_worth_it(of_a_thread: float, threads: int) -> None:
    with threads_for(int(of_a_thread * ROWS_PER_THREAD)):
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
    assert len(robots[0].ask()) == 4 * ROWS_PER_THREAD
    for count in (1, 3):
        advance(Watched(), torch.zeros(count, 1, 2), GoalCost(SquaredDistance(), GOALS[:count]), robots[:count], (1, 2))
    assert used == [4, 8]


def test_a_chunk_counts_its_tokens() -> None:
    """Few candidates of many tokens are as many rows as many candidates of one."""
    used: list[int] = []

    class Watched(TokenWorldModel):
        def rollout(self, state: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
            used.append(torch.get_num_threads())
            return super().rollout(state, actions)

    model = Watched(**vars(token_world(tokens=64, width=8)))
    within = space()
    optimiser = CEM(space=within, candidates=4, elites=2)
    robot = RobotSearch(optimiser=optimiser, space=within, horizon=3, generator=Generator())
    start = torch.zeros(1, 64, 8)
    advance(model, start, GoalCost(SquaredDistance(), start), [robot], (64, 8))
    assert 4 * 64 == 4 * ROWS_PER_THREAD and used == [4]
