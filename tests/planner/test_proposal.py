"""Where a search looks first."""

import dataclasses
from typing import get_args

import pytest
import torch
from torch import Generator, Tensor

from planner.constraints import Constraints
from planner.costs import GoalCost, SquaredDistance
from planner.names import AlgorithmName, SearchSpaceName
from planner.optimiser import Optimiser
from planner.presets import PRESETS, build
from planner.proposal import follow
from planner.search import RobotSearch, advance
from planner.search_space import SearchSpace
from tests.planner.linear import LinearWorldModel, space

HORIZON = 3


def half_way(latents: Tensor, goal: Tensor) -> Tensor:
    """Go half of what is left."""
    return ((goal - latents) / 2).squeeze(1)


def test_a_proposal_is_followed_in_imagination() -> None:
    model = LinearWorldModel()
    start, goal = torch.zeros(2, 1, 2), torch.tensor([[[1.0, 0.0]], [[0.0, -0.8]]])
    actions = follow(half_way, model, start, start, goal, HORIZON)
    assert actions.shape == (2, HORIZON, 2)
    torch.testing.assert_close(actions[0, :, 0], torch.tensor([0.5, 0.25, 0.125]))
    torch.testing.assert_close(actions[1, :, 1], torch.tensor([-0.4, -0.2, -0.1]))
    assert [batch.shape[1] for batch in model.rollouts] == [1] * (HORIZON - 1), "one candidate is all it takes"


@pytest.mark.parametrize("name", get_args(SearchSpaceName))
def test_what_a_space_can_say_survives_encoding(name: SearchSpaceName) -> None:
    made = space(low=(-1.0, -0.5), high=(0.25, 1.0), control_steps=4, name=name, horizon=HORIZON)
    generator = Generator().manual_seed(0)
    spread = torch.rand(made.rows(HORIZON), len(made.low), generator=generator)
    variables = made.low + spread * (made.high - made.low)
    if name == "cubic_spline":
        variables = variables * 0.5  # a curve that stays within bounds is not clamped
    torch.testing.assert_close(made.encode(made.decode(variables)), variables, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", get_args(SearchSpaceName))
def test_what_is_encoded_is_within_bounds(name: SearchSpaceName) -> None:
    made = space(low=(-1.0, -0.5), high=(0.25, 1.0), control_steps=4, name=name, horizon=HORIZON)
    variables = made.encode(torch.full((HORIZON, 8), 7.0))
    assert ((variables >= made.low) & (variables <= made.high)).all()


def test_the_mean_stands_for_actions_that_a_held_one_cannot_follow() -> None:
    encoded = space(control_steps=2).encode(torch.tensor([[0.0, 0.5, 1.0, 0.5]]))
    assert encoded.tolist() == [[0.5, 0.5]]


class Searched:
    """One search over three steps of a plane, and what it imagined."""

    def __init__(self, optimiser: Optimiser, within: SearchSpace, proposal: Tensor | None, only: bool = False) -> None:
        self.model = LinearWorldModel()
        self.search = RobotSearch(
            optimiser=optimiser,
            space=within,
            horizon=HORIZON,
            warm_start=None,
            generator=Generator().manual_seed(0),
            proposal=proposal,
            only_proposal=only,
        )
        cost = GoalCost(SquaredDistance(), torch.tensor(GOAL)[None, None], "mean")
        while not self.search.is_over:
            advance(self.model, torch.zeros(1, 1, 2), cost, [self.search])
        self.batches = [batch[0] for batch in self.model.rollouts]


GOAL = (0.9, -0.9)
EXACT = torch.tensor([GOAL, (0.0, 0.0), (0.0, 0.0)])


@pytest.mark.parametrize("algorithm", get_args(AlgorithmName))
def test_every_optimiser_tries_the_proposal_first_and_keeps_it_when_it_is_best(algorithm: AlgorithmName) -> None:
    preset = dataclasses.replace(PRESETS["fast"], algorithm=algorithm, horizon=HORIZON)
    one = torch.ones(2)
    optimiser, within = build(preset, low=-one, high=one, control_steps=1)
    searched = Searched(optimiser, within, EXACT)
    assert torch.equal(searched.batches[0][-1], EXACT)
    assert len(searched.batches[0]) == preset.candidates, "the proposal takes a place, it does not add one"
    assert searched.search.plan.cost < 1e-6, "what was best from the first is lost"
    assert not any(torch.equal(candidate, EXACT) for candidate in Searched(optimiser, within, None).batches[0])


def test_a_bad_proposal_does_no_harm() -> None:
    one = torch.ones(2)
    optimiser, within = build(PRESETS["default"], low=-one, high=one, control_steps=1)
    misled, plain = (Searched(optimiser, within, proposal).search.plan for proposal in (-torch.ones(HORIZON, 2), None))
    assert misled.cost == pytest.approx(plain.cost, abs=0.02)


def test_a_controller_without_a_search_imagines_its_proposal_and_nothing_else() -> None:
    one = torch.ones(2)
    optimiser, within = build(PRESETS["reactive"], low=-one, high=one, control_steps=1)
    bad = torch.full((HORIZON, 2), 0.3)
    searched = Searched(optimiser, within, bad, only=True)
    assert [batch.shape[0] for batch in searched.batches] == [1]
    assert torch.equal(searched.search.plan.actions, bad) and searched.search.plan.iterations == 1


def test_constraints_hold_for_a_proposal_too() -> None:
    constraints = Constraints(max_delta=torch.full((2,), 0.1), committed=torch.zeros(0, 2), last=torch.zeros(2))
    one = torch.ones(2)
    optimiser, within = build(PRESETS["reactive"], low=-one, high=one, control_steps=1, constraints=constraints)
    plan = Searched(optimiser, within, within.encode(torch.ones(HORIZON, 2)), only=True).search.plan
    torch.testing.assert_close(plan.actions, torch.tensor([[0.1] * 2, [0.2] * 2, [0.3] * 2]))


def test_only_what_is_measured_is_the_default() -> None:
    assert [name for name, preset in PRESETS.items() if preset.proposal != "none"] == ["guided", "reactive"]
