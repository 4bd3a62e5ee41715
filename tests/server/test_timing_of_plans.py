"""When a plan begins, how it follows from what runs already, and when there is none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server import schemas
from server.engine.preparation import prepare
from server.engine.registry import ServedModel
from server.errors import Code, ServiceError
from server.validation import validate
from tests.server.live import Live, actions_of, ask, plan_payload, settings_for
from tests.tiny import write_tiny_checkpoint
from worldmodel.checkpoint import load_checkpoint

RUNNING = np.array([[0.5, -0.5], [0.7, -1.0], [1.0, -0.25]])
WIDE = {"min": [-1.0, -1.0], "max": [1.0, 1.0]}


def plan(live: Live, transport: str = "json", **changes: Any) -> dict[str, Any]:
    answer = ask(live, transport)("plan", plan_payload(**changes))
    assert answer.code == "", answer
    return answer.body


@pytest.mark.parametrize("transport", ["json", "multipart", "grpc"])
def test_a_chunk_begins_when_the_robot_will_have_run_what_it_runs_meanwhile(live: Live, transport: str) -> None:
    whole = plan(live, committed_actions=RUNNING)
    body = plan(live, transport, committed_actions=RUNNING, inference_delay_steps=2)
    assert (whole["chunk"]["first_step"], body["chunk"]["first_step"]) == (15, 17)
    np.testing.assert_array_equal(actions_of(body), actions_of(whole)[2:])
    assert body["chunk"]["valid_for_ms"] == pytest.approx(2300)
    np.testing.assert_allclose(body["safety"]["start_jump"], np.abs(RUNNING[2] - RUNNING[1]), atol=1e-6)


def test_the_jump_to_a_plan_is_that_from_the_last_executed_action(live: Live) -> None:
    body = plan(live)
    np.testing.assert_allclose(body["safety"]["start_jump"], np.abs(actions_of(body)[0] - 0.25))
    unknown = plan(live, context=plan_payload()["context"][1:], action_history=[])
    assert unknown["safety"]["start_jump"] == []


@pytest.mark.parametrize("committed", [None, RUNNING])
def test_a_plan_begins_as_gently_as_it_is_asked_to(live: Live, committed: np.ndarray | None) -> None:
    delay = {} if committed is None else {"committed_actions": committed, "inference_delay_steps": len(committed)}
    free, gentle = (plan(live, limits=WIDE | limit, **delay) for limit in ({}, {"max_start_jump": [0.01, 0.02]}))
    assert (np.asarray(gentle["safety"]["start_jump"]) <= [0.01 + 1e-6, 0.02 + 1e-6]).all()
    assert max(free["safety"]["start_jump"]) > 0.1
    assert max(gentle["safety"]["max_step_delta"]) > 0.1, "only the first change is held"


@pytest.mark.parametrize("transport", ["json", "grpc"])
def test_too_few_iterations_are_no_answer(live: Live, transport: str) -> None:
    heavy = {"preset": "fast", "num_samples": 4096, "num_elites": 4000, "max_iterations": 90, "seed": 1}
    some = plan(live, transport, planner=heavy | {"min_iterations": 2}, planning_budget_ms=2500)
    assert 2 <= some["iterations_completed"] < 90 and some["provenance"]["effective_planner"]["min_iterations"] == 2
    for changes in ({"planner": heavy | {"min_iterations": 80}}, {"planner": heavy, "require_complete": True}):
        answer = ask(live, transport)("plan", plan_payload(planning_budget_ms=800, **changes))
        assert answer.code == "deadline-infeasible"


def test_a_complete_plan_is_given_when_there_is_time(live: Live) -> None:
    body = plan(live, require_complete=True, planning_budget_ms=30_000)
    assert body["status"] in ("CONVERGED", "MAX_ITERATIONS")
    np.testing.assert_array_equal(actions_of(body), actions_of(plan(live)))


@pytest.mark.parametrize(("transport", "status"), [("json", 409), ("grpc", "FAILED_PRECONDITION")])
def test_there_is_no_plan_after_a_surprise(live: Live, transport: str, status: int | str) -> None:
    """The tiny model's threshold is 0.5; noise after noise is beyond it."""
    surprise = plan(live)["surprise"]
    assert surprise > 0.5
    answer = ask(live, transport)("plan", plan_payload(hold_on_surprise=True))
    assert (answer.code, answer.status, answer.retryable) == ("surprise-hold", status, False)


def test_one_frame_surprises_nobody(live: Live) -> None:
    one = plan_payload(context=plan_payload()["context"][1:], action_history=[], hold_on_surprise=True)
    assert plan(live, **one)["surprise"] is None


def test_a_model_that_was_not_calibrated_cannot_hold(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(write_tiny_checkpoint(tmp_path, calibration=None))
    settings = settings_for(tmp_path)
    request = validate(schemas.PlanRequest, plan_payload(hold_on_surprise=True))
    with pytest.raises(ServiceError) as caught:
        prepare(ServedModel(checkpoint, settings), request, settings)
    assert caught.value.code is Code.VALIDATION_FAILED
    assert caught.value.errors[0].pointer == "/hold_on_surprise"
