"""The loop around the optimisers, with the linear world and with a real model."""

import pytest
import torch
from torch import Generator

from planner.cem import CEM
from planner.costs import GoalCost, SquaredDistance, goal_cost
from planner.search import NoFinitePlan, Plan, RobotSearch, advance
from tests.planner.linear import LinearWorldModel, Problem, cem, iterate, plan_iterations, same_plan, space
from tests.tiny import write_tiny_checkpoint
from worldmodel.checkpoint import Checkpoint, load_checkpoint
from worldmodel.observation import ObservationBatch
from worldmodel.recipe import Latents

SEATS = [(0,), (1,), (0, 1), (1, 0), (5, 0, 1), (6, 5, 4, 3, 2, 1, 0)]


def test_the_model_is_asked_once_an_iteration_for_all_robots() -> None:
    model = LinearWorldModel()
    iterate([Problem(goal=(0.3, 0.1), seed=seed) for seed in range(4)], cem(space()), space(), model=model)
    assert [tuple(actions.shape) for actions in model.rollouts] == [(4, 256, 3, 2)] * len(model.rollouts)


def test_the_caller_can_stop_after_any_iteration() -> None:
    """A deadline ends the search by not asking again: nothing more is computed."""
    model, cost = LinearWorldModel(), goal_cost(torch.ones(1, 1, 2), scale=1.0)
    iterations = plan_iterations(model, torch.zeros(1, 1, 2), cost, [search(0)], (1, 2))
    assert not model.rollouts, "work before anybody asked"
    first = next(iterations)
    assert len(model.rollouts) == 1 and first[0].iterations == 1


def test_a_robot_whose_search_is_over_rests() -> None:
    """While its neighbour goes on, its plan stays as it was, and so does its count of iterations."""
    done, slow = Problem(goal=(0.6, -0.3)), Problem(goal=(-9.0, 0.5), seed=5)
    within = space()
    alone = len(iterate([done], cem(within), within))
    together = iterate([done, slow], cem(within), within)
    assert len(together) > alone
    assert {plans[0].iterations for plans in together[alone - 1 :]} == {alone}


