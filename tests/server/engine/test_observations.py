"""What an engine makes of a request's observation, and what it refuses before it decodes a single image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from server import schemas
from server.engine.observations import check_sensors, content_key, images_of, to_observation
from server.errors import Code, ServiceError
from server.validation import validate
from tests.server.live import picture
from tests.server.sensors_engine import SENSORS, readings, seen

DT_S = 0.1
STRANGE = "\x1b[31m\u202e~/\n" + "x" * 500


def observation(**changes: Any) -> schemas.Observation:
    return validate(schemas.Observation, seen(1) | changes)


def images(*names: str) -> dict[str, Any]:
    return {"images": {name: {"encoded": b"no image", "format": "png"} for name in names}}


def joints(change: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    return {"arrays": {"proprioception": change(readings(1))}}


def captured(**times_us: int) -> dict[str, Any]:
    return {"capture_time_us": 1_000_000, "capture_times_us": times_us}


REFUSED: dict[str, tuple[dict[str, Any], Code, tuple[str, ...], str]] = {
    "a camera is missing": (images("top"), Code.VALIDATION_FAILED, ("/images/wrist",), "is missing"),
    "both cameras are missing": (images(), Code.VALIDATION_FAILED, ("/images/wrist", "/images/top"), "is missing"),
    "a vector is missing": ({"arrays": {}}, Code.VALIDATION_FAILED, ("/arrays/proprioception",), "is missing"),
    "another camera": (
        images("wrist", "front"),
        Code.VALIDATION_FAILED,
        ("/images/front", "/images/top"),
        "wants wrist, top in images",
    ),
    "a vector too many": (
        {"arrays": {"proprioception": readings(1), "torque": readings(1)}},
        Code.VALIDATION_FAILED,
        ("/arrays/torque",),
        "is not asked for",
    ),
    "a camera among the vectors": (
        images("wrist") | {"arrays": {"proprioception": readings(1), "top": readings(1)}},
        Code.VALIDATION_FAILED,
        ("/images/top", "/arrays/top"),
        "is missing",
    ),
    "a strange name": (
        images("wrist", "top", STRANGE),
        Code.VALIDATION_FAILED,
        ("/images/?[31m?~0~1?" + "x" * 55 + "…",),
        "is not asked for",
    ),
    "too few joints": (
        joints(lambda values: values[:6]),
        Code.VALIDATION_FAILED,
        ("/arrays/proprioception",),
        "wanted [7]: j1, j2",
    ),
    "joints in a row": (
        joints(lambda values: values[None]),
        Code.VALIDATION_FAILED,
        ("/arrays/proprioception",),
        "[1, 7]",
    ),
    "no number at all": (joints(lambda values: values[:0]), Code.VALIDATION_FAILED, ("/arrays/proprioception",), "[0]"),
    "degrees": (
        joints(lambda values: np.where(np.arange(7) < 6, np.degrees(values), values)),
        Code.VALIDATION_FAILED,
        ("/arrays/proprioception",),
        "rad: send it in that unit",
    ),
    "millimetres": (
        joints(lambda values: np.where(np.arange(7) == 6, 40.0, values)),
        Code.VALIDATION_FAILED,
        ("/arrays/proprioception",),
        "gripper = 40; wanted 0 to 0.08 m",
    ),
    "the largest number": (
        joints(lambda values: np.full(7, 1e308)),
        Code.VALIDATION_FAILED,
        ("/arrays/proprioception",),
        "j1 = 1e+308",
    ),
    "a stale camera": (
        captured(wrist=899_999),
        Code.OBSERVATION_STALE,
        ("/capture_times_us/wrist",),
        "is 100.001 ms away from capture_time_us; a control step of this model, 100 ms",
    ),
    "joints of the future": (
        captured(wrist=1_000_000, proprioception=1_100_001),
        Code.OBSERVATION_STALE,
        ("/capture_times_us/proprioception",),
        "send readings of one time",
    ),
    "the time of no sensor": (
        captured(front=1_000_000),
        Code.VALIDATION_FAILED,
        ("/capture_times_us/front",),
        "this model has proprioception, top, wrist",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_true_is_refused_by_the_sensors_name(case: str) -> None:
    changes, code, pointers, words = REFUSED[case]
    with pytest.raises(ServiceError) as caught:
        check_sensors(observation(**changes), SENSORS, "/context/0", DT_S)
    error = caught.value
    assert (error.code, tuple(each.pointer for each in error.errors)) == (
        code,
        tuple("/context/0" + p for p in pointers),
    )
    assert words in error.errors[0].reason
    assert error.detail == f"{error.errors[0].pointer}: {error.errors[0].reason}"
    assert error.detail.isprintable() and len(error.detail) < 500


@pytest.mark.parametrize(
    "changes",
    [
        {},
        captured(wrist=900_000, top=1_100_000),
        {"capture_time_us": -(2**53) + 1},
        joints(lambda values: values.astype(np.float32)),
        joints(lambda values: values.tolist()),
        joints(lambda values: np.where(np.arange(7) == 6, 0.083, values)),  # noise at the end stop
    ],
)
def test_what_can_be_true_passes(changes: dict[str, Any]) -> None:
    check_sensors(observation(**changes), SENSORS, "/context/0", DT_S)


def test_a_model_without_actions_has_no_control_step_to_be_late_by() -> None:
    check_sensors(observation(**captured(wrist=0)), SENSORS, "/context/0", None)


def test_images_are_found_in_the_order_of_the_sensors_whatever_the_requests() -> None:
    given = observation(images={"top": picture(2), "wrist": picture(1)})
    opened = images_of(given, SENSORS, "/goals/0/observation")
    assert list(opened) == ["/goals/0/observation/images/wrist", "/goals/0/observation/images/top"]
    assert [image.encoded for image in opened.values()] == [picture(1)["encoded"], picture(2)["encoded"]]


def test_the_key_is_of_what_was_seen_and_not_of_when() -> None:
    key = content_key(observation(), SENSORS)
    again = observation(step=7, **captured(wrist=1_000_001), images=dict(reversed(seen(1)["images"].items())))
    assert content_key(again, SENSORS) == key
    swapped = {"images": {"wrist": seen(1)["images"]["top"], "top": seen(1)["images"]["wrist"]}}
    others = [swapped, joints(lambda values: values + 1e-9), {"images": seen(2)["images"]}]
    assert len({key, *(content_key(observation(**change), SENSORS) for change in others)}) == 4


def test_readings_come_in_the_form_that_the_model_learned_from() -> None:
    pixels = {"wrist": np.full((48, 64, 3), 7, np.uint8), "top": np.full((32, 32, 3), 9, np.uint8)}
    read = to_observation(observation(), SENSORS, pixels).values
    assert list(read) == ["wrist", "top", "proprioception"]
    assert torch.equal(read["wrist"], torch.full((1, 24, 32, 3), 7, dtype=torch.uint8))
    assert torch.equal(read["top"], torch.full((1, 32, 32, 3), 9, dtype=torch.uint8))
    assert torch.equal(read["proprioception"], torch.tensor(readings(1), dtype=torch.float32)[None])
