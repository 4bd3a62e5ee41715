"""What sets gradient descent apart; the laws of all optimisers are in tests/contracts."""

import math

import pytest
import torch
from torch import Generator, Tensor

from planner.gradient_descent import MEMORY, TINY, GradientDescent
from tests.planner.linear import Problem, iterate, space

WIDE = space()


def slope(variables: Tensor) -> Tensor:
    """Of (x - 0.3) squared, ten times as steep along the second action."""
    return 2 * (variables - 0.3) * torch.tensor([1.0, 10.0])


def cost(variables: Tensor) -> Tensor:
    return ((variables - 0.3).square() * torch.tensor([1.0, 10.0])).sum((-2, -1))


def test_it_is_adam_with_steps_that_shrink() -> None:
    """Away from the bounds, step for step as torch.optim has it."""
    method = GradientDescent(space=WIDE, candidates=5, iterations=8, std=0.2, learning_rate=0.05)
    search, generator = method.start(3, None), Generator().manual_seed(0)
    theirs = method.ask(search, Generator().manual_seed(0)).clone().requires_grad_()
    adam = torch.optim.Adam([theirs], lr=0.05, betas=MEMORY, eps=TINY)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / 8)
    for _ in range(8):
        ours = method.ask(search, generator)
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-5)
        search = method.follow(search, ours, cost(ours), slope(ours))
        theirs.grad = slope(theirs.detach())
        adam.step()
        schedule.step()


def test_candidates_go_their_own_way() -> None:
    """A neighbour's gradient moves nobody else."""
    method = GradientDescent(space=WIDE, candidates=4)
    search = method.start(3, None)
    asked = method.ask(search, Generator().manual_seed(0))
    other = slope(asked)
    other[2] *= -1
    one, two = (method.follow(search, asked, cost(asked), each).positions for each in (slope(asked), other))
    assert one is not None and two is not None
    assert (one != two).flatten(1).any(1).tolist() == [False, False, True, False]


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("of", ["cost", "gradient"])
def test_who_has_no_finite_slope_goes_on_from_the_best(poison: float, of: str) -> None:
    """And forgets where it was heading; the others go on as if nothing had happened."""
    method = GradientDescent(space=WIDE, candidates=4)
    search = method.start(3, None)
    for _ in range(3):
        asked = method.ask(search, Generator().manual_seed(0))
        costs, gradients = cost(asked), slope(asked)
        if of == "cost":
            costs[1] = poison
        else:
            gradients[1, 0, 0] = poison
        search = method.follow(search, asked, costs, gradients)
        assert search.positions is not None
        assert torch.equal(search.positions[1], search.best) and not search.moments[:, 1].any()
        assert search.positions.isfinite().all() and search.moments.isfinite().all()
    assert search.best_cost == float(min(float(cost(search.best)), search.best_cost)) < float(cost(torch.zeros(3, 2)))


def test_a_search_without_any_finite_cost_stays_where_it_was() -> None:
    method = GradientDescent(space=WIDE, candidates=3)
    search = method.start(3, torch.full((3, 2), 0.25))
    asked = method.ask(search, Generator().manual_seed(0))
    told = method.follow(search, asked, torch.full((3,), math.nan), torch.full((3, 3, 2), math.nan))
    assert told.best_cost == math.inf and told.positions is not None
    assert torch.equal(told.positions, torch.full((3, 3, 2), 0.25))


def test_one_candidate_is_enough_and_converges_where_sampling_would_not() -> None:
    method = GradientDescent(space=WIDE, candidates=1, iterations=40)
    plan = iterate([Problem(goal=(0.6, -0.3))], method, WIDE)[-1][0]
    assert plan.cost < 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidates": 0}, "candidates=0 must be at least 1"),
        ({"iterations": 0}, "iterations=0"),
        ({"std": 0.0}, "std=0.0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate=nan must be above 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradientDescent(space=WIDE, **settings)
