"""Requests made from the server's own description of itself (1), and numbers that JSON readers disagree about."""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.reliability.report import Measure
from tests.server.live import Live, plan_payload, to_json

pytestmark = [pytest.mark.reliability(1), pytest.mark.filterwarnings("default")]  # schemathesis has its own

EXAMPLES = [pytest.param(30, id="30 examples"), pytest.param(500, id="500 examples", marks=pytest.mark.slow)]
NOT_CHECKED = [
    schemathesis.checks.positive_data_acceptance,  # what is right by the description may name a model that is not here
    schemathesis.checks.use_after_free,
]


def examples(count: int) -> settings:
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture(scope="module")
def address(live: Live) -> str:
    return f"http://127.0.0.1:{live.running.http_port}"


def operations(address: str) -> list[Any]:
    """Every method of every path that the server describes."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("count", EXAMPLES)
@pytest.mark.parametrize("mode", GenerationMode)
def test_every_operation_keeps_its_description(
    address: str, mode: GenerationMode, count: int, measure: Measure
) -> None:
    """No failure of the server, no answer that is not described, nothing taken that is wrong by the description."""
    asked: set[str] = set()
    for operation in operations(address):
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # any text is a name

        @given(case=operation.as_strategy(generation_mode=mode))
        @examples(count)
        def ask(case: Any) -> None:
            asked.add(case.path)
            case.call_and_validate(base_url=address, excluded_checks=NOT_CHECKED)

        ask()
    measure(f"operations that keep their description, {mode.value} data", len(asked), at_least=4)


NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e400"]
FIELDS = {
    "planner": '{"init_std": %s}',
    "planning_budget_ms": "%s",
    "limits": '{"min": [-1, %s], "max": [1, 1]}',
    "action_history": "[[[0, 0], [0, %s], [0, 0], [0, 0], [0, 0]]]",
    "committed_actions": "[[%s, 0]]",
    "context": '[{"images": {}, "arrays": {"joints": [0, %s]}}]',
    "session_id": "%s",
    "unknown": "%s",
}


@given(st.sampled_from(NUMBERS), st.sampled_from(sorted(FIELDS)), st.integers(0, 40))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_numbers_that_are_not_finite(live: Live, number: str, field: str, depth: int) -> None:
    """Wherever they are, and however deep."""
    value = "[" * depth + FIELDS[field] % number + "]" * depth
    body = json.dumps(plan_payload(), default=to_json)[:-1] + f', "{field}": {value}}}'
    answer = live.post("/v1/plan", body)
    assert answer.status in (400, 422), answer
    assert number not in answer.text


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner))


@pytest.mark.parametrize("count", [pytest.param(60, id="60"), pytest.param(2000, id="2000", marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", ["/v1/plan", "/v1/anomaly", "/v1/encode", "/v1/sessions"])
def test_any_json_in_place_of_any_field(live: Live, path: str, count: int) -> None:
    good = json.loads(json.dumps(plan_payload(), default=to_json))

    @given(st.sampled_from([*sorted(good), "planner", "limits", "request_id"]), JSON)
    @examples(count)
    def ask(field: str, value: Any) -> None:
        answer = live.post(path, json.dumps(good | {field: value}))
        assert answer.status in (200, 400, 404, 412, 422, 429), answer

    ask()


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"context":'])
@pytest.mark.parametrize("depth", [150, 10_000, 1_000_000])
def test_deep_json(live: Live, opening: str, depth: int) -> None:
    body = '{"model": ' + opening * depth
    assert live.post("/v1/plan", body).status == 400
    closing = {"[": "]", '{"a":': "}", '[{"context":': "}]"}[opening]
    assert live.post("/v1/plan", body + "1" + closing * depth + "}").status in (400, 422)
