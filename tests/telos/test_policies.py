"""Answers of a policy, which imagines nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from telos import Controller, ControlLoop, Planner
from telos.planner import Method
from tests.telos.test_controller import GOAL, ScriptedPlanner, image


class PolicyPlanner(ScriptedPlanner):
    """Says nothing of costs."""

    def _call(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        changes = {"status": "POLICY", "iterations_completed": 0, "costs": []}
        answer = {**super()._call(method, payload), **changes}
        return {key: value for key, value in answer.items() if key not in ("predicted_cost", "planned_goal_distance")}


def test_a_policy_predicts_no_cost() -> None:
    reply = Controller(PolicyPlanner(), model="m", goal=GOAL).plan(image(0))
    assert (reply.status, reply.predicted_cost, reply.planned_goal_distance) == ("POLICY", None, None)
    assert reply.cost_trace == () and reply.goal_distance == 1.0


def test_a_null_of_json_is_no_cost_either() -> None:
    class Null(PolicyPlanner):
        def _call(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
            return {**super()._call(method, payload), "predicted_cost": None, "planned_goal_distance": None}

    assert Controller(Null(), model="m", goal=GOAL).plan(image(0)).predicted_cost is None


def test_a_policy_drives_a_robot_that_moves_on() -> None:
    planner: Planner = PolicyPlanner()
    with ControlLoop(planner, model="m", goal=GOAL, hold=np.zeros(2)) as loop:
        assert not loop.act(image(0)).any()
