"""Several sensors over every transport: one answer to the bit, and one refusal."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from server import schemas
from server.settings import Settings
from server.validation import validate
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message, to_payload
from telos.wire.tensors import unpack
from tests.server.live import Answer, Live, actions_of, ask, picture, serving, to_json
from tests.server.sensors_engine import ARM, SENSORS, SensorsEngine, arm_frame, arm_plan, fields_of, readings, seen
from tests.server.transport.test_parity import TRANSPORTS, comparable


@pytest.fixture(scope="module")
def engine() -> SensorsEngine:
    return SensorsEngine()


@pytest.fixture(scope="module")
def arm(engine: SensorsEngine) -> Iterator[Live]:
    with serving(Settings(http_port=0, grpc_port=0), engine) as running:
        yield running


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_transport_gives_the_plan_of_this_process(arm: Live, transport: str) -> None:
    payload = arm_plan(include=["costs"])
    here = arm.do(arm.running.service.plan(validate(schemas.PlanRequest, payload)))
    answer = ask(arm, transport)("plan", payload)
    assert answer.code == ""
    np.testing.assert_array_equal(actions_of(answer.body), here.chunk.actions)
    assert comparable(answer) == comparable(Answer("", here.model_dump(mode="json")))


def test_lists_are_as_good_as_tensors(arm: Live) -> None:
    lists = json.loads(json.dumps(arm_plan(), default=to_json))
    for index, frame in enumerate(lists["context"]):
        frame["arrays"]["proprioception"] = readings(index + 1).tolist()
    np.testing.assert_array_equal(*(actions_of(arm.json("plan", body).body) for body in (lists, arm_plan())))


@pytest.mark.parametrize(
    "changes",
    [
        {"arrays": {"proprioception": readings(9)}},
        {"images": seen(2)["images"] | {"wrist": picture(9)}},
        {"images": seen(2)["images"] | {"top": picture(9)}},
        {"images": {"wrist": seen(2)["images"]["top"], "top": seen(2)["images"]["wrist"]}},
    ],
)
def test_every_sensor_counts(arm: Live, changes: dict[str, Any]) -> None:
    plain, changed = (actions_of(arm.grpc("plan", arm_frame(seen(2, **each))).body) for each in ({}, changes))
    assert not np.array_equal(plain, changed)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_transport_encodes_alike(arm: Live, transport: str) -> None:
    payload = {"model": {"name": ARM}, "observations": [seen(1), seen(2)]}
    here = arm.do(arm.running.service.encode(validate(schemas.EncodeRequest, payload)))
    latents = unpack(ask(arm, transport)("encode", payload).body["embeddings"])
    assert latents.shape == (2, 1, len(SENSORS))
    np.testing.assert_array_equal(latents, here.embeddings)


def test_both_transports_say_what_sensors_a_model_has(arm: Live) -> None:
    wanted = [fields_of(spec) for spec in SENSORS]
    (over_http,) = json.loads(arm.http("GET", "/v1/models")[2])["models"]
    (over_grpc,) = arm.grpc_call("ListModels", b"", pb.ListModelsResponse).body["models"]
    assert all(sensor.pop("aspect_ratio") is None for sensor in over_http["sensors"])  # gRPC leaves out what is unset
    assert over_http["sensors"] == over_grpc["sensors"] == wanted
    assert over_http["latent_shape"] == over_grpc["latent_shape"] == [1, len(SENSORS)]


REFUSED: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "a sensor is missing": (seen(1, arrays={}), "validation-failed", ("/context/0/arrays/proprioception",)),
    "a sensor too many": (
        seen(1, arrays={"proprioception": readings(1), "torque": readings(1)}),
        "validation-failed",
        ("/context/0/arrays/torque",),
    ),
    "a reading of another shape": (
        seen(1, arrays={"proprioception": np.zeros(6)}),
        "validation-failed",
        ("/context/0/arrays/proprioception",),
    ),
    "a number that is none": (
        seen(1, arrays={"proprioception": np.full(7, np.nan)}),
        "non-finite-input",
        ("/context/0/arrays/proprioception",),
    ),
    "times without a time": (
        seen(1, capture_times_us={"wrist": 1}),
        "validation-failed",
        ("/context/0/capture_times_us",),
    ),
    "a stale sensor": (
        seen(1, capture_time_us=10**6, capture_times_us={"top": 10**6 - 100_001}),
        "observation-stale",
        ("/context/0/capture_times_us/top",),
    ),
    "an image that is none": (
        seen(1, images=seen(1)["images"] | {"top": {"encoded": b"?" * 99, "format": "png"}}),
        "image-rejected",
        ("/context/0/images/top",),
    ),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_sensor(arm: Live, case: str, transport: str) -> None:
    now, code, pointers = REFUSED[case]
    answer = ask(arm, transport)("plan", arm_frame(now))
    assert (answer.code, answer.pointers) == (code, pointers)


def test_a_goal_has_all_sensors_too(arm: Live) -> None:
    answer = arm.json("plan", arm_plan(goals=[{"observation": seen(3, arrays={})}]))
    assert (answer.code, answer.pointers) == ("validation-failed", ("/goals/0/observation/arrays/proprioception",))


def test_a_sensor_may_be_called_part_in_a_form(arm: Live) -> None:
    """`part` names the bytes of an image; anywhere else it is a name like any other."""
    odd = seen(1, arrays={"part": [0.1] * 7, "proprioception": readings(1)}, images={"part": picture(1)})
    answer = arm.multipart("plan", arm_frame(odd))
    wanted = {"/context/0/images/part", "/context/0/arrays/part", "/context/0/images/wrist", "/context/0/images/top"}
    assert (answer.code, set(answer.pointers)) == ("validation-failed", wanted)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_policy_answers_without_a_cost(arm: Live, engine: SensorsEngine, transport: str) -> None:
    engine.policy = True
    try:
        body = ask(arm, transport)("plan", arm_plan()).body
    finally:
        engine.policy = False
    assert (body["status"], body["iterations_completed"], body["costs"]) == ("POLICY", 0, [])
    assert body.get("predicted_cost") is None and body.get("planned_goal_distance") is None
    assert transport != "grpc" or "predicted_cost" not in body
    assert actions_of(body).shape == (25, 2)


def test_a_stream_takes_several_sensors(arm: Live) -> None:
    opened = to_message(pb.PlanStreamRequest, {"open": arm_frame(seen(1, step=0)), "seq": 1})
    with grpc.insecure_channel(f"127.0.0.1:{arm.running.grpc_port}") as channel:
        call = channel.stream_stream("/telos.v1.Planner/PlanStream")(iter([opened.SerializeToString()]), timeout=10)
        (answer,) = [to_payload(pb.PlanStreamResponse.FromString(data)) for data in call]
    stateless = arm.grpc("plan", arm_frame(seen(1, step=0))).body
    np.testing.assert_array_equal(actions_of(answer["final"]), actions_of(stateless))
