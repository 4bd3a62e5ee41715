"""Begin the next search where the last plan still holds."""

import pytest
import torch
from torch import Tensor

from tests.planner.linear import Problem, cem, iterate, space

PLAN = torch.tensor([[0.1], [0.2], [0.3], [0.4]])


def shift(variables: Tensor, executed_steps: int) -> Tensor:
    """What is left of a plan that chooses each model step for itself."""
    return space(low=(-1.0,), high=(1.0,)).shift(variables, executed_steps)


@pytest.mark.parametrize(
    ("executed", "left"),
    [
        (0, [0.1, 0.2, 0.3, 0.4]),
        (1, [0.2, 0.3, 0.4, 0.4]),
        (3, [0.4, 0.4, 0.4, 0.4]),
        (4, [0.4, 0.4, 0.4, 0.4]),
        (99, [0.4, 0.4, 0.4, 0.4]),
    ],
)
def test_executed_steps_are_dropped_and_the_last_is_repeated(executed: int, left: list[float]) -> None:
    assert shift(PLAN, executed).flatten().tolist() == pytest.approx(left)


def test_the_plan_itself_is_left_alone() -> None:
    before = PLAN.clone()
    shift(PLAN, 2).add_(1)
    assert torch.equal(PLAN, before)


def test_one_step_at_a_time_or_all_at_once() -> None:
    assert torch.equal(shift(shift(PLAN, 1), 1), shift(PLAN, 2))


def test_nobody_executes_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="executed_steps=-1 must not be negative"):
        shift(PLAN, -1)


def test_replanning_from_what_is_left_is_no_worse_than_carrying_on() -> None:
    """Receding horizon: execute one step, shift, plan again with a small search."""
    within = space()
    first = iterate([Problem(goal=(1.6, 0.0))], cem(within), within)[-1][0]
    here = first.actions[0].tolist()
    left = shift(first.variables, 1)
    carrying_on = (torch.tensor(here) + left.cumsum(0) - torch.tensor([1.6, 0.0])).square().sum(-1).mean()
    small = cem(within, candidates=16, elites=4, iterations=2)
    again = iterate([Problem(goal=(1.6, 0.0), start=(here[0], here[1]), warm_start=left, seed=3)], small, within)
    assert again[-1][0].cost <= float(carrying_on) + 1e-6
