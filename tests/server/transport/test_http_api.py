"""What is particular to HTTP: routes, status, headers, tokens, connections."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.live import MODEL, Live, actions_of, http_answer, plan_payload, serving, settings_for, to_json
from tests.server.test_plans import HEAVY


def get(live: Live, path: str, **headers: str) -> tuple[int, dict[str, object]]:
    status, _, data = live.http("GET", path, headers=headers)
    return status, json.loads(data)


def test_health_readiness_and_version(live: Live) -> None:
    assert get(live, "/healthz") == (200, {"alive": True})
    assert get(live, "/readyz") == (200, {"ready": True, "reasons": []})
    assert get(live, "/version") == (200, {"version": "0.1.0", "api": "v1"})


def test_models_say_what_they_take_and_give(live: Live) -> None:
    status, body = get(live, "/v1/models")
    assert status == 200
    assert body == {"models": [get(live, f"/v1/models/{MODEL}")[1]]}
    assert (body["models"][0]["device"], body["models"][0]["dtype"]) == ("cpu", "float32")
    (model,) = body["models"]  # type: ignore[misc]
    (sensor,) = model["sensors"]
    assert (sensor["name"], sensor["kind"], sensor["shape"]) == ("top", "camera", [32, 32, 3])
    assert (model["action"]["names"], model["latent_shape"]) == (["x", "y"], [1, 16])
    assert {preset["preset"] for preset in model["presets"]} == {"fast", "default", "thorough"}


@pytest.mark.parametrize("name", ["nobody", "x" * 200, "%00"])
def test_an_unknown_model_is_answered_with_the_known_ones(live: Live, name: str) -> None:
    status, _, data = live.http("GET", f"/v1/models/{name}")
    assert status in (404, 422)
    assert http_answer(status, data).code in ("model-not-found", "validation-failed")
    assert status == 422 or MODEL in data.decode()


@pytest.mark.parametrize(("verb", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/v1/plan", 405)])
def test_what_is_not_there_is_answered_in_the_same_form(live: Live, verb: str, path: str, status: int) -> None:
    given, headers, data = live.http(verb, path)
    assert given == status and headers["content-type"] == "application/problem+json"
    assert http_answer(given, data).code in ("not-found", "method-not-allowed")


def test_a_problem_carries_the_id_of_its_request(live: Live) -> None:
    status, headers, data = live.http(
        "POST", "/v1/plan", '{"request_id": "mine", "nonsense": 1}', {"Content-Type": "application/json"}
    )
    assert status == 422 and headers["content-type"] == "application/problem+json"
    assert json.loads(data)["request_id"] == "mine"


def test_the_document_describes_requests_and_answers(live: Live) -> None:
    _, document = get(live, "/openapi.json")
    text = json.dumps(document)
    schemas = document["components"]["schemas"]  # type: ignore[index]
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in schemas
    assert {"PlanRequest", "PlanResponse", "AnomalyRequest", "EncodeResponse", "ModelInfo"} <= set(schemas)


def test_a_connection_is_kept_for_the_next_request(live: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.running.http_port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"alive":true}'
        assert connection.sock is not None
    connection.close()


def test_an_answer_does_not_wait_for_an_acknowledgement(live: Live) -> None:
    """Without TCP_NODELAY every answer on a kept connection took 40 ms more."""
    connection = http.client.HTTPConnection("127.0.0.1", live.running.http_port, timeout=10)
    took = []
    for _ in range(15):
        started = time.monotonic()
        connection.request("GET", "/v1/models")
        connection.getresponse().read()
        took.append(time.monotonic() - started)
    connection.close()
    assert sorted(took)[5] < 0.03


def heavy_request() -> bytes:
    return json.dumps(plan_payload(planner=HEAVY), default=to_json).encode()


def test_a_client_that_goes_away_stops_its_plan(live: Live) -> None:
    body = heavy_request()
    head = f"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", live.running.http_port)) as connection:
        connection.sendall(head.encode() + body)
        live.wait_until_busy()
    started = time.monotonic()
    assert live.json("plan", plan_payload()).code == ""
    assert time.monotonic() - started < 4  # the heavy plan would have taken more than that


@pytest.fixture(scope="module")
def guarded(checkpoints: Path) -> Iterator[Live]:
    with serving(settings_for(checkpoints, token="secret", max_in_flight=1)) as running:
        yield running


PATHS = ["/v1/plan", "/v1/anomaly", "/v1/encode", "/v1/models", f"/v1/models/{MODEL}"]
PATHS += ["/readyz", "/metrics", "/version", "/openapi.json", "/nowhere"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", ["", "secret", "Bearer wrong", "Bearer secretx", "Bearer \xff"])
def test_every_route_but_health_wants_the_token(guarded: Live, path: str, header: str) -> None:
    status, headers, data = guarded.http("GET", path, headers={"Authorization": header} if header else {})
    assert status == 401 and headers["www-authenticate"] == "Bearer"
    assert http_answer(status, data).code == "unauthenticated"


def test_health_wants_no_token(guarded: Live) -> None:
    assert get(guarded, "/healthz")[0] == 200


def test_the_token_opens(guarded: Live) -> None:
    assert get(guarded, "/readyz", Authorization="Bearer secret")[0] == 200


def test_a_full_server_refuses_at_once_and_says_when_to_come_back(guarded: Live) -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer secret"}
    body = json.dumps(json.loads(heavy_request()) | {"planning_budget_ms": 1500})
    first: list[int] = []
    thread = threading.Thread(target=lambda: first.append(guarded.http("POST", "/v1/plan", body, headers)[0]))
    thread.start()
    guarded.wait_until_busy()
    status, reply, data = guarded.http("POST", "/v1/plan", body, headers)
    assert first == []  # the answer did not wait for it
    assert status == 429 and int(reply["retry-after"]) >= 1
    assert http_answer(status, data).retryable
    thread.join()
    assert first == [200]
    again = http_answer(*guarded.http("POST", "/v1/plan", body, headers)[::2])
    assert actions_of(again.body).shape == (25, 2)
