"""Costs by hand."""

import pytest
import torch
from torch import Generator, Tensor

from planner.costs import (
    SQUARED_DISTANCE_WEIGHT,
    STEPS_TO_GO_WEIGHT,
    ControlEffort,
    GoalCost,
    SquaredDistance,
    WeightedSum,
    goal_cost,
)
from planner.protocols import Cost, Distance

GOAL = torch.tensor([[[1.0, 2.0]]])  # [b n d]
LATENTS = torch.tensor([[[[[1.0, 0.0]], [[1.0, 2.0]], [[4.0, 6.0]]]]])  # [b s h n d]: distances 4, 0, 25
ACTIONS = torch.tensor([[[[0.5], [-1.0], [0.0]]]])  # [b s h a]


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(0))


def test_squared_distance_by_hand() -> None:
    assert SquaredDistance()(LATENTS, GOAL).tolist() == [[[4, 0, 25]]]
    assert SquaredDistance(scale=5.0)(LATENTS, GOAL)[0, 0, 2] == 5


def test_distance_sums_over_tokens() -> None:
    latents, goal = random(2, 3, 4, 5, 6), random(2, 5, 6)
    by_hand = sum(SquaredDistance()(latents[..., n : n + 1, :], goal[:, n : n + 1]) for n in range(5))
    torch.testing.assert_close(SquaredDistance()(latents, goal), by_hand)


def test_each_robot_is_compared_with_its_own_goal() -> None:
    latents, goal = random(2, 3, 4, 1, 6), random(2, 1, 6)
    for robot in range(2):
        alone = SquaredDistance()(latents[robot, None], goal[robot, None])[0]
        torch.testing.assert_close(SquaredDistance()(latents, goal)[robot], alone)


def test_mean_over_the_horizon_or_its_last_step() -> None:
    assert float(GoalCost(SquaredDistance(), GOAL)(LATENTS, ACTIONS)) == pytest.approx(29 / 3)
    assert float(GoalCost(SquaredDistance(), GOAL, over="last")(LATENTS, ACTIONS)) == 25


def test_control_effort_is_the_mean_square_of_the_actions() -> None:
    assert float(ControlEffort()(LATENTS, ACTIONS)) == pytest.approx(1.25 / 3)
    assert float(ControlEffort()(LATENTS, torch.ones_like(ACTIONS))) == 1


def test_a_weighted_sum_adds_up() -> None:
    near, effort = GoalCost(SquaredDistance(), GOAL), ControlEffort()
    both = WeightedSum(((2.0, near), (3.0, effort)))
    assert float(both(LATENTS, ACTIONS)) == pytest.approx(2 * 29 / 3 + 3 * 1.25 / 3)


def test_a_cost_of_zero_weight_changes_nothing() -> None:
    near = GoalCost(SquaredDistance(), random(2, 1, 6))
    latents, actions = random(2, 3, 4, 1, 6), random(2, 3, 4, 2)
    with_zero = WeightedSum(((1.0, near), (0.0, ControlEffort())))
    assert torch.equal(with_zero(latents, actions), near(latents, actions))


def steps(latents: Tensor, goal: Tensor) -> Tensor:
    """A learned distance, here ten for every latent."""
    return torch.full(latents.shape[:3], 10.0)


def test_the_default_cost_is_steps_to_go_plus_distance() -> None:
    cost = goal_cost(GOAL, scale=5.0, steps_to_go=steps)
    wanted = STEPS_TO_GO_WEIGHT * 10 + SQUARED_DISTANCE_WEIGHT * 29 / 3 / 5
    assert float(cost(LATENTS, ACTIONS)) == pytest.approx(wanted)


def test_without_a_learned_distance_the_squared_one_is_all() -> None:
    cost = goal_cost(GOAL, scale=5.0, steps_to_go=None, over="last")
    assert float(cost(LATENTS, ACTIONS)) == 5


def test_they_are_what_the_planner_asks_for() -> None:
    near = GoalCost(SquaredDistance(), GOAL)
    assert isinstance(SquaredDistance(), Distance)
    assert all(isinstance(cost, Cost) for cost in (near, ControlEffort(), WeightedSum(((1.0, near),))))
