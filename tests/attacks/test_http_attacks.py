import base64
import http.client
import json
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from server.transport.http_payload import MAX_PARTS
from tests.server.live import Live, http_answer, multipart_body, picture, plan_payload

JSON = {"Content-Type": "application/json"}


def text_payload(**changes: Any) -> dict[str, Any]:
    """A good plan request, with images as base64 and actions as lists."""

    def image(seed: int) -> dict[str, str]:
        fields = picture(seed)
        return fields | {"encoded": base64.b64encode(fields["encoded"]).decode()}

    frames = [{"images": {"top": image(seed)}, "step": step} for seed, step in ((1, 10), (2, 15))]
    goals = [{"observation": {"images": {"top": image(3)}}}]
    return plan_payload(context=frames, goals=goals, action_history=[[[0.25, 0.25]] * 5]) | changes


def test_lists_are_as_good_as_tensors(live: Live) -> None:
    assert live.post("/v1/plan", json.dumps(text_payload())).code == ""


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize(
    ("field", "pointer"),
    [
        ('"planner": {"init_std": %s}', "/planner/init_std"),
        ('"limits": {"min": [-1, -1], "max": [1, %s]}', "/limits/max/1"),
        ('"action_history": [[[0, 0], [0, 0], [0, %s], [0, 0], [0, 0]]]', "/action_history/0"),
    ],
)
def test_literals_that_are_not_finite(live: Live, literal: str, field: str, pointer: str) -> None:
    body = json.dumps(text_payload())[:-1] + ", " + field % literal + "}"
    answer = live.post("/v1/plan", body)
    assert (answer.status, answer.code, answer.pointers) == (422, "non-finite-input", (pointer,))
    assert literal not in answer.text


BODIES: dict[str, tuple[bytes, str, int]] = {
    "empty": (b"", "malformed-request", 400),
    "not JSON": (b"hello", "malformed-request", 400),
    "cut off": (b'{"model": {', "malformed-request", 400),
    "not UTF-8": (b'{"model": "\xff\xfe"}', "malformed-request", 400),
    "half a character": (b'{"model": "\\ud800"}', "malformed-request", 400),
    "a list": (b"[]", "malformed-request", 400),
    "a number": (b"1", "malformed-request", 400),
    "deep": (b"[" * 100_000, "malformed-request", 400),
    "deep objects": (b'{"a":' * 50_000, "malformed-request", 400),
    "long number": (b'{"model": ' + b"9" * 100_000 + b"}", "malformed-request", 400),
    "empty object": (b"{}", "validation-failed", 422),
    "nulls": (b'{"model": null, "context": null, "goals": null}', "validation-failed", 422),
    "numbers as text": (
        json.dumps(text_payload(planner={"num_samples": "64"})).encode(),
        "validation-failed",
        422,
    ),
    "true for one": (json.dumps(text_payload(planner={"num_samples": True})).encode(), "validation-failed", 422),
    "half a sample": (json.dumps(text_payload(planner={"num_samples": 64.5})).encode(), "validation-failed", 422),
    "huge seed": (json.dumps(text_payload(planner={"seed": 10**300})).encode(), "validation-failed", 422),
    "unknown field": (json.dumps(text_payload(horizn=4)).encode(), "validation-failed", 422),
    "very long field": (json.dumps(text_payload(**{"x" * 10**6: 4})).encode(), "validation-failed", 422),
    "thousands of fields": (
        json.dumps(text_payload(**{f"x{i}": i for i in range(5000)})).encode(),
        "validation-failed",
        422,
    ),
    "ragged history": (json.dumps(text_payload(action_history=[[[0, 0], [0]]])).encode(), "validation-failed", 422),
    "words as history": (json.dumps(text_payload(action_history=[[["a", "b"]]])).encode(), "validation-failed", 422),
    "huge whole numbers": (
        json.dumps(text_payload(action_history=[[[10**400, 0]]])).encode(),
        "validation-failed",
        422,
    ),
    "history of nothing": (json.dumps(text_payload(action_history=[None])).encode(), "validation-failed", 422),
    "invalid base64": (
        json.dumps(text_payload(context=[{"images": {"top": {"encoded": "?!", "format": "png"}}}])).encode(),
        "validation-failed",
        422,
    ),
    "pixels as a list": (
        json.dumps(text_payload(context=[{"images": {"top": {"encoded": [1, 2], "format": "png"}}}])).encode(),
        "validation-failed",
        422,
    ),
    "part that is no name": (
        json.dumps(text_payload(context=[{"images": {"top": {"part": 5, "format": "png"}}}])).encode(),
        "validation-failed",
        422,
    ),
    "part without a form": (
        json.dumps(text_payload(context=[{"images": {"top": {"part": "x", "format": "png"}}}])).encode(),
        "validation-failed",
        422,
    ),
}


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("path", ["/v1/plan", "/v1/anomaly", "/v1/encode"])
def test_bodies(live: Live, case: str, path: str) -> None:
    body, code, status = BODIES[case]
    answer = live.post(path, body)
    assert (answer.code, answer.status) == (code, status) or (path != "/v1/plan" and answer.code == "validation-failed")
    assert len(answer.text) < 5000 and "Traceback" not in answer.text


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "image/png", "\xff"])
def test_content_types(live: Live, content_type: str) -> None:
    answer = live.post("/v1/plan", b"{}", content_type)
    assert (answer.code, answer.status) == ("unsupported-media-type", 415)


