"""What a robot executes while plans come and go: checked action by action, with plans that come when the test says."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from telos import ControlLoop, TelosError
from tests.telos.test_controller import GOAL, ScriptedPlanner, image

HOLD = np.array([0.5, 0.5])
SOON = 5.0


class TimedPlanner(ScriptedPlanner):
    """Holds every answer back until it is let go. The n-th plan's free actions are n / 100."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Semaphore(0)
        self.asking = threading.Semaphore(0)
        self.changes: dict[str, Any] = {}
        """Merged into the chunk of the next answer."""
        self.failure: TelosError | None = None

    def _call(self, method: Any, payload: dict[str, Any]) -> dict[str, Any]:
        answer = dict(super()._call(method, payload))
        self.asking.release()
        assert self.free.acquire(timeout=SOON)
        if self.failure is not None:
            raise self.failure
        actions = np.full((10, 2), len(self.asked) / 100)
        committed = payload.get("committed_actions")
        if committed is not None:
            actions[: len(committed)] = committed
        answer["chunk"] = answer["chunk"] | {"actions": actions.tolist()} | self.changes
        return answer


class SteppedRobot:
    """Acts step by step at 10 ms of its own time, and can wait for an answer to arrive between two steps."""

    def __init__(self, planner: TimedPlanner, **options: Any) -> None:
        self.planner = planner
        self.now_s = 0.0
        self.loop = ControlLoop(planner, model="m", goal=GOAL, clock=lambda: self.now_s, **options)

    def act(self, steps: int = 1) -> list[float]:
        """First value of each action."""
        done = []
        for _ in range(steps):
            done.append(round(float(self.loop.act(image(self.loop.step))[0]), 6))
            self.now_s += 0.01
        return done

    def asked(self, number: int) -> list[dict[str, Any]]:
        """Every request, once there are so many."""
        while len(self.planner.asked) < number:
            assert self.planner.asking.acquire(timeout=SOON)
        return self.planner.asked

    def answer_arrives(self) -> None:
        asked = self.loop._asked
        assert asked is not None
        self.planner.free.release()
        asked.answer.exception(timeout=SOON)


@pytest.fixture
def planner() -> TimedPlanner:
    return TimedPlanner()


@pytest.fixture
def holding(planner: TimedPlanner) -> Iterator[SteppedRobot]:
    robot = SteppedRobot(planner, hold=HOLD, inference_delay_steps=4)
    yield robot
    planner.free.release()
    robot.loop.close()


@pytest.fixture
def stopping(planner: TimedPlanner) -> Iterator[SteppedRobot]:
    """Without a hold action; its first plan is there at once."""
    robot = SteppedRobot(planner, inference_delay_steps=2)
    planner.free.release()
    yield robot
    planner.free.release()
    robot.loop.close()


def test_it_holds_until_there_is_a_plan_and_splices_it_where_it_continues(holding: SteppedRobot) -> None:
    assert holding.act(2) == [0.5, 0.5]
    holding.answer_arrives()
    # committed: 4 steps of holding; the plan says so itself, and goes on from there
    assert holding.act(4) == [0.5, 0.5, 0.01, 0.01]
    asked = holding.asked(2)
    assert [request["context"][-1]["step"] for request in asked] == [0, 2]
    np.testing.assert_array_equal(asked[1]["committed_actions"], [[0.5, 0.5]] * 2 + [[0.01, 0.01]] * 2)


def test_it_stops_where_the_plan_ends_and_never_before(holding: SteppedRobot) -> None:
    holding.act(1)
    holding.answer_arrives()
    assert holding.act(9) == [0.5] * 3 + [0.01] * 6
    assert holding.act(3) == [0.5] * 3
    holding.answer_arrives()  # of a plan for step 2, which came 10 steps later
    assert holding.act(1) == [0.5]
    assert holding.loop.last_error is not None and holding.loop.last_error.code == "late-plan"


def test_a_plan_is_valid_for_a_time_too(holding: SteppedRobot) -> None:
    holding.act(1)
    holding.answer_arrives()
    assert holding.act(4)[-1] == 0.01
    holding.now_s += 0.1  # whoever calls was held up
    assert holding.act(1) == [0.5]


