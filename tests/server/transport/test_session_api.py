"""Sessions, replays, deadlines and the server's clock: the same over HTTP and gRPC."""

import json
import time
from typing import Any

import grpc
import numpy as np
import pytest

from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message, to_payload
from tests.server.live import Answer, Live, actions_of, http_answer, plan_payload, to_json

METHODS: dict[str, tuple[Any, Any]] = {
    "CreateSession": (pb.CreateSessionRequest, pb.Session),
    "GetSession": (pb.SessionRef, pb.Session),
    "ResetSession": (pb.SessionRef, pb.Session),
    "DeleteSession": (pb.SessionRef, pb.DeleteSessionResponse),
    "GetServerTime": (pb.ServerTimeRequest, pb.ServerTime),
}
HEAVY = {"preset": "fast", "num_samples": 4096, "num_elites": 4000, "max_iterations": 90, "seed": 1}


def over_http(live: Live, name: str, payload: dict[str, Any]) -> Answer:
    session = f"/v1/sessions/{payload.get('session_id')}"
    verb, path, body = {
        "CreateSession": ("POST", "/v1/sessions", json.dumps(payload)),
        "GetSession": ("GET", session, None),
        "ResetSession": ("POST", f"{session}/reset", None),
        "DeleteSession": ("DELETE", session, None),
        "GetServerTime": ("GET", "/v1/time", None),
    }[name]
    status, _, data = live.http(verb, path, body, {"Content-Type": "application/json"} if body else None)
    return Answer("", json.loads(data), status) if status == 201 else http_answer(status, data)


def over_grpc(live: Live, name: str, payload: dict[str, Any]) -> Answer:
    asked, answered = METHODS[name]
    return live.grpc_call(name, to_message(asked, payload).SerializeToString(), answered)


ASK = {"http": over_http, "grpc": over_grpc}
transports = pytest.mark.parametrize("transport", ASK)


def plan(live: Live, transport: str, **changes: Any) -> Answer:
    return (live.json if transport == "http" else live.grpc)("plan", plan_payload(**changes))


@transports
def test_a_session_from_its_creation_to_its_end(live: Live, transport: str) -> None:
    ask, name = ASK[transport], f"life-{transport}"
    made = ask(live, "CreateSession", {"session_id": name, "hold_on_surprise": False})
    assert made.code == "" and made.status in (201, "OK")
    assert (made.body["session_id"], made.body.get("committed_step"), made.body["active_goal"]) == (name, None, 0)
    assert 0 < made.body["expires_in_ms"] <= 60_000
    assert ask(live, "CreateSession", {"session_id": name}).code == "session-exists"
    reply = plan(live, transport, session_id=name, session_epoch=made.body["epoch"]).body
    assert reply["session_epoch"] == made.body["epoch"]
    assert ask(live, "GetSession", {"session_id": name}).body["committed_step"] == 15
    reset = ask(live, "ResetSession", {"session_id": name}).body
    assert reset["epoch"] > made.body["epoch"] and reset.get("committed_step") is None
    stale = plan(live, transport, session_id=name, session_epoch=made.body["epoch"])
    assert (stale.code, stale.pointers) == ("epoch-stale", ("/session_epoch",))
    assert stale.status in (409, "ABORTED")
    assert ask(live, "DeleteSession", {"session_id": name}).code == ""
    for gone in ("GetSession", "ResetSession", "DeleteSession"):
        assert ask(live, gone, {"session_id": name}).code == "session-not-found"


@transports
def test_a_session_without_a_name_gets_one(live: Live, transport: str) -> None:
    one, other = (ASK[transport](live, "CreateSession", {}).body["session_id"] for _ in range(2))
    assert one and one != other


@transports
@pytest.mark.parametrize("name", ["", "a b", "x" * 65])
def test_a_name_that_is_none_is_refused(live: Live, transport: str, name: str) -> None:
    answer = ASK[transport](live, "CreateSession", {"session_id": name})
    assert (answer.code, answer.pointers) == ("validation-failed", ("/session_id",))


@transports
def test_an_epoch_without_a_session_is_refused(live: Live, transport: str) -> None:
    answer = plan(live, transport, session_epoch=1)
    assert (answer.code, answer.pointers) == ("validation-failed", ("/session_epoch",))


@transports
def test_the_clock_runs_and_ages_are_measured_by_it(live: Live, transport: str) -> None:
    robot_sent = round(time.monotonic() * 1e6) + 10**9  # a robot whose clock is far ahead
    told = ASK[transport](live, "GetServerTime", {}).body
    robot_received = round(time.monotonic() * 1e6) + 10**9
    offset = (told["received_us"] - robot_sent + told["sent_us"] - robot_received) // 2
    frame = plan_payload()["context"][1] | {"capture_time_us": robot_received}
    given = {
        "context": [frame],
        "action_history": [],
        "clock_offset": {"clock_id": told["clock_id"], "offset_us": offset},
    }
    fresh = plan(live, transport, **given, max_observation_age_ms=30_000)
    assert fresh.code == "" and fresh.body["capture_time_us"] == robot_received
    time.sleep(0.05)
    stale = plan(live, transport, **given, max_observation_age_ms=1)
    assert (stale.code, stale.pointers) == ("observation-stale", ("/context/0/capture_time_us",))
    assert stale.status in (422, "FAILED_PRECONDITION")


def test_http_requests_have_a_deadline_and_a_key_in_their_headers(live: Live) -> None:
    def post(payload: dict[str, Any], **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return live.post("/v1/plan", json.dumps(payload, default=to_json), **named)

    cut = post(plan_payload(planner=HEAVY), Request_Timeout_Ms="1000")
    assert cut.body["status"] == "BUDGET_EXHAUSTED" and cut.body["timing"]["total_us"] < 1_200_000
    for wrong in ("0", "-1", "1.5", "soon", "9" * 12):
        assert post(plan_payload(), Request_Timeout_Ms=wrong).code == "validation-failed"
    drawn = plan_payload(planner={"preset": "fast"})
    one, again = (post(drawn, Idempotency_Key="http-key") for _ in range(2))
    np.testing.assert_array_equal(actions_of(one.body), actions_of(again.body))
    conflict = post(plan_payload(), Idempotency_Key="http-key")
    assert (conflict.code, conflict.status) == ("idempotency-conflict", 422)
    assert post(plan_payload(), Idempotency_Key="k" * 257).code == "validation-failed"


@pytest.mark.alone
def test_grpc_requests_have_a_deadline_and_a_key_in_their_metadata(live: Live) -> None:
    data = to_message(pb.PlanRequest, plan_payload(planner=HEAVY)).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{live.running.grpc_port}") as channel:
        answer = channel.unary_unary("/telos.v1.Planner/Plan")(data, timeout=1.0)
    cut = to_payload(pb.PlanResponse.FromString(answer))
    assert cut["status"] == "BUDGET_EXHAUSTED" and cut["timing"]["total_us"] < 1_000_000
    data = to_message(pb.PlanRequest, plan_payload(planner={"preset": "fast"})).SerializeToString()
    key = (("idempotency-key", "grpc-key"),)
    one, again = (live.grpc_bytes("plan", data, key) for _ in range(2))
    np.testing.assert_array_equal(actions_of(one.body), actions_of(again.body))
    other = to_message(pb.PlanRequest, plan_payload()).SerializeToString()
    assert live.grpc_bytes("plan", other, key).code == "idempotency-conflict"