def test_compressed_bodies(live: Live) -> None:
    answer = live.post("/v1/plan", b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert (answer.code, answer.status) == ("unsupported-media-type", 415)


def test_web_pages(live: Live) -> None:
    """Any page that the operator's browser shows can post to this machine's loopback, without a preflight."""
    answer = live.post("/v1/plan", b"{}", "text/plain", Origin="https://example.org")
    assert (answer.code, answer.status) == ("cross-origin", 403)


REQUEST = json.dumps(
    text_payload(context=[{"images": {"top": {"part": "now", "format": "png"}}}], action_history=[])
).encode()
NOW = picture(1)["encoded"]
FORMS: dict[str, tuple[bytes, dict[str, bytes], str]] = {
    "missing part": (REQUEST, {}, "validation-failed"),
    "unused part": (REQUEST, {"now": NOW, "then": NOW}, "malformed-request"),
    "request that is no JSON": (b"{", {"now": NOW}, "malformed-request"),
    "two parts of one name": (REQUEST, {"request": NOW, "now": NOW}, "malformed-request"),
    "too many parts": (REQUEST, {"now": NOW} | {f"p{i}": b"" for i in range(MAX_PARTS)}, "malformed-request"),
}


def test_a_good_form(live: Live) -> None:
    assert live.post("/v1/plan", *multipart_body(REQUEST, {"now": NOW})).code == ""


@pytest.mark.parametrize("case", FORMS)
def test_forms(live: Live, case: str) -> None:
    request, parts, code = FORMS[case]
    assert live.post("/v1/plan", *multipart_body(request, parts)).code == code


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=other", "; boundary=" + "x" * 300])
def test_forms_that_are_none(live: Live, boundary: str) -> None:
    body, _ = multipart_body(REQUEST, {"now": NOW})
    assert live.post("/v1/plan", body, "multipart/form-data" + boundary).code == "malformed-request"


def test_random_forms(live: Live) -> None:
    body, content_type = multipart_body(REQUEST, {"now": NOW})
    dice = random.Random(0)
    for _ in range(40):
        data = bytearray(body)
        for _ in range(dice.randrange(1, 20)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        answer = live.post("/v1/plan", bytes(data[: dice.randrange(len(data))]), content_type)
        assert answer.status in (400, 422)


@pytest.mark.parametrize("chunked", [False, True])
def test_fifty_megabytes(live: Live, chunked: bool) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            yield b" " * 10**6

    body = pieces() if chunked else b" " * 50 * 10**6
    connection = http.client.HTTPConnection("127.0.0.1", live.running.http_port, timeout=20)
    connection.request("POST", "/v1/plan", body, JSON, encode_chunked=chunked)
    response = connection.getresponse()
    answer = http_answer(response.status, response.read())
    connection.close()
    assert (answer.code, answer.status) == ("payload-too-large", 413)


def test_a_length_that_lies(live: Live) -> None:
    status, _, data = live.http("POST", "/v1/plan", b"{}", JSON | {"Content-Length": str(10**15)})
    assert http_answer(status, data).code == "payload-too-large"


def test_a_body_that_never_comes(live: Live) -> None:
    started = time.monotonic()
    status, _, data = live.http("POST", "/v1/plan", b"{}", JSON | {"Content-Length": "100"})
    assert http_answer(status, data).code == "receive-timeout" and status == 408
    assert time.monotonic() - started < 5


def test_random_bytes_instead_of_http(live: Live) -> None:
    dice = random.Random(1)
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", live.running.http_port), timeout=5) as connection:
            connection.sendall(dice.randbytes(dice.randrange(1, 400)) + b"\r\n\r\n")


def test_clients_that_leave_at_any_moment(live: Live) -> None:
    body = json.dumps(text_payload()).encode()
    head = b"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    whole = head % len(body) + body
    dice = random.Random(2)
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", live.running.http_port), timeout=5) as connection:
            connection.sendall(whole[: dice.randrange(1, len(whole) + 1)])
