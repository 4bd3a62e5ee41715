"""The document is good enough to write a client from: every operation is described, and its examples work."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from server import schemas
from server.arrays import MOST_READING_NUMBERS
from server.schemas.values import MOST_SENSORS
from server.settings import Settings
from server.transport.examples import EXAMPLES
from tests.server.live import MODEL, Live, serving
from tests.server.sensors_engine import ARM, SensorsEngine

BODIES = {
    "/v1/plan": schemas.PlanRequest,
    "/v1/plan/stream": schemas.PlanRequest,
    "/v1/anomaly": schemas.AnomalyRequest,
    "/v1/encode": schemas.EncodeRequest,
    "/v1/sessions": schemas.CreateSessionRequest,
}


@pytest.fixture(scope="module")
def arm() -> Iterator[Live]:
    with serving(Settings(http_port=0, grpc_port=0), SensorsEngine()) as running:
        yield running


@pytest.fixture(scope="module")
def document(live: Live) -> dict[str, Any]:
    return json.loads(live.http("GET", "/openapi.json")[2])


def test_every_operation_that_is_asked_something_has_examples(document: dict[str, Any]) -> None:
    asked = {path: ops["post"] for path, ops in document["paths"].items() if "requestBody" in ops.get("post", {})}
    assert asked.keys() == BODIES.keys()
    for path, operation in asked.items():
        assert operation["requestBody"]["content"]["application/json"]["examples"] == EXAMPLES[BODIES[path]]


@pytest.mark.parametrize("path", BODIES)
def test_examples_work_as_they_stand(live: Live, arm: Live, path: str) -> None:
    """But for the model of one camera, which is another one here."""
    for name, example in EXAMPLES[BODIES[path]].items():
        server = arm if example["value"].get("model") == {"name": ARM} else live
        body = json.dumps(example["value"]).replace("tworoom-lewm", MODEL)
        status, _, data = server.http("POST", path, body, {"Content-Type": "application/json"})
        assert status in (200, 201), (name, data)
    live.http("DELETE", "/v1/sessions/arm-1")


def test_every_operation_and_every_word_of_the_contract_is_explained(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        if path.startswith("/v1/"):
            assert all(operation.get("description") for operation in operations.values()), path
    fields = document["components"]["schemas"]["PlanRequest"]["properties"]
    unexplained = {name for name, field in fields.items() if not field.get("description") and "$ref" not in field}
    assert unexplained <= {"model", "session_id", "planner", "cost", "limits", "include", "clock_offset"}


def test_sensors_are_described(document: dict[str, Any]) -> None:
    parts = document["components"]["schemas"]
    fields = parts["Observation"]["properties"]
    assert all(fields[name]["maxProperties"] == MOST_SENSORS for name in ("images", "arrays", "capture_times_us"))
    reading = fields["arrays"]["additionalProperties"]["anyOf"]
    assert [form["type"] for form in reading] == ["array", "object"] and reading[0]["maxItems"] == MOST_READING_NUMBERS
    assert parts["SensorInfo"]["properties"]["kind"]["enum"] == ["camera", "vector"]
    assert all(parts["Observation"]["properties"][name].get("description") for name in fields)
    assert {"predicted_cost", "planned_goal_distance"}.isdisjoint(parts["PlanResponse"]["required"])


def test_refusals_are_problems_everywhere(document: dict[str, Any]) -> None:
    problem = {"$ref": "#/components/schemas/Problem"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["responses"]["default"]["content"]["application/problem+json"]["schema"] == problem, path
    assert document["components"]["schemas"]["Problem"]["required"]
