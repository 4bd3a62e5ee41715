"""Costs by hand."""

import pytest
import torch
from torch import Generator, Tensor

from planner.costs import (
    LATENT_DISTANCE_WEIGHT,
    AbsoluteDistance,
    ControlEffort,
    GoalCost,
    KeepOutCost,
    Over,
    Smoothness,
    SquaredDistance,
    WeightedSum,
    goal_cost,
    latent_distance,
)
from planner.protocols import CostFunction, Distance

GOAL = torch.tensor([[[1.0, 2.0]]])  # [b n d]
LATENTS = torch.tensor([[[[[1.0, 0.0]], [[1.0, 2.0]], [[4.0, 6.0]]]]])  # [b s h n d]: distances 4, 0, 25
ACTIONS = torch.tensor([[[[0.5], [-1.0], [0.0]]]])  # [b s h a]


OVERS: list[Over] = ["mean", "last", "closest"]


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


def test_absolute_distance_by_hand() -> None:
    assert AbsoluteDistance()(LATENTS, GOAL).tolist() == [[[2, 0, 7]]]
    assert AbsoluteDistance(scale=2.0)(LATENTS, GOAL)[0, 0, 2] == 3.5


@pytest.mark.parametrize("distance", [SquaredDistance(), AbsoluteDistance()])
def test_distance_is_zero_at_the_goal_only_and_the_same_both_ways(distance: Distance) -> None:
    one, other = random(4, 1, 6).split(2)
    assert (distance(one[:, None, None], one) == 0).all() and (distance(one[:, None, None], other) > 0).all()
    torch.testing.assert_close(distance(one[:, None, None], other), distance(other[:, None, None], one))


def test_the_closest_step_lets_a_robot_pass_through_its_goal() -> None:
    assert float(GoalCost(SquaredDistance(), GOAL, over="closest")(LATENTS, ACTIONS)) == 0


def test_mean_over_the_horizon_or_its_last_step() -> None:
    assert float(GoalCost(SquaredDistance(), GOAL)(LATENTS, ACTIONS)) == pytest.approx(29 / 3)
    assert float(GoalCost(SquaredDistance(), GOAL, over="last")(LATENTS, ACTIONS)) == 25


def test_control_effort_is_the_mean_square_of_the_actions() -> None:
    assert float(ControlEffort()(LATENTS, ACTIONS)) == pytest.approx(1.25 / 3)
    assert float(ControlEffort()(LATENTS, torch.ones_like(ACTIONS))) == 1


def test_smoothness_is_the_mean_squared_change_between_control_steps() -> None:
    """0.5, -1 and 0: changes of -1.5 and 1. The same in one model step of three control steps."""
    assert float(Smoothness(control_steps=1)(LATENTS, ACTIONS)) == pytest.approx((1.5**2 + 1) / 2)
    assert float(Smoothness(control_steps=3)(LATENTS[:, :, :1], ACTIONS.reshape(1, 1, 1, 3))) == pytest.approx(1.625)


def test_smoothness_compares_each_action_with_itself_one_control_step_before() -> None:
    """Two model steps of two control steps of two actions: x goes 0, 1, 0, 1 and y stays."""
    actions = torch.tensor([[0.0, 0.7, 1.0, 0.7], [0.0, 0.7, 1.0, 0.7]])[None, None]
    assert float(Smoothness(control_steps=2)(LATENTS[:, :, :2], actions)) == pytest.approx(0.5)


def test_smoothness_goes_from_0_to_4() -> None:
    jumping = torch.tensor([1.0, -1.0]).repeat(1, 1, 3, 1)
    assert float(Smoothness(control_steps=2)(LATENTS, jumping)) == 4
    assert float(Smoothness(control_steps=2)(LATENTS, torch.ones(1, 1, 3, 2))) == 0
    assert float(Smoothness(control_steps=1)(LATENTS[:, :, :1], torch.ones(1, 1, 1, 2))) == 0, "nothing to change from"


def test_keep_out_by_hand() -> None:
    """Distances 4, 0 and 25 to the one; radius 8: (1/2)^2, 1 and nothing, mean over three steps."""
    assert float(KeepOutCost(SquaredDistance(), GOAL[:, None], radius=8.0)(LATENTS, ACTIONS)) == pytest.approx(1.25 / 3)


def test_keep_out_counts_the_nearest_of_several() -> None:
    far = torch.full_like(GOAL, 100.0)
    alone = KeepOutCost(SquaredDistance(), GOAL[:, None], radius=8.0)
    both = KeepOutCost(SquaredDistance(), torch.stack([far, GOAL], 1), radius=8.0)
    assert torch.equal(both(LATENTS, ACTIONS), alone(LATENTS, ACTIONS))
    assert float(KeepOutCost(SquaredDistance(), far[:, None], radius=8.0)(LATENTS, ACTIONS)) == 0


