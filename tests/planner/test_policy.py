"""Plans without a search, and where a search looks first."""

import dataclasses
import math
from typing import get_args

import pytest
import torch
from torch import Generator, Tensor

from planner.constraints import Constraints
from planner.costs import ControlEffort, GoalCost, SquaredDistance
from planner.names import SearchAlgorithmName, SearchSpaceName
from planner.optimiser import Optimiser
from planner.policy import Verifier, continued, policy_plan
from planner.presets import PRESETS, build_space
from planner.protocols import Policy
from planner.search import NoFinitePlan, Plan, RobotSearch, advance
from planner.search_space import SearchSpace
from tests.planner.linear import LinearWorldModel, build, space

HORIZON = 3
START, GOAL = torch.zeros(1, 1, 2), torch.tensor([[[0.9, -0.9]]])
CONTEXT = START[:, None]


def half_way(context: Tensor, goal: Tensor) -> Tensor:
    """Go half of what is left, one model step at a time."""
    return (goal - context[:, -1]) / 2


def two_steps(context: Tensor, goal: Tensor) -> Tensor:
    """Go a quarter of what is left, twice."""
    return ((goal - context[:, -1]) / 4).expand(-1, 2, -1)


@dataclasses.dataclass
class Remembering:
    """Moves nothing, and keeps the contexts that it was asked about."""

    steps: int
    contexts: list[Tensor] = dataclasses.field(default_factory=list)

    def __call__(self, context: Tensor, goal: Tensor) -> Tensor:
        self.contexts.append(context)
        return torch.full((len(context), self.steps, 2), 0.25)


@dataclasses.dataclass
class Constant:
    """Always the same actions [h a]."""

    actions: Tensor

    def __call__(self, context: Tensor, goal: Tensor) -> Tensor:
        return self.actions.expand(len(context), -1, -1)


def verifier(model: LinearWorldModel, horizon: int = HORIZON) -> Verifier:
    return Verifier(model=model, state=START, cost=GoalCost(SquaredDistance(), GOAL), horizon=horizon)


def plan(policy: Policy, within: SearchSpace | None = None, verified: Verifier | None = None) -> Plan:
    return policy_plan(policy, CONTEXT, GOAL, space() if within is None else within, verified)


def test_a_policy_of_one_step_is_continued_in_imagination() -> None:
    model = LinearWorldModel()
    start, goal = torch.zeros(2, 1, 2), torch.tensor([[[1.0, 0.0]], [[0.0, -0.8]]])
    actions = continued(half_way, model, start, start[:, None], goal, HORIZON)
    assert actions.shape == (2, HORIZON, 2)
    torch.testing.assert_close(actions[0, :, 0], torch.tensor([0.5, 0.25, 0.125]))
    torch.testing.assert_close(actions[1, :, 1], torch.tensor([-0.4, -0.2, -0.1]))
    assert [batch.shape for batch in model.rollouts] == [(2, 1, 1, 2), (2, 1, 2, 2)], "one candidate is all it takes"


def test_a_chunk_is_continued_from_its_end_and_cut_to_the_horizon() -> None:
    """By hand: a quarter of 0.9 twice, half of it is left; a quarter of that, and no fourth step."""
    model = LinearWorldModel()
    actions = continued(two_steps, model, START, CONTEXT, GOAL, HORIZON)
    torch.testing.assert_close(actions[0, :, 0], torch.tensor([0.225, 0.225, 0.1125]))
    assert len(model.rollouts) == 1


@pytest.mark.parametrize("steps", [3, 4])
def test_a_chunk_as_long_as_the_horizon_is_not_imagined(steps: int) -> None:
    model = LinearWorldModel()
    actions = continued(Remembering(steps), model, START, CONTEXT, GOAL, HORIZON)
    assert actions.shape == (1, HORIZON, 2) and not model.rollouts


def test_the_next_question_has_as_many_frames_as_the_context_the_newest_ones() -> None:
    """Seen ones at 0, -1, -2 from the newest, then what is imagined, a quarter further each step."""
    policy = Remembering(steps=2)
    context = torch.tensor([-2.0, -1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    continued(policy, LinearWorldModel(), START, context, GOAL, 5)
    seen = [given[0, :, 0, 0].tolist() for given in policy.contexts]
    assert seen == [[-2.0, -1.0, 0.0], [0.0, 0.25, 0.5], [0.5, 0.75, 1.0]]


def test_a_policy_that_answers_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="chunk of 0 model steps; wanted 1 or more"):
        continued(Constant(torch.zeros(0, 2)), LinearWorldModel(), START, CONTEXT, GOAL, HORIZON)


def test_without_a_world_model_the_plan_is_the_policys_chunk_with_no_evidence() -> None:
    answered = plan(two_steps)
    torch.testing.assert_close(answered.actions, torch.tensor([[0.225, -0.225]] * 2))
    assert answered == Plan(actions=answered.actions, variables=answered.variables)
    assert (answered.cost, answered.latents, answered.first_cost, answered.elite_std) == (None,) * 4
    assert (answered.best_costs, answered.iterations, answered.converged) == ((), 0, False)


def test_with_a_world_model_the_plan_has_its_horizon_and_the_cost_of_exactly_its_actions() -> None:
    model = LinearWorldModel()
    answered = plan(two_steps, verified=verifier(model))
    assert answered.actions.shape == (HORIZON, 2)
    latents = LinearWorldModel().rollout(START, answered.actions[None, None])
    assert answered.latents is not None and torch.equal(answered.latents, latents[0, 0])
    cost = GoalCost(SquaredDistance(), GOAL)(latents, answered.actions[None, None])
    assert answered.cost == float(cost)
    assert (answered.best_costs, answered.iterations, answered.elite_std, answered.first_cost) == ((), 0, None, None)


def test_verifying_imagines_what_the_robot_will_run_and_not_what_the_policy_wanted() -> None:
    model, within = LinearWorldModel(), space((-0.1, -0.1), (0.1, 0.1))
    answered = plan(half_way, within, verifier(model))
    torch.testing.assert_close(answered.actions, torch.tensor([[0.1, -0.1]] * HORIZON))
    assert torch.equal(model.rollouts[-1][0, 0], answered.actions)


@pytest.mark.parametrize("name", get_args(SearchSpaceName))
def test_a_policys_plan_is_within_bounds_and_is_what_its_variables_stand_for(name: SearchSpaceName) -> None:
    within = space((-0.5, 0.0), (0.1, 0.3), control_steps=2, name=name)
    wild = Constant(torch.randn(HORIZON, 4, generator=Generator().manual_seed(0)) * 3)
    answered = policy_plan(wild, torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 4), within)
    actions = answered.actions.unflatten(-1, (2, 2))
    assert ((actions >= torch.tensor([-0.5, 0.0])) & (actions <= torch.tensor([0.1, 0.3]))).all()
    assert torch.equal(within.decode(answered.variables), answered.actions)
    assert torch.equal(within.clamp(answered.variables), answered.variables)


