"""Hostile readings of sensors: refused by name, quickly, and with nothing of them in the answer."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from server import schemas
from server.arrays import MOST_READING_NUMBERS
from server.errors import ServiceError
from server.schemas.values import MOST_SENSORS
from server.settings import Settings
from server.validation import validate
from tests.server.live import Answer, Live, actions_of, ask, picture, serving, to_json
from tests.server.sensors_engine import SensorsEngine, arm_frame, arm_plan, readings, seen

TRANSPORTS = ("json", "multipart", "grpc")
ARRAYS = "/context/0/arrays"
JOINTS = f"{ARRAYS}/proprioception"
CONTROL = "\x1b]0;owned\x07\r\nSet-Cookie: a=b\x00\u202e"


@pytest.fixture(scope="module")
def arm() -> Iterator[Live]:
    with serving(Settings(http_port=0, grpc_port=0), SensorsEngine()) as running:
        yield running


@pytest.fixture(scope="module")
def arm_moves(arm: Live) -> np.ndarray:
    return actions_of(arm.json("plan", arm_plan()).body)


@pytest.fixture(autouse=True)
def the_next_arm_is_served(arm: Live, arm_moves: np.ndarray) -> Iterator[None]:
    yield
    for answer in (arm.json("plan", arm_plan()), arm.grpc("plan", arm_plan())):
        np.testing.assert_array_equal(actions_of(answer.body), arm_moves)


def tensor(shape: list[int], data: bytes, datatype: str = "FP64") -> dict[str, Any]:
    return {"datatype": datatype, "shape": shape, "data": data}


def with_joints(value: Any) -> dict[str, Any]:
    return seen(1, arrays={"proprioception": value})


def with_times(**times_us: int) -> dict[str, Any]:
    return seen(1, capture_time_us=0, capture_times_us=times_us)


ATTACKS: dict[str, tuple[dict[str, Any], str, str]] = {
    "too few": (with_joints(np.zeros(6)), "validation-failed", JOINTS),
    "too many": (with_joints(np.zeros(8)), "validation-failed", JOINTS),
    "nothing": (with_joints(np.zeros(0)), "validation-failed", JOINTS),
    "a scalar": (with_joints(np.array(0.5)), "validation-failed", JOINTS),
    "a column": (with_joints(np.zeros((7, 1))), "validation-failed", JOINTS),
    "seven axes": (with_joints(np.zeros((1,) * 7)), "validation-failed", JOINTS),
    "NaN": (with_joints(np.full(7, np.nan)), "non-finite-input", JOINTS),
    "one NaN": (with_joints(np.where(np.arange(7) == 3, np.nan, 0.0)), "non-finite-input", JOINTS),
    "infinity": (with_joints(np.full(7, -np.inf)), "non-finite-input", JOINTS),
    "NaN of 32 bits": (with_joints(np.full(7, np.nan, np.float32)), "non-finite-input", JOINTS),
    "degrees": (with_joints(np.degrees(readings(1))), "validation-failed", JOINTS),
    "beyond the range": (with_joints(np.full(7, 4.0)), "validation-failed", JOINTS),
    "below the range": (with_joints(np.full(7, -0.005)), "validation-failed", JOINTS),
    "the largest number": (with_joints(np.full(7, np.finfo(np.float64).max)), "validation-failed", JOINTS),
    "a huge array": (with_joints(np.zeros(1_000_000)), "validation-failed", JOINTS),
    "a huge array of 32 bits": (with_joints(np.zeros(2_000_000, np.float32)), "validation-failed", JOINTS),
    "one number too many": (with_joints(np.zeros(MOST_READING_NUMBERS + 1)), "validation-failed", JOINTS),
    "a shape that overflows": (with_joints(tensor([2**62, 2**62], b"")), "validation-failed", JOINTS),
    "a shape that lies": (with_joints(tensor([7], bytes(8))), "validation-failed", JOINTS),
    "a negative shape": (with_joints(tensor([-7], bytes(56))), "validation-failed", JOINTS),
    "two negative sides": (with_joints(tensor([-7, -1], bytes(56))), "validation-failed", JOINTS),
    "empty of a huge shape": (with_joints(tensor([0, 2**62], b"")), "validation-failed", JOINTS),
    "an unknown type": (with_joints(tensor([7], bytes(7), "INT8")), "validation-failed", JOINTS),
    "a tensor of nothing": (with_joints({}), "validation-failed", JOINTS),
    "10,000 vectors": (
        seen(1, arrays={f"s{index}": np.zeros(1) for index in range(10_000)}),
        "validation-failed",
        ARRAYS,
    ),
    "10,000 times": (
        with_times(**{f"s{index}": index for index in range(10_000)}),
        "validation-failed",
        "/context/0/capture_times_us",
    ),
    "one sensor too many": (
        seen(1, arrays={f"s{index}": np.zeros(1) for index in range(MOST_SENSORS + 1)}),
        "validation-failed",
        ARRAYS,
    ),
    "a name like a path": (
        seen(1, arrays={"proprioception": readings(1), "../../etc/~1": readings(1)}),
        "validation-failed",
        f"{ARRAYS}/..~1..~1etc~1~01",
    ),
    "an empty name": (
        seen(1, arrays={"proprioception": readings(1), "": readings(1)}),
        "validation-failed",
        f"{ARRAYS}/",
    ),
    "a camera sent as a vector": (
        seen(1, arrays={"proprioception": readings(1), "top": np.zeros(4096)}),
        "validation-failed",
        f"{ARRAYS}/top",
    ),
    "a stale camera": (with_times(wrist=-100_001), "observation-stale", "/context/0/capture_times_us/wrist"),
    "joints of tomorrow": (
        with_times(proprioception=86_400_000_000),
        "observation-stale",
        "/context/0/capture_times_us/proprioception",
    ),
    "a time before all time": (with_times(top=-(2**62)), "validation-failed", "/context/0/capture_times_us/top"),
    "times without a time": (
        seen(1, capture_times_us={"top": 0}),
        "validation-failed",
        "/context/0/capture_times_us",
    ),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("case", ATTACKS)
def test_readings_that_cannot_be(arm: Live, case: str, transport: str) -> None:
    now, code, pointer = ATTACKS[case]
    payload = arm_frame(now)
    answer = ask(arm, transport)("plan", payload)
    assert (answer.code, answer.pointers[:1]) == (code, (pointer,))
    _says_little(answer)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ten_thousand_cameras(arm: Live, transport: str) -> None:
    cameras = {f"c{index}": {"encoded": b"?" * 99, "format": "png"} for index in range(10_000)}
    answer = ask(arm, transport)("plan", arm_frame(seen(1, images=cameras)))
    in_a_form = transport == "multipart"  # has a part for each
    wanted = ("malformed-request", ()) if in_a_form else ("validation-failed", ("/context/0/images",))
    assert (answer.code, answer.pointers) == wanted
    _says_little(answer)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("field", ["images", "arrays", "capture_times_us"])
def test_names_with_control_characters_are_never_sent_back(arm: Live, field: str, transport: str) -> None:
    odd = {"images": picture(1), "arrays": readings(1), "capture_times_us": 0}[field]
    now = seen(1, capture_time_us=0)
    now[field] = now.get(field, {}) | {CONTROL: odd, "x" * 100_000: odd}
    answer = ask(arm, transport)("plan", arm_frame(now))
    assert answer.code == "validation-failed"
    assert all(pointer.startswith(f"/context/0/{field}/") and pointer.isprintable() for pointer in answer.pointers)
    _says_little(answer)


def test_names_with_control_characters_are_never_sent_back_by_the_schema(arm: Live) -> None:
    answer = arm.json("plan", arm_frame(seen(1, arrays={CONTROL: [None]}, capture_times_us={CONTROL: 0.5})))
    assert answer.code == "validation-failed" and len(answer.pointers) == 2
    assert all(pointer.isprintable() for pointer in answer.pointers)
    _says_little(answer)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_literals_that_are_not_finite(arm: Live, literal: str) -> None:
    body = json.dumps(arm_frame(with_joints(["?"] + [0.0] * 6)), default=to_json).replace('"?"', literal)
    answer = arm.post("/v1/plan", body)
    assert (answer.status, answer.code, answer.pointers) == (422, "non-finite-input", (JOINTS,))


@pytest.mark.parametrize(
    "value",
    [
        "seven",
        None,
        7,
        [],
        ["0"] * 7,
        [True] * 7,
        [None] * 7,
        [[0.0], [0.0, 0.0]],
        [10**400] * 7,
        {"datatype": "FP64"},
        {"part": "joints"},
        [[]] * 100_000,
        [0.0] * 1_000_000,
        [[0.0] * 1000] * 1000,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_json_that_is_no_reading(arm: Live, value: Any) -> None:
    body = json.dumps(arm_frame(with_joints(value)), default=to_json)
    answer = arm.post("/v1/plan", body)
    assert (answer.status, answer.code, answer.pointers) == (422, "validation-failed", (JOINTS,))
    _says_little(answer)


def test_an_array_as_deep_as_json_goes(arm: Live) -> None:
    deep = json.dumps(arm_frame(with_joints("?")), default=to_json).replace('"?"', "[" * 180 + "0" + "]" * 180)
    assert arm.post("/v1/plan", deep).code in ("validation-failed", "malformed-request")


def test_the_largest_clip_with_the_most_sensors_is_refused_before_it_is_decoded(arm: Live) -> None:
    """The names are looked at before any header."""
    odd = {"images": {f"c{index}": {"encoded": b"?", "format": "png"} for index in range(MOST_SENSORS)}}
    answer = arm.json("encode", {"model": {"name": "arm"}, "observations": [odd] * 64})
    assert answer.code == "validation-failed" and len(answer.pointers) == 8


LARGE: dict[str, dict[str, Any]] = {
    "an array": with_joints(np.zeros(1_000_000)),
    "a list": with_joints([0.0] * 1_000_000),
    "lists of lists": with_joints([[0.0] * 1000] * 1000),
    "empty lists": with_joints([[]] * 1_000_000),
    "a tensor": with_joints(tensor([1_000_000], base64.b64encode(bytes(8_000_000)))),
    "vectors": seen(1, arrays={f"s{index}": [0.0] * 100 for index in range(100_000)}),
    "cameras": seen(1, images={f"c{index}": {"encoded": "AAAA", "format": "png"} for index in range(100_000)}),
}


@pytest.mark.parametrize("case", LARGE)
def test_how_much_it_is_is_looked_at_before_what_it_is(case: str) -> None:
    began = time.thread_time()
    with pytest.raises(ServiceError, match="validation-failed"):
        validate(schemas.Observation, LARGE[case])
    assert time.thread_time() - began < 0.1


def _says_little(answer: Answer) -> None:
    assert len(answer.text) < 6000 and "Traceback" not in answer.text
    assert not any(each in answer.text for each in ("\x1b", "\x07", "\x00", "\u202e", "Set-Cookie: a=b\\r"))
