"""What a controller remembers between plans: checked on the requests that it makes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from telos import Controller, Planner, PlannerConfig, PlanOptions, TelosError
from telos.planner import Method
from tests.telos.test_client import MODEL

MODEL_OF_THREE_FRAMES = MODEL | {
    "context_frames": 3,
    "action": {
        **{"names": ["x", "y"], "units": ["m", "m"], "low": [0.0, 0.0], "high": [1.0, 1.0]},
        **{"dt_ms": 10.0, "control_steps": 2},
    },
}
GOAL = np.full((16, 16, 3), 200, np.uint8)


class ScriptedPlanner(Planner):
    """Answers every plan with zeros, and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__("png")
        self.asked: list[dict[str, Any]] = []
        self.delay_steps = 0

    def ready(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def _list_models(self) -> Sequence[Mapping[str, Any]]:
        return [MODEL_OF_THREE_FRAMES]

    def _call(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        self.asked.append(payload)
        last_step = payload["context"][-1]["step"]
        provenance = dict.fromkeys(("model_name", "model_version", "weights_sha256", "manifest_sha256"), "")
        provenance |= dict.fromkeys(("server_version", "device", "dtype"), "")
        return {
            "request_id": payload["request_id"],
            "session_id": payload.get("session_id"),
            "status": "CONVERGED",
            "chunk": {
                **{"actions": [[0.0, 0.0]] * 10, "action_names": ["x", "y"], "action_units": ["m", "m"]},
                **{
                    "dt_ms": 10.0,
                    "control_steps": 2,
                    "first_step": last_step - self.delay_steps,
                    "valid_for_ms": 100.0,
                },
            },
            **{"predicted_cost": 0.0, "goal_distance": 1.0, "planned_goal_distance": 0.0, "warm_started": False},
            "timing": dict.fromkeys(("decode_us", "queue_us", "encode_us", "plan_us", "total_us"), 0),
            "safety": {"saturated_fraction": 0.0, "max_step_delta": [0.0, 0.0], "within_limits": True},
            "provenance": provenance | {"effective_planner": {"preset": "fast", "seed": 1}},
        }

    @property
    def steps(self) -> list[int]:
        return [frame["step"] for frame in self.asked[-1]["context"]]

    @property
    def history(self) -> list[list[list[float]]]:
        return [block.tolist() for block in self.asked[-1]["action_history"]]


@pytest.fixture
def planner() -> ScriptedPlanner:
    return ScriptedPlanner()


@pytest.fixture
def controller(planner: ScriptedPlanner) -> Controller:
    return Controller(planner, model="m", goal=GOAL)


def image(value: int) -> np.ndarray:
    return np.full((16, 16, 3), value, np.uint8)


def test_frames_and_actions_pile_up_to_what_the_model_takes(controller: Controller, planner: ScriptedPlanner) -> None:
    for k in range(5):
        reply = controller.plan(image(k))
        assert reply.first_step == 2 * k
        controller.executed(np.full((2, 2), k / 10))
    assert planner.steps == [4, 6, 8]
    assert planner.history == [[[0.2, 0.2]] * 2, [[0.3, 0.3]] * 2]


def test_actions_may_be_reported_one_by_one(controller: Controller, planner: ScriptedPlanner) -> None:
    controller.plan(image(0))
    for value in (0.1, 0.2):
        controller.executed(np.array([[value, value]]))
    controller.plan(image(1))
    assert planner.steps == [0, 2] and planner.history == [[[0.1, 0.1], [0.2, 0.2]]]


def test_planning_again_without_acting_replaces_the_last_frame(
    controller: Controller, planner: ScriptedPlanner
) -> None:
    controller.plan(image(0))
    controller.executed(np.zeros((2, 2)))
    for value in (1, 2):
        controller.plan(image(value))
    assert planner.steps == [0, 2] and len(planner.history) == 1


@pytest.mark.parametrize("executed", [1, 3, 4])
def test_frames_that_are_not_one_model_step_apart_are_no_context(
    controller: Controller, planner: ScriptedPlanner, executed: int
) -> None:
    controller.plan(image(0))
    controller.executed(np.zeros((executed, 2)))
    controller.plan(image(1))
    assert planner.steps == [executed] and planner.history == []


def test_frames_seen_between_plans_are_context(controller: Controller, planner: ScriptedPlanner) -> None:
    controller.plan(image(0))
    controller.executed(np.zeros((2, 2)))
    controller.observe(image(1))
    controller.executed(np.ones((2, 2)))
    controller.plan(image(2))
    assert planner.steps == [0, 2, 4] and len(planner.history) == 2


def test_after_a_restart_nothing_is_left_but_the_count(controller: Controller, planner: ScriptedPlanner) -> None:
    controller.plan(image(0))
    session = controller.session_id
    controller.executed(np.zeros((2, 2)))
    controller.restart()
    controller.plan(image(1))
    assert planner.steps == [2] and planner.history == []
    assert planner.asked[-1]["session_id"] == controller.session_id != session


def test_a_plan_for_another_step_is_discarded(controller: Controller, planner: ScriptedPlanner) -> None:
    planner.delay_steps = 2
    with pytest.raises(TelosError, match="stale-reply"):
        controller.plan(image(0))


@pytest.mark.parametrize("actions", [np.zeros(2), np.zeros((2, 3)), np.full((2, 2), np.nan)])
def test_actions_that_cannot_have_been_executed(controller: Controller, actions: np.ndarray) -> None:
    with pytest.raises(ValueError, match="wanted finite"):
        controller.executed(actions)
    assert controller.step == 0


def test_what_it_was_told_once_goes_into_every_plan(planner: ScriptedPlanner) -> None:
    options = PlanOptions(config=PlannerConfig(seed=3), planning_budget_ms=80)
    controller = Controller(planner, model="m", goal=GOAL, options=options)
    controller.plan(image(0))
    asked = planner.asked[-1]
    assert (asked["planner"], asked["planning_budget_ms"]) == ({"seed": 3}, 80)
    assert "limits" not in asked and "warm_start" not in asked
