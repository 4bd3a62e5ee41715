"""Recorded plans asked again: of the server that made them, and of one that does not plan the same any more."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from server.recording.replay import Comparison, ReplayConnection, exactly, replay
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message
from tests.server.live import Live, plan_payload

Plans = list[tuple[pb.PlanRequest, pb.PlanResponse]]


@pytest.fixture
def ask(live: Live) -> Iterator[Callable[[pb.PlanRequest], pb.PlanResponse]]:
    with ReplayConnection(f"127.0.0.1:{live.running.grpc_port}") as connection:
        yield connection.ask


def plans_of(ask: Callable[[pb.PlanRequest], pb.PlanResponse], *payloads: dict[str, Any]) -> Plans:
    requests = [to_message(pb.PlanRequest, payload) for payload in payloads]
    return [(request, ask(request)) for request in requests]


def in_session(name: str, step: int, **changes: Any) -> dict[str, Any]:
    payload = plan_payload(session_id=name, **changes)
    payload["context"] = [frame | {"step": step + 5 * index} for index, frame in enumerate(payload["context"])]
    return payload


def cut_short(request: pb.PlanRequest, reply: pb.PlanResponse) -> None:
    """As if the plan had been asked to do more, and its time had been up."""
    for planner in (request.planner, reply.provenance.effective_planner):
        planner.max_iterations = 50
    request.planning_budget_ms = 1
    reply.status = pb.PlanResponse.BUDGET_EXHAUSTED


def verdicts(comparisons: list[Comparison]) -> list[str]:
    return [comparison.verdict for comparison in comparisons]


def test_the_same_server_plans_the_same(ask: Callable[[pb.PlanRequest], pb.PlanResponse]) -> None:
    """With a drawn seed, a preset by name, a search that was cut short, and a session's warm starts among them."""
    plans = plans_of(
        ask,
        plan_payload(planner={"preset": "fast"}),
        plan_payload(planner={"preset": "fast", "max_iterations": 2}),
        in_session("robot", 10),
        in_session("robot", 15),
        in_session("robot", 20, planner={"preset": "fast"}),
    )
    cut_short(*plans[1])
    assert [reply.warm_started for _, reply in plans] == [False, False, False, True, True]
    again = list(replay(plans, ask))
    assert verdicts(again) == ["same"] * 5
    assert max(comparison.difference or 0.0 for comparison in again) < 1e-6


def test_a_robot_at_work_is_left_alone(ask: Callable[[pb.PlanRequest], pb.PlanResponse]) -> None:
    plans = plans_of(ask, in_session("busy", 10))
    list(replay(plans, ask))
    (carried_on,) = plans_of(ask, in_session("busy", 15))
    assert carried_on[1].warm_started
    reference = plans_of(ask, in_session("quiet", 10), in_session("quiet", 15))[1]
    assert carried_on[1].chunk == reference[1].chunk


def test_what_began_before_the_recording_cannot_be_compared(ask: Callable[[pb.PlanRequest], pb.PlanResponse]) -> None:
    plans = plans_of(ask, in_session("early", 10), in_session("early", 15), in_session("early", 20, warm_start=False))
    again = list(replay(plans[1:], ask))
    assert verdicts(again) == ["not comparable", "same"]
    assert "not replayed" in again[0].detail


def test_a_policys_plan_is_asked_for_without_iterations(ask: Callable[[pb.PlanRequest], pb.PlanResponse]) -> None:
    (request, reply), *_ = plans_of(ask, plan_payload())
    reply.status, reply.iterations_completed = pb.PlanResponse.POLICY, 0
    reply.provenance.effective_planner.ClearField("max_iterations")
    assert not exactly(request, reply, None).planner.HasField("max_iterations")


def test_another_plan_differs(ask: Callable[[pb.PlanRequest], pb.PlanResponse]) -> None:
    (request, reply), other = plans_of(ask, plan_payload(), plan_payload(planner={"preset": "fast", "seed": 8}))
    reply.chunk.CopyFrom(other[1].chunk)
    (comparison,) = replay([(request, reply)], ask)
    assert comparison.verdict == "differs" and (comparison.difference or 0.0) > 1e-3
    reply.chunk.actions.CopyFrom(pb.Tensor(datatype="FP64", shape=[0, 2]))
    (comparison,) = replay([(request, reply)], ask)
    assert comparison.verdict == "differs" and "[0, 2]" in comparison.detail


def test_other_weights_are_said_to_be_other_weights(ask: Callable[[pb.PlanRequest], pb.PlanResponse]) -> None:
    ((request, reply),) = plans_of(ask, plan_payload())
    reply.provenance.weights_sha256 = "0" * 64
    (comparison,) = replay([(request, reply)], ask)
    assert comparison.verdict == "refused" and "model-mismatch" in comparison.detail
