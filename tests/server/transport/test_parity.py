"""One question, four ways to ask it, one answer: to the bit."""

from typing import Any

import numpy as np
import pytest

from planner.presets import OPTIMISERS
from server import schemas
from server.validation import validate
from tests.server.live import Answer, Live, actions_of, anomaly_payload, ask, picture, plan_payload

VOLATILE = {"request_id", "timing"}
TRANSPORTS = ("json", "multipart", "grpc")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_transport_gives_the_plan_of_this_process(live: Live, transport: str) -> None:
    payload = plan_payload(include=["costs", "latents"])
    here = live.do(live.running.service.plan(validate(schemas.PlanRequest, payload)))
    answer = ask(live, transport)("plan", payload)
    assert answer.code == ""
    np.testing.assert_array_equal(actions_of(answer.body), here.chunk.actions)
    assert comparable(answer) == comparable(Answer("", here.model_dump(mode="json")))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_transport_gives_the_scores_of_this_process(live: Live, transport: str) -> None:
    payload = anomaly_payload()
    here = live.do(live.running.service.anomaly(validate(schemas.AnomalyRequest, payload)))
    answer = ask(live, transport)("anomaly", payload)
    assert comparable(answer) == comparable(Answer("", here.model_dump(mode="json")))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_embedding_is_as_good_a_goal_as_its_image(live: Live, transport: str) -> None:
    payload = plan_payload()
    goal = {"model": payload["model"], "observations": [{"images": {"top": picture(3)}}]}
    encoded = ask(live, transport)("encode", goal).body
    tensor = encoded["embeddings"]
    assert tensor["shape"] == [1, 1, 16]
    latents = {**tensor, "shape": [1, 16]}
    embedded = payload | {"goals": [{"embedding": {"space_id": encoded["space_id"], "latents": latents}}]}
    with_image, with_latents = (ask(live, transport)("plan", p).body for p in (payload, embedded))
    np.testing.assert_array_equal(actions_of(with_image), actions_of(with_latents))


def test_the_same_seed_gives_the_same_plan_and_another_one_does_not(live: Live) -> None:
    first, again, other = (
        actions_of(live.json("plan", plan_payload(planner={"preset": "fast", "seed": seed})).body) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("algorithm", OPTIMISERS)
@pytest.mark.parametrize("search_space", ["free", "cubic_spline"])
def test_what_was_searched_and_how_is_reported_and_replays_the_plan(
    live: Live, algorithm: str, search_space: str
) -> None:
    planner = {"preset": "fast", "algorithm": algorithm, "search_space": search_space, "seed": 7}
    first = live.json("plan", plan_payload(planner=planner)).body
    used = first["provenance"]["effective_planner"]
    assert {key: used[key] for key in planner} == planner
    again = live.grpc("plan", plan_payload(planner={k: v for k, v in used.items() if v is not None})).body
    np.testing.assert_array_equal(actions_of(first), actions_of(again))


def test_a_drawn_seed_is_reported_and_replays_the_plan(live: Live) -> None:
    drawn = live.json("plan", plan_payload(planner={"preset": "fast"})).body
    again = live.json("plan", plan_payload(planner=drawn["provenance"]["effective_planner"])).body
    np.testing.assert_array_equal(actions_of(drawn), actions_of(again))


def comparable(answer: Answer) -> dict[str, object]:
    """Without what differs from one asking to the next, and without the way arrays are written."""
    body = {key: value for key, value in told(answer.body).items() if key not in VOLATILE}
    if "chunk" in body:
        body["chunk"] = body["chunk"] | {"actions": actions_of(answer.body).tolist()}
    if "latents" in body:
        body["latents"] = body["latents"]["shape"]
    return body


def told(value: Any) -> Any:
    """Without fields that say nothing: gRPC leaves them out."""
    if isinstance(value, dict):
        return {key: told(each) for key, each in value.items() if each is not None}
    return [told(each) for each in value] if isinstance(value, list) else value
