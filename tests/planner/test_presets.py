"""Named settings: each works, and more thorough ones try more."""

import dataclasses
from typing import Any, get_args

import pytest
import torch

from planner.constraints import Constraints
from planner.names import AlgorithmName, SearchAlgorithmName, SearchSpaceName
from planner.optimiser import GradientOptimiser
from planner.presets import OPTIMISERS, PRESETS, Preset, build_space
from tests.planner.linear import Problem, build, iterate

SEARCHES = [name for name, preset in PRESETS.items() if not preset.is_policy]
LOW, HIGH = torch.tensor([-1.0, -0.5]), torch.tensor([0.25, 1.0])


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("algorithm", OPTIMISERS)
@pytest.mark.parametrize("search_space", ["constant", "free", "linear_spline", "cubic_spline"])
def test_every_search_builds_and_plans(
    name: str, algorithm: SearchAlgorithmName, search_space: SearchSpaceName
) -> None:
    preset = dataclasses.replace(PRESETS[name], algorithm=algorithm, search_space=search_space)
    optimiser, space = build(preset, low=LOW, high=HIGH, control_steps=5)
    settings = vars(preset)
    taken = {key: value for key, value in vars(optimiser).items() if key in settings}
    assert taken.keys() >= {"candidates", "iterations"}
    assert taken == {key: settings[key] for key in taken}
    assert preset.has_elites is ("elites" in taken)
    assert preset.wants_gradients is isinstance(optimiser, GradientOptimiser)
    goal = (0.2,) * len(space.low)
    plan = iterate([Problem(goal=goal, start=(0.0,) * len(goal))], optimiser, space, horizon=preset.horizon)[-1][0]
    assert plan.actions.shape == (preset.horizon, 10)
    actions = plan.actions.unflatten(-1, (5, 2))
    assert ((actions >= LOW) & (actions <= HIGH)).all()


def test_from_fast_to_thorough_the_search_is_larger() -> None:
    work = [preset.candidates * preset.iterations for preset in (PRESETS[n] for n in ("fast", "default", "thorough"))]
    assert work == sorted(work) and len(set(work)) == 3


def test_the_usual_presets_search_with_cem() -> None:
    assert {PRESETS[name].algorithm for name in ("fast", "default", "thorough", "guided")} == {"cem"}


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


@pytest.mark.parametrize("algorithm", OPTIMISERS)
def test_an_algorithms_name_makes_that_algorithm(algorithm: SearchAlgorithmName) -> None:
    preset = dataclasses.replace(PRESETS["fast"], algorithm=algorithm)
    optimiser, _ = build(preset, low=LOW, high=HIGH, control_steps=5)
    assert type(optimiser).__name__.lower() == algorithm.replace("_", "")


def test_every_name_is_a_search_or_the_policy() -> None:
    assert set(get_args(AlgorithmName)) == {*OPTIMISERS, "policy"}


def test_a_policys_preset_has_a_space_and_no_search() -> None:
    reactive = PRESETS["reactive"]
    assert reactive.is_policy and not reactive.has_elites and not reactive.wants_gradients
    assert (reactive.candidates, reactive.iterations) == (0, 0)
    assert build_space(reactive, low=LOW, high=HIGH, control_steps=5).rows(reactive.horizon) == reactive.horizon
    with pytest.raises(ValueError, match=r"algorithm='policy' has no optimiser; plan with .*policy_plan"):
        build(reactive, low=LOW, high=HIGH, control_steps=5)


@pytest.mark.parametrize(
    "searched",
    [{"candidates": 3}, {"elites": 2}, {"iterations": 1}, {"std": 0.7}, {"std_floor": 0.1}, {"proposal": True}],
)
def test_a_policys_preset_refuses_what_only_a_search_reads(searched: dict[str, Any]) -> None:
    (given,) = (f"{name}={value}" for name, value in searched.items())
    with pytest.raises(ValueError, match=f"algorithm='policy' runs no search, but {given} set one up; take preset"):
        dataclasses.replace(PRESETS["reactive"], **searched)


def test_what_a_policys_plan_obeys_may_be_set() -> None:
    preset = dataclasses.replace(PRESETS["reactive"], horizon=3, search_space="cubic_spline", knots=2)
    assert build_space(preset, low=LOW, high=HIGH, control_steps=5).rows(3) == 2
    with pytest.raises(ValueError, match="horizon=0"):
        dataclasses.replace(PRESETS["reactive"], horizon=0)


def test_a_search_needs_settings_that_a_policys_preset_has_not() -> None:
    with pytest.raises(ValueError, match="candidates=0"):
        dataclasses.replace(PRESETS["reactive"], algorithm="cem")
