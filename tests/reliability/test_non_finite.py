"""No number that is not finite, and no action beyond its limits, ever leaves (5): whatever robots and engine say."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server import schemas
from server.engine.process import EngineProcess
from server.errors import Code, ServiceError
from server.service import Service
from tests.reliability import dice_engine
from tests.reliability.report import Measure
from tests.reliability.test_engine_process import ask_fake, with_fake
from tests.server.live import Live, actions_of, plan_payload

pytestmark = pytest.mark.reliability(5)

LIMITS = (None, {"min": [-1.0, -0.5], "max": [1.0, 0.5]}, {"min": [-1.0, -1.0], "max": [1.0, 1.0], "max_delta": [2, 2]})


def numbers(value: Any) -> Iterator[float]:
    """Every float anywhere in a dumped message."""
    match value:
        case dict():
            for inner in value.values():
                yield from numbers(inner)
        case list() | tuple():
            for inner in value:
                yield from numbers(inner)
        case np.ndarray():
            yield from value.ravel().tolist()
        case float():
            yield value


def wrong(actions: np.ndarray, limits: Any) -> bool:
    low, high = (limits["min"], limits["max"]) if limits else ([-1.0, -1.0], [1.0, 1.0])
    return not bool((np.isfinite(actions) & (actions >= low) & (actions <= high)).all())


def count_wrong(response: schemas.PlanResponse, limits: Any) -> int:
    return wrong(response.chunk.actions, limits) or not all(map(math.isfinite, numbers(response.model_dump())))


@pytest.mark.parametrize(
    "cases", [pytest.param(1000, id="1000 plans"), pytest.param(100_000, id="100000 plans", marks=pytest.mark.slow)]
)
def test_an_engine_that_cannot_count(cases: int, measure: Measure) -> None:
    left, refused, told = 0, {Code.NON_FINITE_PLAN: 0, Code.ACTION_LIMIT_VIOLATION: 0}, 0
    bad = 0

    async def work(service: Service, engine: EngineProcess) -> None:
        nonlocal left, bad, told
        for seed in range(cases):
            limits = LIMITS[seed % len(LIMITS)]
            incumbents: list[schemas.PlanResponse] = []
            request = ask_fake(planner={"seed": seed}, **({"limits": limits} if limits else {}))
            try:
                response = await service.plan(request, incumbents.append)
                bad += count_wrong(response, limits)
                left += 1
            except ServiceError as error:
                refused[error.code] += 1
            bad += sum(count_wrong(each, limits) for each in incumbents)
            told += len(incumbents)

    with_fake(work, dice_engine.COMMAND)
    assert left > cases / 20 and told > cases / 20 and min(refused.values()) > cases / 50, (left, told, refused)
    measure(f"plans that should not have left, of {cases} and {told} incumbents", bad, at_most=0)


ODD = st.sampled_from(
    [math.nan, math.inf, -math.inf, 5e-324, -5e-324, 1e38, -1e38, 3.5e38, 1e308, -0.0, 0.0, 1.0, -1.0]
)
VALUE = ODD | st.floats() | st.floats(-1, 1)
PAIR = st.lists(VALUE, min_size=2, max_size=2)
LIMITS_OF_PAIRS = st.fixed_dictionaries(
    {"min": PAIR, "max": PAIR}, optional={"max_delta": PAIR, "max_start_jump": PAIR}
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "limits": LIMITS_OF_PAIRS,
        "action_history": st.lists(PAIR, min_size=5, max_size=5).map(lambda rows: [np.array(rows)]),
        "committed_actions": st.lists(PAIR, min_size=1, max_size=5).map(np.array),
        "init_std": VALUE,
        "weight": VALUE,
        "tolerance": VALUE,
    },
)


def payload_of(changes: dict[str, Any]) -> dict[str, Any]:
    """A plan request; a search of few samples, so that odd bounds meet every part of it."""
    planner = {"num_samples": 8, "num_elites": 2, "max_iterations": 2, "seed": 7}
    if "init_std" in changes:
        planner["init_std"] = changes.pop("init_std")
    payload = plan_payload(planner=planner)
    goal = payload["goals"][0] | {key: changes.pop(key) for key in ("weight", "tolerance") if key in changes}
    return payload | {"goals": [goal]} | changes


@pytest.mark.parametrize(
    "cases", [pytest.param(60, id="60 requests"), pytest.param(2000, id="2000 requests", marks=pytest.mark.slow)]
)
def test_robots_that_cannot_count(live: Live, cases: int, measure: Measure) -> None:
    """Through gRPC, whose floats may be anything, with a real model."""
    codes: dict[str, int] = {}
    bad = 0

    @given(CHANGES)
    @settings(max_examples=cases, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(changes: dict[str, Any]) -> None:
        nonlocal bad
        payload = payload_of(dict(changes))
        answer = live.grpc("plan", payload)
        codes[answer.code] = codes.get(answer.code, 0) + 1
        assert answer.status in ("OK", "INVALID_ARGUMENT"), answer
        if not answer.code:
            bad += wrong(actions_of(answer.body), payload.get("limits"))
            bad += not all(map(math.isfinite, numbers(answer.body)))

    ask()
    assert codes[""] and codes["non-finite-input"] and codes["validation-failed"], codes
    measure(f"answers that should not have left, of {cases}", bad, at_most=0)
