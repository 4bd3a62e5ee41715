"""Numbers that must not move by accident. How to move them on purpose: tests/golden/produce.py.

Tolerances leave room for other CPUs, whose matrix products round differently; on one machine the numbers are bit-equal.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.golden.produce import FOLDER, answers, loss_curve, plan


def golden(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def test_one_plan(tmp_path: Path) -> None:
    """Cost after each iteration to 1e-4, the plan itself to 1e-3 of the action's range."""
    wanted, given = golden("plan"), plan(tmp_path)
    assert given["best_costs"] == pytest.approx(wanted["best_costs"], rel=1e-4)
    assert given["elite_std"] == pytest.approx(wanted["elite_std"], rel=1e-2)
    for step, wanted_step in zip(given["variables"], wanted["variables"], strict=True):
        assert step == pytest.approx(wanted_step, abs=2e-3)


def test_ten_steps_of_training(tmp_path: Path) -> None:
    """Both losses to 1e-3: rounding grows over the steps."""
    wanted, given = golden("loss_curve"), loss_curve(tmp_path)
    assert given.keys() == wanted.keys()
    for name, curve in wanted.items():
        assert given[name] == pytest.approx(curve, rel=1e-3), name
    assert len(wanted["predict"]) == 10


def test_answers_to_requests_of_every_kind(tmp_path: Path) -> None:
    """Costs and distances to 1e-3; where chunks begin and end to the step."""
    wanted, given = golden("answers"), answers(tmp_path)
    assert given.keys() == wanted.keys()
    for name in ("predicted_cost", "goal_distance"):
        assert given[name] == pytest.approx(wanted[name], rel=1e-3), name
    for name in ("active_goal", "first_step", "steps"):
        assert given[name] == wanted[name], name


def test_the_golden_plan_got_better_as_it_went() -> None:
    """A golden of a search that found nothing would hold still whatever broke."""
    costs = golden("plan")["best_costs"]
    assert costs == sorted(costs, reverse=True) and costs[-1] < costs[0]