def test_a_plan_that_is_late_waits_for_the_next(holding: SteppedRobot) -> None:
    holding.act(5)  # 4 were committed
    holding.answer_arrives()
    assert holding.act(1) == [0.5] and holding.loop.plan is None
    holding.act(1)
    holding.answer_arrives()
    holding.act(5)
    assert holding.loop.plan is not None and holding.loop.last_error is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"first_step": 2}, "stale-reply"),
        ({"actions": [[0.9, 0.9]] * 10}, "stale-reply"),
        ({"actions": [[0.5, 0.5]] * 3}, "stale-reply"),
        ({"actions": [[0.5, float("nan")]] * 10}, "unusable-plan"),
        ({"actions": [[0.5, 1.1]] * 10}, "unusable-plan"),
        ({"actions": [[0.5]] * 10}, "unusable-plan"),
        ({"action_names": ["y", "x"]}, "unusable-plan"),
        ({"dt_ms": 20.0}, "unusable-plan"),
        ({"valid_for_ms": 0.0}, "unusable-plan"),
        ({"actions": "none"}, "unreadable-reply"),
    ],
)
def test_what_must_not_be_executed_is_not(holding: SteppedRobot, changes: dict[str, Any], code: str) -> None:
    holding.planner.changes = changes
    holding.act(1)
    holding.answer_arrives()
    assert holding.act(8) == [0.5] * 8
    assert holding.loop.last_error is not None and holding.loop.last_error.code == code


def test_a_refusal_is_kept_and_the_next_plan_forgets_it(holding: SteppedRobot) -> None:
    holding.planner.failure = TelosError("queue-full", "busy")
    holding.act(1)
    holding.answer_arrives()
    holding.act(2)
    assert holding.loop.last_error is holding.planner.failure
    holding.planner.failure = None
    holding.answer_arrives()
    holding.act(1)
    assert holding.loop.last_error is None and holding.loop.plan is not None


def test_without_a_hold_action_it_waits_for_the_first_plan_only(stopping: SteppedRobot) -> None:
    assert stopping.act(10) == [0.01] * 10
    with pytest.raises(TelosError, match="plan-expired: there is no valid plan at step 10"):
        stopping.act()
    assert stopping.loop.step == 10
    stopping.answer_arrives()
    with pytest.raises(TelosError, match="plan-expired"):
        stopping.act()  # a plan that comes now must not set a robot in motion that was stopped
    stopping.loop.restart()
    stopping.planner.free.release()
    assert stopping.act() == [0.03]


def test_a_first_plan_that_fails_moves_nothing(planner: TimedPlanner) -> None:
    robot = SteppedRobot(planner)
    planner.failure = TelosError("unauthenticated", "send the token")
    planner.free.release()
    with pytest.raises(TelosError, match="unauthenticated"):
        robot.act()
    assert robot.loop.step == 0
    robot.loop.close()


def test_the_delay_follows_the_slowest_of_the_last_plans(planner: TimedPlanner) -> None:
    robot = SteppedRobot(planner, hold=HOLD)
    assert robot.loop.inference_delay_steps == 0  # the model's whole horizon is one model step
    robot.loop.model = robot.loop.model.__class__(**vars(robot.loop.model) | {"horizon": 5})
    assert robot.loop.inference_delay_steps == 3
    robot.act(4)
    robot.answer_arrives()
    robot.act(1)
    assert robot.loop.inference_delay_steps == 5
    robot.act(20)
    robot.answer_arrives()
    robot.act(1)
    assert robot.loop.inference_delay_steps == 8
    planner.free.release()
    robot.loop.close()


def test_uncommitted_plans_take_over_in_mid_course(planner: TimedPlanner) -> None:
    robot = SteppedRobot(planner, hold=HOLD, commit=False)
    robot.act(5)
    robot.answer_arrives()
    assert robot.act(6) == [0.01] * 5 + [0.5]
    assert "committed_actions" not in robot.asked(1)[0]
    planner.free.release()
    robot.loop.close()


def test_steps_without_an_image_go_on_with_the_plan(planner: TimedPlanner) -> None:
    robot = SteppedRobot(planner)
    planner.free.release()
    robot.act(1)
    for _ in range(9):
        robot.loop.act(None)
    assert len(planner.asked) == 1
    robot.loop.close()


def test_a_camera_may_draw_into_the_same_array(stopping: SteppedRobot) -> None:
    picture = image(0)
    stopping.loop.act(picture)
    (frame,) = stopping.loop._history.frames
    picture[:] = 9
    assert not frame.images["top"].any()


@pytest.mark.parametrize("hold", [np.zeros(3), np.array([0.0, np.nan]), np.array([0.0, 1.5])])
def test_a_hold_action_that_is_none(planner: TimedPlanner, hold: np.ndarray) -> None:
    with pytest.raises(ValueError, match="wanted one value for each of"):
        ControlLoop(planner, model="m", goal=GOAL, hold=hold)
