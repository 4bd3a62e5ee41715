"""Streams as they cross the network: gRPC in both directions, HTTP as lines."""

import http.client
import json
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message, to_payload
from tests.server.live import (
    Answer,
    Live,
    actions_of,
    grpc_failure,
    picture,
    plan_payload,
    serving,
    settings_for,
    to_json,
)
from tests.waiting import wait_until

HEAVY = {"preset": "fast", "num_samples": 2048, "num_elites": 2000, "max_iterations": 90, "seed": 1}


class Stream:
    """A robot's end of PlanStream."""

    def __init__(self, live: Live, *options: tuple[str, int]) -> None:
        self._events: queue.Queue[bytes | None] = queue.Queue()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{live.running.grpc_port}", options)
        call = self._channel.stream_stream("/telos.v1.Planner/PlanStream")
        self.call = call(iter(self._events.get, None), timeout=60)

    def tell(self, **event: Any) -> None:
        self._events.put(to_message(pb.PlanStreamRequest, event).SerializeToString())

    def send(self, data: bytes) -> None:
        self._events.put(data)

    def end(self) -> None:
        self._events.put(None)

    def answers(self) -> Iterator[dict[str, Any]]:
        """Until the stream ends."""
        for data in self.call:
            yield to_payload(pb.PlanStreamResponse.FromString(data))

    def failure(self) -> Answer:
        with pytest.raises(grpc.RpcError) as caught:
            list(self.answers())
        return grpc_failure(caught.value)

    def close(self) -> None:
        self.end()
        self._channel.close()


@pytest.fixture
def stream(live: Live) -> Iterator[Stream]:
    made = Stream(live)
    yield made
    made.close()


def test_a_stream_plans_as_single_requests_do(live: Live, stream: Stream) -> None:
    stream.tell(open=plan_payload(request_id="first"), seq=1)
    answers = stream.answers()
    first = _final(answers)
    executed = np.full((5, 2), -0.5)
    frame = {"images": {"top": picture(6)}, "step": 20}
    stream.tell(observation={"observation": frame, "executed": executed, "request_id": "second"}, seq=2)
    stream.end()
    second = _final(answers)
    assert next(answers, None) is None
    assert [(each["seq"], each["final"]["request_id"]) for each in (first, second)] == [(1, "first"), (2, "second")]
    np.testing.assert_array_equal(actions_of(first["final"]), actions_of(live.grpc("plan", plan_payload()).body))
    whole = plan_payload(session_id="alike")
    live.grpc("plan", whole)
    again = live.grpc(
        "plan", whole | {"context": [*whole["context"], frame], "action_history": [*whole["action_history"], executed]}
    )
    assert again.code == "" and second["final"]["warm_started"]
    np.testing.assert_array_equal(actions_of(second["final"]), actions_of(again.body))


def test_incumbents_get_better_until_the_final_plan(live: Live, stream: Stream) -> None:
    stream.tell(open=plan_payload(planner=HEAVY, planning_budget_ms=3000))
    stream.end()
    answers = list(stream.answers())
    costs = [answer["incumbent"]["predicted_cost"] for answer in answers[:-1]]
    assert costs and costs == sorted(set(costs), reverse=True)
    assert answers[-1]["final"]["predicted_cost"] <= costs[-1]


def test_a_refused_plan_is_a_problem_and_the_stream_goes_on(stream: Stream) -> None:
    stream.tell(open=plan_payload(action_history=[]), seq=1)
    stream.tell(observation={"observation": {"images": {"top": picture(6)}, "step": 20}}, seq=2)
    stream.end()
    answers = [answer for answer in stream.answers() if "incumbent" not in answer]
    problem = answers[0]["problem"]
    assert (problem["code"], problem["status"]) == ("validation-failed", 422)
    assert problem["errors"][0]["pointer"] == "/action_history"
    assert "final" in answers[1]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xff\xff", "malformed-request"),
        (b"", "validation-failed"),
        (to_message(pb.PlanStreamRequest, {"progress": {"executed_step": 1}}).SerializeToString(), "validation-failed"),
        (b"\xf8\x01\x01", "validation-failed"),
    ],
    ids=["garbage", "nothing", "progress before open", "unknown field"],
)
def test_what_is_no_event_ends_the_stream(stream: Stream, data: bytes, code: str) -> None:
    stream.send(data)
    answer = stream.failure()
    assert (answer.code, answer.status) == (code, "INVALID_ARGUMENT")


