"""What is particular to gRPC: health, reflection, tokens, cancelled calls."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from server.errors import ServiceError
from server.process import no_collections
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message
from telos.wire.telos_pb2_grpc import PlannerStub
from tests.server.live import MODEL, Live, plan_payload, serving, settings_for
from tests.server.test_plans import HEAVY


@pytest.fixture
def channel(live: Live) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{live.running.grpc_port}") as channel:
        yield channel


@pytest.mark.parametrize("name", ["", "telos.v1.Planner"])
def test_health_says_serving(channel: grpc.Channel, name: str) -> None:
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_planner(channel: grpc.Channel) -> None:
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([question]), timeout=10)
    (answer,) = list(answers)
    assert "telos.v1.Planner" in {service.name for service in answer.list_services_response.service}


def test_models_are_listed(channel: grpc.Channel) -> None:
    (model,) = PlannerStub(channel).ListModels(pb.ListModelsRequest(), timeout=10).models
    assert (model.name, model.ready, [each.name for each in model.sensors]) == (MODEL, True, ["top"])


def test_a_generated_stub_is_client_enough(channel: grpc.Channel) -> None:
    response = PlannerStub(channel).Plan(to_message(pb.PlanRequest, plan_payload()), timeout=10)
    assert response.status == pb.PlanResponse.MAX_ITERATIONS
    assert list(response.chunk.actions.shape) == [25, 2]
    assert not response.HasField("session_id")


def test_a_cancelled_call_stops_its_plan(live: Live, channel: grpc.Channel) -> None:
    call = PlannerStub(channel).Plan.future(to_message(pb.PlanRequest, plan_payload(planner=HEAVY)), timeout=60)
    live.wait_until_busy()
    call.cancel()
    started = time.monotonic()
    assert live.grpc("plan", plan_payload()).code == ""
    assert time.monotonic() - started < 4


def test_a_refused_call_is_forgotten(channel: grpc.Channel) -> None:
    """Rings of exception, frame and call would be megabytes before Python looks for them."""
    plan = channel.unary_unary("/telos.v1.Planner/Plan")
    gc.collect()
    before = refusals()
    with no_collections():
        for _ in range(20):
            with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
                plan(b"{", timeout=10)
        time.sleep(0.1)  # the last handler ends after its answer
        kept = refusals()
    assert [each for each in kept if not any(each is other for other in before)] == []


def refusals() -> list[Exception]:
    """Exceptions of refused calls that are still in memory, whoever keeps them."""
    return [each for each in gc.get_objects() if issubclass(type(each), ServiceError | grpc.aio.AbortError)]


def test_a_full_server_says_so_with_a_rich_error(checkpoints: Path) -> None:
    with serving(settings_for(checkpoints, max_in_flight=1)) as live:
        with grpc.insecure_channel(f"127.0.0.1:{live.running.grpc_port}") as channel:
            busy = PlannerStub(channel).Plan.future(
                to_message(pb.PlanRequest, plan_payload(planner=HEAVY, planning_budget_ms=1500)), timeout=30
            )
            live.wait_until_busy()
            answer = live.grpc("plan", plan_payload())
            assert (answer.code, answer.status, answer.retryable) == ("queue-full", "RESOURCE_EXHAUSTED", True)
            assert "RetryInfo" in answer.text
            assert busy.result().chunk.action_names == ["x", "y"]


@pytest.fixture(scope="module")
def guarded(checkpoints: Path) -> Iterator[Live]:
    with serving(settings_for(checkpoints, token="secret")) as running:
        yield running


@pytest.mark.parametrize("metadata", [(), (("authorization", "secret"),), (("authorization", "Bearer wrong"),)])
@pytest.mark.parametrize("method", ["plan", "anomaly", "encode"])
def test_every_method_wants_the_token(guarded: Live, method: str, metadata: tuple[tuple[str, str], ...]) -> None:
    answer = guarded.grpc_bytes(method, b"", metadata)
    assert (answer.code, answer.status) == ("unauthenticated", "UNAUTHENTICATED")


def test_the_token_opens_and_health_needs_none(guarded: Live) -> None:
    assert guarded.grpc_bytes("plan", b"", (("authorization", "Bearer secret"),)).code == "validation-failed"
    with grpc.insecure_channel(f"127.0.0.1:{guarded.running.grpc_port}") as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        question = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
            list(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(question, timeout=10))
