"""Named settings: each works, and more thorough ones try more."""

from typing import Any

import pytest
import torch

from planner.presets import PRESETS, Preset, build
from tests.planner.linear import Problem, iterate

LOW, HIGH = torch.tensor([-1.0, -0.5]), torch.tensor([0.25, 1.0])


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("search_space", ["constant", "free"])
def test_every_preset_builds_and_plans(name: str, search_space: Any) -> None:
    preset = Preset(**{**vars(PRESETS[name]), "search_space": search_space})
    optimiser, space = build(preset, low=LOW, high=HIGH, control_steps=5)
    assert (optimiser.candidates, optimiser.elites, optimiser.iterations) == (
        preset.candidates,
        preset.elites,
        preset.iterations,
    )
    goal = (0.2,) * len(space.low)
    plan = iterate([Problem(goal=goal, start=(0.0,) * len(goal))], optimiser, space, horizon=preset.horizon)[-1][0]
    assert plan.actions.shape == (preset.horizon, 10)
    actions = plan.actions.unflatten(-1, (5, 2))
    assert ((actions >= LOW) & (actions <= HIGH)).all()


def test_from_fast_to_thorough_the_search_is_larger() -> None:
    work = [preset.candidates * preset.iterations for preset in (PRESETS[n] for n in ("fast", "default", "thorough"))]
    assert work == sorted(work) and len(set(work)) == 3


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"horizon": 0}, "horizon=0 must be at least 1 model step"),
        ({"elites": 64}, "elites=64"),
        ({"iterations": 0}, "iterations=0"),
        ({"std": 0.001}, "std=0.001"),
    ],
)
def test_a_preset_checks_itself(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Preset(**{"candidates": 64, "elites": 8, "iterations": 4, **wrong})