def test_constraints_hold_for_a_policys_plan_too() -> None:
    constraints = Constraints(max_delta=torch.full((2,), 0.1), committed=torch.zeros(0, 2), last=torch.zeros(2))
    one = torch.ones(2)
    within = build_space(PRESETS["reactive"], low=-one, high=one, control_steps=1, constraints=constraints)
    answered = plan(Constant(torch.ones(HORIZON, 2)), within)
    torch.testing.assert_close(answered.actions, torch.tensor([[0.1] * 2, [0.2] * 2, [0.3] * 2]))


def test_a_spline_over_another_horizon_than_the_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon=2; these knots are spread over 3 model steps"):
        plan(two_steps, space(name="cubic_spline", control_steps=1, horizon=3))


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("verified", [True, False])
def test_actions_that_are_not_finite_are_no_plan(poison: float, verified: bool) -> None:
    """Clamping would make the largest action of infinity."""
    broken = Constant(torch.tensor([[0.1, poison]]))
    with pytest.raises(NoFinitePlan, match="an action that is not finite; check"):
        plan(broken, verified=verifier(LinearWorldModel()) if verified else None)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_cost_that_is_not_finite_is_no_plan(poison: float) -> None:
    def cost(latents: Tensor, actions: Tensor) -> Tensor:
        return ControlEffort()(latents, actions) + poison

    broken = dataclasses.replace(verifier(LinearWorldModel()), cost=cost)
    with pytest.raises(NoFinitePlan, match="a cost that is not finite; check"):
        plan(half_way, verified=broken)


class Searched:
    """One search over three steps of a plane, and what it imagined."""

    def __init__(self, optimiser: Optimiser, within: SearchSpace, proposal: Tensor | None) -> None:
        self.model = LinearWorldModel()
        self.search = RobotSearch(
            optimiser=optimiser,
            space=within,
            horizon=HORIZON,
            generator=Generator().manual_seed(0),
            proposal=proposal,
        )
        while not self.search.is_over:
            advance(self.model, START, GoalCost(SquaredDistance(), GOAL, "mean"), [self.search], (1, 2))
        self.batches = [batch[0] for batch in self.model.rollouts]


EXACT = torch.cat([GOAL[0], torch.zeros(2, 2)])


@pytest.mark.parametrize("algorithm", get_args(SearchAlgorithmName))
def test_every_optimiser_tries_the_proposal_first_and_keeps_it_when_it_is_best(algorithm: SearchAlgorithmName) -> None:
    preset = dataclasses.replace(PRESETS["fast"], algorithm=algorithm, horizon=HORIZON)
    one = torch.ones(2)
    optimiser, within = build(preset, low=-one, high=one, control_steps=1)
    searched = Searched(optimiser, within, EXACT)
    assert torch.equal(searched.batches[0][-1], EXACT)
    assert len(searched.batches[0]) == preset.candidates, "the proposal takes a place, it does not add one"
    cost = searched.search.plan.cost
    assert cost is not None and cost < 1e-6, "what was best from the first is lost"
    assert not any(torch.equal(candidate, EXACT) for candidate in Searched(optimiser, within, None).batches[0])


def test_a_bad_proposal_does_no_harm() -> None:
    one = torch.ones(2)
    optimiser, within = build(PRESETS["default"], low=-one, high=one, control_steps=1)
    misled, plain = (Searched(optimiser, within, proposal).search.plan for proposal in (-torch.ones(HORIZON, 2), None))
    assert misled.cost == pytest.approx(plain.cost, abs=0.02)


def test_a_search_that_begins_with_a_policys_plan_ends_no_worse() -> None:
    one = torch.ones(2)
    optimiser, within = build(PRESETS["fast"], low=-one, high=one, control_steps=1)
    answered = plan(half_way, within, verifier(LinearWorldModel()))
    guided = Searched(optimiser, within, answered.variables).search.plan
    assert guided.cost is not None and answered.cost is not None and guided.cost <= answered.cost


def test_only_what_is_measured_is_the_default() -> None:
    assert [name for name, preset in PRESETS.items() if preset.proposal or preset.is_policy] == ["guided", "reactive"]
