import random
from typing import Any

import pytest

from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message
from tests.server.live import MODEL, Live, plan_payload

REFUSALS = {"malformed-request", "validation-failed", "non-finite-input", "image-rejected", "model-not-found"}
REFUSALS |= {"model-mismatch", "session-not-found"}


def good_bytes(**changes: Any) -> bytes:
    return to_message(pb.PlanRequest, plan_payload(**changes)).SerializeToString()


@pytest.mark.parametrize("method", ["plan", "anomaly", "encode"])
def test_random_bytes(live: Live, method: str) -> None:
    dice = random.Random(0)
    for _ in range(60):
        answer = live.grpc_bytes(method, dice.randbytes(dice.randrange(0, 200)))
        assert answer.status == "INVALID_ARGUMENT" and answer.code in REFUSALS


def test_flipped_bits(live: Live) -> None:
    dice, whole = random.Random(1), good_bytes(planner={"num_samples": 9, "num_elites": 2, "max_iterations": 1})
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        answer = live.grpc_bytes("plan", bytes(data))
        assert answer.status in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"), answer
        assert answer.code in REFUSALS | {""}


def test_a_message_that_is_cut_off(live: Live) -> None:
    whole = good_bytes()
    for length in range(1, 200, 7):
        assert live.grpc_bytes("plan", whole[:length]).status == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "unknown",
    [
        pb.PlanRequest(model=pb.ModelRef.FromString(b"\x08\x01")),
        pb.PlanRequest.FromString(b"\xa2\x06\x01x"),
        pb.PlanRequest(limits=pb.ActionLimits.FromString(b"\x79" + bytes(8))),
        pb.PlanRequest(context=[{"images": {"top": pb.Image.FromString(b"\x10\x01")}}]),
    ],
)
def test_a_field_that_is_not_known_could_be_a_limit_that_is_not_kept(live: Live, unknown: pb.PlanRequest) -> None:
    answer = live.grpc_bytes("plan", good_bytes() + unknown.SerializeToString())
    assert answer.code == "validation-failed" and "is not known to this server" in answer.text


TENSORS: dict[str, dict[str, Any]] = {
    "unknown type": {"datatype": "INT8", "shape": [5, 2], "data": bytes(10)},
    "no type": {"shape": [5, 2], "data": bytes(80)},
    "too little data": {"datatype": "FP64", "shape": [5, 2], "data": bytes(79)},
    "negative shape": {"datatype": "FP64", "shape": [-5, -2], "data": bytes(80)},
    "shape that overflows": {"datatype": "FP64", "shape": [2**62, 2**62], "data": b""},
    "empty of a huge shape": {"datatype": "FP64", "shape": [0, 2**62], "data": b""},
    "too many axes": {"datatype": "FP64", "shape": [1] * 100, "data": bytes(8)},
    "no axes": {"datatype": "FP64", "shape": [], "data": bytes(8)},
    "nothing": {},
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_disagree_with_themselves(live: Live, case: str) -> None:
    answer = live.grpc("plan", plan_payload(action_history=[TENSORS[case]]))
    assert (answer.code, answer.pointers) == ("validation-failed", ("/action_history/0",))


def test_a_message_beyond_the_limit(live: Live) -> None:
    answer = live.grpc("plan", plan_payload(request_id="x" * 17 * 2**20))
    assert answer.status == "RESOURCE_EXHAUSTED"


def test_thousands_of_frames(live: Live) -> None:
    answer = live.grpc("encode", {"model": {"name": MODEL}, "observations": [{}] * 20_000})
    assert (answer.code, answer.pointers) == ("validation-failed", ("/observations",))


def test_names_that_are_long_or_strange(live: Live) -> None:
    for name in ("x" * 10**6, "\x00", "ﷺ" * 100, "a/../../b", "\u202e"):
        frames = [{"images": {name: {"encoded": b"", "format": "png"}}}]
        for payload in (plan_payload(context=frames, action_history=[]), plan_payload(model={"name": name})):
            answer = live.grpc("plan", payload)
            assert answer.code in ("validation-failed", "model-not-found") and len(answer.text) < 5000
