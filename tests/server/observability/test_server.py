"""A server that is asked over HTTP and gRPC: what it counts, what it logs, and what it keeps to itself."""

import base64
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.recording.mcap_file import read_plans
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message
from tests.server.live import MODEL, Answer, Live, ask, picture, plan_payload, serving, settings_for, to_json
from tests.waiting import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADER = f"00-{TRACE}-00f067aa0ba902b7-01"
TOKEN = "hunter-two"
PLAN_ENDPOINTS = {"json": "/v1/plan", "grpc": "/telos.v1.Planner/Plan"}


@pytest.fixture(scope="module")
def fresh(checkpoints: Path) -> Iterator[Live]:
    """A server of whose counts nobody else knows."""
    with serving(settings_for(checkpoints)) as live:
        yield live


def samples(live: Live) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    status, headers, data = live.http("GET", "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(data.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def count(live: Live, name: str, **labels: str) -> float:
    return samples(live).get((name, frozenset(labels.items())), 0.0)


def wait_for_count(live: Live, wanted: float, name: str, **labels: str) -> None:
    """A request is counted when it has ended, which may be a moment after its client has the answer."""
    until = time.monotonic() + 20
    while (now := count(live, name, **labels)) != wanted:
        assert time.monotonic() < until, f"{name} is {now}"
        time.sleep(0.02)


@pytest.mark.parametrize("transport", ["json", "grpc"])
def test_a_plan_is_counted_where_it_was_asked_and_by_what_it_took(fresh: Live, transport: str) -> None:
    before = samples(fresh)
    answer = ask(fresh, transport)("plan", plan_payload())
    assert not answer.code
    labels = {"endpoint": PLAN_ENDPOINTS[transport], "model": MODEL, "code": "ok"}
    requests = "telos_request_duration_seconds_count", frozenset(labels.items())
    wait_for_count(fresh, before.get(requests, 0.0) + 1, requests[0], **labels)
    added = {key: value - before.get(key, 0.0) for key, value in samples(fresh).items()}
    of_model = frozenset({("model", MODEL)})
    assert added["telos_plan_iterations_sum", of_model] == answer.body["iterations_completed"]
    assert added["telos_plan_status_total", of_model | {("status", answer.body["status"])}] == 1
    seconds = added["telos_plan_seconds_sum", of_model]
    assert seconds == pytest.approx(answer.body["timing"]["plan_us"] / 1e6, abs=1e-6)
    assert added["telos_surprise_count", of_model] == 1


def test_what_the_engine_does_is_counted_though_nobody_reads(fresh: Live) -> None:
    """Or a server without a Prometheus would keep each iteration of its engine."""
    metrics = fresh.running.service.observer.metrics.registry
    before = metrics.get_sample_value("telos_batch_size_sum", {"model": MODEL}) or 0.0
    iterations = fresh.json("plan", plan_payload()).body["iterations_completed"]
    wait_until(lambda: (metrics.get_sample_value("telos_batch_size_sum", {"model": MODEL}) or 0) - before >= iterations)


@pytest.mark.parametrize("transport", ["json", "grpc"])
def test_a_refusal_is_counted_by_its_code(fresh: Live, transport: str) -> None:
    labels = {"endpoint": PLAN_ENDPOINTS[transport], "model": MODEL, "code": "image-rejected"}
    before = count(fresh, "telos_request_duration_seconds_count", **labels)
    frame = {"images": {"top": {"encoded": b"GIF89a", "format": "png"}}}
    assert ask(fresh, transport)("plan", plan_payload(context=[frame], action_history=[])).code == "image-rejected"
    wait_for_count(fresh, before + 1, "telos_request_duration_seconds_count", **labels)


def flood(live: Live, index: int) -> Iterator[Answer]:
    """Everything in a request that a client can make up."""
    name = f"made-up-{index}"
    yield live.json("plan", plan_payload(model={"name": name}))
    yield live.grpc("plan", plan_payload(model={"name": name}))
    yield live.json("plan", plan_payload(request_id=name, session_id=name, planner={"preset": name}))
    yield live.grpc("plan", plan_payload(context=[{"images": {name: picture(1)}}], action_history=[]))
    yield live.post(f"/v1/{name}", b"{}")
    yield live.post("/v1/plan", b"{}", traceparent=name)
    yield live.grpc_bytes("plan", b"\xff", (("traceparent", name), (name, name)))
    live.http("GET", f"/v1/models/{name}")
    live.http("GET", f"/{name}?{name}={name}")
    live.http("PROPFIND", f"/{name}")


def test_no_flood_of_names_makes_the_metrics_grow(fresh: Live) -> None:
    for index in (-1, 0):
        assert all(answer.code for answer in flood(fresh, index))
    before = set(samples(fresh))
    for index in range(1, 20):
        assert all(answer.code for answer in flood(fresh, index))
    assert set(samples(fresh)) == before
    assert not any("made-up" in text for _, labels in before for _, text in labels)


def test_the_metrics_say_what_is_served(fresh: Live) -> None:
    (model,) = json.loads(fresh.http("GET", "/v1/models")[2])["models"]
    assert count(fresh, "telos_model_info", model=MODEL, version="1", sha256=model["weights_sha256"]) == 1
    assert count(fresh, "telos_ready") == 1
    assert count(fresh, "process_resident_memory_bytes") > 0
    assert count(fresh, "telos_event_loop_lag_seconds_count") > 0


def test_metrics_are_for_those_who_have_the_token(checkpoints: Path) -> None:
    with serving(settings_for(checkpoints, token=TOKEN)) as live:
        assert live.http("GET", "/metrics")[0] == 401
        assert live.grpc("plan", plan_payload()).code == "unauthenticated"
        until, refused = time.monotonic() + 20, b'telos_rejected_total{reason="unauthenticated"} 2.0'
        while refused not in live.http("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})[2]:
            assert time.monotonic() < until


def records(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.name == "telos.request"]


@pytest.mark.parametrize("transport", ["json", "grpc"])
def test_a_request_is_logged_once_with_its_trace(fresh: Live, transport: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "telos")
    payload = plan_payload(request_id="r-77")
    if transport == "json":
        answer = fresh.post("/v1/plan", json.dumps(payload, default=to_json), traceparent=HEADER)
    else:
        data = to_message(pb.PlanRequest, payload).SerializeToString()
        answer = fresh.grpc_bytes("plan", data, (("traceparent", HEADER),))
    assert not answer.code
    fresh.http("GET", "/healthz")  # the server's thread logs a request after it was answered, but before the next one
    (line,) = records(caplog)
    assert (line["endpoint"], line["code"], line["trace_id"]) == (PLAN_ENDPOINTS[transport], "ok", TRACE)
    assert (line["request_id"], line["model"]) == ("r-77", MODEL)
    assert line["duration_ms"] >= line["plan_ms"] > 0


def test_neither_token_nor_images_are_logged(checkpoints: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "telos")
    secret = {"Authorization": f"Bearer {TOKEN}"}
    with serving(settings_for(checkpoints, token=TOKEN)) as live:
        body = json.dumps(plan_payload(), default=to_json)
        assert not live.post("/v1/plan", body, **secret).code
        assert live.post("/v1/plan", body[:-10], **secret).code == "malformed-request"
        assert live.post("/v1/plan", body, Authorization=f"Bearer {TOKEN}x").code == "unauthenticated"
    said = "\n".join(repr(vars(record)) for record in caplog.records)
    assert "unauthenticated" in said
    assert TOKEN not in said
    assert base64.b64encode(picture(1)["encoded"])[40:80].decode() not in said


def test_plans_are_recorded_when_asked_for(checkpoints: Path, tmp_path: Path) -> None:
    with serving(settings_for(checkpoints, record=tmp_path)) as live:
        answers = [live.json("plan", plan_payload()), live.grpc("plan", plan_payload(session_id="robot"))]
        live.json("plan", plan_payload(planner={"preset": "no such"}))
        assert not any(answer.code for answer in answers)
    (file,) = tmp_path.iterdir()
    plans = list(read_plans(file))
    assert [reply.request_id for _, reply in plans] == [answer.body["request_id"] for answer in answers]
    assert plans[1][0].context[1].images["top"].encoded == picture(2)["encoded"]
    assert plans[1][1].chunk.actions.data == answers[1].body["chunk"]["actions"]["data"]


def test_what_never_becomes_a_request_is_counted_too(fresh: Live) -> None:
    before = count(fresh, "telos_rejected_total", reason="headers-too-large")
    assert fresh.http("GET", "/v1/models", headers={"X-Long": "x" * 2**17})[0] == 431
    wait_for_count(fresh, before + 1, "telos_rejected_total", reason="headers-too-large")
