"""Named settings: each works, and more thorough ones try more."""

import dataclasses
from typing import Any

import pytest
import torch

from planner.constraints import Constraints
from planner.names import AlgorithmName, SearchSpaceName
from planner.presets import OPTIMISERS, PRESETS, Preset, build
from tests.planner.linear import Problem, iterate

LOW, HIGH = torch.tensor([-1.0, -0.5]), torch.tensor([0.25, 1.0])


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("algorithm", OPTIMISERS)
@pytest.mark.parametrize("search_space", ["constant", "free", "linear_spline", "cubic_spline"])
def test_every_preset_builds_and_plans(name: str, algorithm: AlgorithmName, search_space: SearchSpaceName) -> None:
    preset = dataclasses.replace(PRESETS[name], algorithm=algorithm, search_space=search_space)
    optimiser, space = build(preset, low=LOW, high=HIGH, control_steps=5)
    assert type(optimiser) is OPTIMISERS[algorithm]
    settings = vars(preset)
    taken = {key: value for key, value in vars(optimiser).items() if key in settings}
    assert taken.keys() >= {"candidates", "iterations", "std"}
    assert taken == {key: settings[key] for key in taken}
    goal = (0.2,) * len(space.low)
    plan = iterate([Problem(goal=goal, start=(0.0,) * len(goal))], optimiser, space, horizon=preset.horizon)[-1][0]
    assert plan.actions.shape == (preset.horizon, 10)
    actions = plan.actions.unflatten(-1, (5, 2))
    assert ((actions >= LOW) & (actions <= HIGH)).all()


def test_from_fast_to_thorough_the_search_is_larger() -> None:
    work = [preset.candidates * preset.iterations for preset in (PRESETS[n] for n in ("fast", "default", "thorough"))]
    assert work == sorted(work) and len(set(work)) == 3


def test_cem_is_the_algorithm_unless_another_one_is_asked_for() -> None:
    assert {preset.algorithm for preset in PRESETS.values()} == {"cem"}


@pytest.mark.parametrize(("algorithm", "has"), [("cem", True), ("icem", True), ("mppi", False)])
def test_an_algorithm_without_elites_does_not_look_at_their_number(algorithm: AlgorithmName, has: bool) -> None:
    assert dataclasses.replace(PRESETS["fast"], algorithm=algorithm).has_elites is has
    if not has:
        dataclasses.replace(PRESETS["fast"], algorithm=algorithm, elites=10**6)


def test_constraints_are_laid_over_the_search_space() -> None:
    last = torch.tensor([0.1, 0.1])
    constraints = Constraints(max_delta=torch.full((2,), 0.01), committed=torch.zeros(0, 2), last=last)
    optimiser, space = build(PRESETS["fast"], low=LOW, high=HIGH, control_steps=5, constraints=constraints)
    plan = iterate([Problem(goal=(9.0, 9.0))], optimiser, space, horizon=5)[-1][0]
    steps = torch.cat([last[None], plan.actions.reshape(25, 2)])
    torch.testing.assert_close(steps.diff(dim=0)[:10], torch.full((10, 2), 0.01), rtol=0, atol=1e-6)


def test_constraints_that_no_action_obeys_are_refused() -> None:
    constraints = Constraints(max_delta=torch.ones(2), committed=torch.tensor([[0.5, 0.0]]))
    with pytest.raises(ValueError, match="committed actions leave the limits"):
        build(PRESETS["fast"], low=LOW, high=HIGH, control_steps=5, constraints=constraints)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"horizon": 0}, "horizon=0 must be at least 1 model step"),
        ({"elites": 64}, "elites=64"),
        ({"iterations": 0}, "iterations=0"),
        ({"std": 0.001}, "std=0.001"),
        ({"knots": 0, "search_space": "cubic_spline"}, "knots=0"),
    ],
)
def test_a_preset_checks_itself(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Preset(**{"candidates": 64, "elites": 8, "iterations": 4, **wrong})