def test_an_unknown_model_ends_the_stream(stream: Stream) -> None:
    stream.tell(open=plan_payload(model={"name": "nobody"}))
    assert stream.failure().code == "model-not-found"


def test_a_stream_that_says_nothing_and_ends_is_no_error(stream: Stream) -> None:
    stream.end()
    assert list(stream.answers()) == []


def test_whoever_does_not_read_a_stream_is_let_go(checkpoints: Path) -> None:
    """Long plans with latents fill what HTTP/2 lets be on its way unread; here that is little."""
    with serving(settings_for(checkpoints, send_timeout_s=0.5)) as live:
        stream = Stream(live, ("grpc.http2.lookahead_bytes", 65535), ("grpc.http2.bdp_probe", 0))
        planner = {"preset": "fast", "horizon": 64, "num_samples": 8, "max_iterations": 2, "seed": 1}
        stream.tell(open=plan_payload(planner=planner, include=["latents"]))
        next(stream.answers())
        frame = {"images": {"top": picture(6)}, "step": 20}
        until, service = time.monotonic() + 30, live.running.service
        while len(service.sessions) and time.monotonic() < until:  # it ends with the stream
            stream.tell(observation={"observation": frame})
            time.sleep(0.02)
        assert len(service.sessions) == 0 and service.in_flight == 0
        assert live.grpc("plan", plan_payload()).code == ""
        stream.close()


class TestLines:
    def post(self, live: Live, **changes: Any) -> tuple[int, dict[str, str], list[dict[str, Any]]]:
        body = json.dumps(plan_payload(**changes), default=to_json)
        status, headers, data = live.http("POST", "/v1/plan/stream", body, {"Content-Type": "application/json"})
        return status, headers, [json.loads(line) for line in data.splitlines()]

    def test_incumbents_come_as_lines_and_the_last_is_final(self, live: Live) -> None:
        status, headers, lines = self.post(live, planner=HEAVY, planning_budget_ms=3000)
        assert (status, headers["content-type"]) == (200, "application/x-ndjson")
        assert [list(line) for line in lines] == [["incumbent"]] * (len(lines) - 1) + [["final"]]
        costs = [next(iter(line.values()))["predicted_cost"] for line in lines]
        assert len(lines) > 1 and costs == sorted(costs, reverse=True)

    def test_the_final_line_is_the_plan(self, live: Live) -> None:
        _, _, lines = self.post(live)
        np.testing.assert_array_equal(
            actions_of(lines[-1]["final"]), actions_of(live.json("plan", plan_payload()).body)
        )

    def test_what_is_refused_at_once_is_a_problem_with_its_status(self, live: Live) -> None:
        status, headers, (problem,) = self.post(live, action_history=[])
        assert (status, headers["content-type"]) == (422, "application/problem+json")
        assert problem["code"] == "validation-failed"

    def test_what_goes_wrong_later_is_the_last_line(self, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        plan = live.running.service.engine.plan

        async def broken(*given: Any, **named: Any) -> Any:
            await plan(*given, **named)
            raise RuntimeError("secret")

        monkeypatch.setattr(live.running.service.engine, "plan", broken)
        status, _, lines = self.post(live)
        assert status == 200 and "incumbent" in lines[0]
        assert lines[-1]["problem"]["code"] == "internal" and "secret" not in json.dumps(lines)

    def test_a_client_that_goes_away_stops_the_plan(self, live: Live) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", live.running.http_port, timeout=30)
        body = json.dumps(plan_payload(planner=HEAVY), default=to_json)
        connection.request("POST", "/v1/plan/stream", body, {"Content-Type": "application/json"})
        assert connection.getresponse().readline()
        connection.close()
        wait_until(lambda: not live.running.service.in_flight, within_s=10)


def test_a_server_that_stops_tells_its_streams(checkpoints: Path) -> None:
    with serving(settings_for(checkpoints)) as live:
        stream = Stream(live)
        stream.tell(open=plan_payload())
        answers = stream.answers()
        _final(answers)
        stopping = threading.Thread(target=live.do, args=(live.running.stop(),))
        stopping.start()
        assert [next(iter(answer)) for answer in answers] == ["drain"]
        stopping.join(timeout=20)
        stream.close()


def _final(answers: Iterator[dict[str, Any]]) -> dict[str, Any]:
    return next(answer for answer in answers if "final" in answer)