@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan")])
def test_keep_out_needs_a_radius(radius: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        KeepOutCost(SquaredDistance(), GOAL[:, None], radius=radius)


EVERY_COST: dict[str, CostFunction] = {
    **{
        f"{type(distance).__name__} {over}": GoalCost(distance, random(2, 1, 6), over)
        for distance in (SquaredDistance(), AbsoluteDistance())
        for over in OVERS
    },
    "ControlEffort": ControlEffort(),
    "Smoothness": Smoothness(control_steps=2),
    "KeepOutCost": KeepOutCost(SquaredDistance(), random(2, 3, 1, 6), radius=6.0),
}
LIMIT = {"ControlEffort": 1, "Smoothness": 4, "KeepOutCost": 1}


@pytest.mark.parametrize("name", EVERY_COST)
def test_a_cost_of_zero_weight_changes_nothing(name: str) -> None:
    near = GoalCost(SquaredDistance(), random(2, 1, 6))
    latents, actions = random(2, 3, 4, 1, 6), random(2, 3, 4, 4)
    with_zero = WeightedSum(((1.0, near), (0.0, EVERY_COST[name])))
    assert torch.equal(with_zero(latents, actions), near(latents, actions))


@pytest.mark.parametrize("size", [0.0, 1e-20, 1.0, 1e6])
@pytest.mark.parametrize("name", EVERY_COST)
def test_costs_are_finite_and_in_range_for_whatever_is_finite(name: str, size: float) -> None:
    costs = EVERY_COST[name](size * random(2, 3, 4, 1, 6), random(2, 3, 4, 4).clamp(-1, 1))
    assert costs.shape == (2, 3) and costs.isfinite().all()
    assert (costs >= 0).all() and (costs <= LIMIT.get(name, float("inf"))).all()


def test_a_weighted_sum_adds_up() -> None:
    near, effort = GoalCost(SquaredDistance(), GOAL), ControlEffort()
    both = WeightedSum(((2.0, near), (3.0, effort)))
    assert float(both(LATENTS, ACTIONS)) == pytest.approx(2 * 29 / 3 + 3 * 1.25 / 3)


def steps(latents: Tensor, goal: Tensor) -> Tensor:
    """A learned distance, here ten for every latent."""
    return torch.full(latents.shape[:3], 10.0)


def test_the_default_cost_is_the_learned_distance_plus_the_latent_one() -> None:
    cost = goal_cost(GOAL, scale=5.0, learned=[(1.5, steps)])
    wanted = 1.5 * 10 + LATENT_DISTANCE_WEIGHT * 29 / 3 / 5
    assert float(cost(LATENTS, ACTIONS)) == pytest.approx(wanted)


def test_each_learned_distance_counts_with_its_weight() -> None:
    def tolerances(latents: Tensor, goal: Tensor) -> Tensor:
        return torch.full(latents.shape[:3], 2.0)

    near = LATENT_DISTANCE_WEIGHT * 29 / 3 / 5
    for others, wanted in (([(1.5, steps)], 15.0), ([], 0.0)):
        cost = goal_cost(GOAL, scale=5.0, learned=[*others, (3.0, tolerances)])
        assert float(cost(LATENTS, ACTIONS)) == pytest.approx(3 * 2 + wanted + near)


def test_the_absolute_distance_of_unrelated_frames_is_about_one() -> None:
    """Of latents like those that SIGReg makes."""
    frames, goals = torch.randn(2, 500, 1, 64, generator=torch.Generator().manual_seed(0))
    scale = float((frames - goals).square().sum((-2, -1)).mean())
    for name in ("squared", "absolute"):
        distance = latent_distance(name, scale=scale, values=64)
        assert float(distance(frames[:, None, None], goals).mean()) == pytest.approx(1, rel=0.02)


def test_the_goal_may_be_measured_by_absolute_distance() -> None:
    cost = goal_cost(GOAL, scale=5.0, distance="absolute")
    near = GoalCost(latent_distance("absolute", scale=5.0, values=GOAL[0].numel()), GOAL)
    assert (
        float(cost(LATENTS, ACTIONS))
        == float(near(LATENTS, ACTIONS))
        != float(goal_cost(GOAL, scale=5.0)(LATENTS, ACTIONS))
    )


def test_without_a_learned_distance_the_squared_one_is_all() -> None:
    cost = goal_cost(GOAL, scale=5.0, over="last")
    assert float(cost(LATENTS, ACTIONS)) == 5


def test_they_are_what_the_planner_asks_for() -> None:
    near = GoalCost(SquaredDistance(), GOAL)
    assert isinstance(SquaredDistance(), Distance)
    assert all(isinstance(cost, CostFunction) for cost in (near, ControlEffort(), WeightedSum(((1.0, near),))))