def test_every_robot_needs_its_own_search() -> None:
    """One search must not be spread over the states and goals of two robots."""

    def cost(latents: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return latents.square().sum((-3, -2, -1))

    with pytest.raises(ValueError, match=r"\(2, 256\) costs for \(1, 256\) .*exactly the robots"):
        next(plan_iterations(LinearWorldModel(), torch.zeros(2, 1, 2), cost, [search(0)], (1, 2)))


def test_the_candidates_are_decoded_once_an_iteration() -> None:
    """A caller may look at them before they are imagined; with splines and constraints decoding is most of the work."""
    robot = search(0)
    assert robot.ask() is robot.ask()


def search(seed: int, *, low: float = -1.0, high: float = 1.0, **settings: float) -> RobotSearch:
    """Three steps ahead, with limits and settings of its own."""
    within = space((low, low), (high, high))
    optimiser, generator = cem(within, **settings), Generator().manual_seed(seed)
    return RobotSearch(optimiser=optimiser, space=within, horizon=3, generator=generator)


GOALS = torch.tensor([[[0.6, -0.3]], [[9.0, 9.0]], [[-0.4, 0.2]]])


def searches() -> list[RobotSearch]:
    return [search(0), search(1, low=-0.2, high=0.5, std=0.3), search(2, iterations=4)]


def run(robots: list[RobotSearch], goals: torch.Tensor) -> list[Plan]:
    """All that are not over share each rollout."""
    model = LinearWorldModel()
    while going := [index for index, robot in enumerate(robots) if not robot.is_over]:
        cost, state = GoalCost(SquaredDistance(), goals[going]), torch.zeros(len(going), 1, 2)
        advance(model, state, cost, [robots[index] for index in going], (1, 2))
    return [robot.plan for robot in robots]


def test_robots_with_other_limits_settings_and_budgets_share_a_rollout() -> None:
    """And each gets, to the last bit, the plan that it gets alone."""
    together = run(searches(), GOALS)
    assert [plan.iterations for plan in together][2] == 4 < together[0].iterations
    assert together[1].actions.max() <= 0.5
    for robot, plan in enumerate(together):
        (alone,) = run([searches()[robot]], GOALS[robot : robot + 1])
        assert same_plan(plan, alone)


def test_a_robot_without_a_finite_cost_is_over_and_its_neighbours_go_on() -> None:
    goals = GOALS.clone()
    goals[1] = torch.nan
    robots = searches()
    with pytest.raises(NoFinitePlan):
        run(robots, goals)
    assert robots[1].is_over and robots[1].iterations == 1
    for robot in (0, 2):
        (alone,) = run([searches()[robot]], GOALS[robot : robot + 1])
        assert same_plan(robots[robot].plan, alone)


def test_asking_again_before_the_answer_asks_the_same() -> None:
    robot = search(0)
    asked = robot.ask()
    assert torch.equal(robot.ask(), asked)
    costs = asked.square().sum((-2, -1))
    robot.tell(costs, asked[int(costs.argmin()), :, None])
    assert not torch.equal(robot.ask(), asked)


def test_there_is_no_plan_before_anything_was_imagined() -> None:
    with pytest.raises(NoFinitePlan):
        _ = search(0).plan


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints")))


def encoded(checkpoint: Checkpoint, frames: torch.Tensor) -> torch.Tensor:
    """[frames n d]"""
    assert checkpoint.encoder is not None
    return checkpoint.encoder.encode(ObservationBatch({"top": frames})).tokens


def lewm_plans(checkpoint: Checkpoint, seats: tuple[int, ...]) -> tuple[Plan, ...]:
    """Robots with frames, goals and seeds of their own, planned in one batch."""
    generator = Generator().manual_seed(0)
    frames = torch.randint(0, 256, (7, 4, 32, 32, 3), dtype=torch.uint8, generator=generator)
    past = torch.randn(7, 2, 10, generator=generator)
    with torch.inference_mode():
        latents = torch.stack(
            [torch.stack([encoded(checkpoint, frame[None])[0] for frame in frames[r]]) for r in seats]
        )
        within = space(control_steps=5)
        optimiser = CEM(space=within, candidates=64, elites=8, iterations=6)
        robots = [
            RobotSearch(optimiser=optimiser, space=within, horizon=5, generator=Generator().manual_seed(100 + robot))
            for robot in seats
        ]
        model = checkpoint.world_model
        assert model is not None
        state = model.begin(Latents(latents[:, :3]), past[list(seats)])
        cost = goal_cost(latents[:, 3], scale=32.0)
        return list(plan_iterations(model, state, cost, robots, latents.shape[2:]))[-1]


@pytest.mark.parametrize("seats", SEATS)
def test_with_a_real_model_a_plan_depends_on_the_batch_by_rounding_only(
    checkpoint: Checkpoint, seats: tuple[int, ...]
) -> None:
    """Matrix products of other sizes round differently. Measured: costs within 1.1e-7, actions equal."""
    for robot, plan in zip(seats, lewm_plans(checkpoint, seats), strict=True):
        (alone,) = lewm_plans(checkpoint, (robot,))
        assert plan.cost == pytest.approx(alone.cost, rel=1e-5)
        torch.testing.assert_close(plan.actions, alone.actions, rtol=0, atol=1e-3)


def test_with_a_real_model_a_plans_cost_is_that_of_its_actions(checkpoint: Checkpoint) -> None:
    generator = Generator().manual_seed(0)
    frames = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=generator)
    within = space(control_steps=5)
    with torch.inference_mode():
        model, latents = checkpoint.world_model, encoded(checkpoint, frames)
        assert model is not None
        state = model.begin(Latents(latents[None, :3]), torch.zeros(1, 2, 10))
        cost = goal_cost(latents[3:], scale=32.0)
        robot = RobotSearch(optimiser=CEM(space=within), space=within, horizon=5, generator=generator)
        for (plan,) in plan_iterations(model, state, cost, [robot], latents.shape[1:]):
            actions = plan.actions[None, None]
            again = model.rollout(state, actions)
            assert float(cost(again, actions)) == pytest.approx(plan.cost, rel=1e-4)
            torch.testing.assert_close(again[0, 0], plan.latents, rtol=1e-4, atol=1e-4)
