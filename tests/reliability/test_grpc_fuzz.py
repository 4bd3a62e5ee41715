"""Bytes and messages from nowhere over gRPC (3): refused with a reason, and never a failure of the server."""

import gzip
import math
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message
from tests.reliability.report import Measure
from tests.reliability.server_process import ServerProcess, server_process
from tests.server.live import MODEL, anomaly_payload, plan_payload

pytestmark = pytest.mark.reliability(3)

PLANNER = pb.DESCRIPTOR.services_by_name["Planner"]
UNARY = {method.name: method for method in PLANNER.methods if not method.client_streaming}
STREAMS = {method.name: method for method in PLANNER.methods if method.client_streaming}
OTHERS = ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]
REFUSED = {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
FITTING = REFUSED | {"OK", "NOT_FOUND", "FAILED_PRECONDITION", "ABORTED", "ALREADY_EXISTS", "DEADLINE_EXCEEDED"}
"""For messages that may make sense by chance: then other refusals are right too, and plans."""
RECEIVE_TIMEOUT_S = 2.0
CASES = [pytest.param(40, id="40 cases"), pytest.param(1000, id="1000 cases", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def server(checkpoints: Path) -> Iterator[ServerProcess]:
    limits = {"max_samples": 64, "max_iterations": 3, "max_planning_budget_ms": 500}
    with server_process(checkpoints, receive_timeout_s=RECEIVE_TIMEOUT_S, header_timeout_s=1, **limits) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options) as opened:
        yield opened


@pytest.fixture(autouse=True)
def the_next_robot_is_served(channel: grpc.Channel) -> Iterator[None]:
    yield
    assert status_of(channel, "Plan", good_plan()) == "OK"


def good_plan(**changes: Any) -> bytes:
    small = {"num_samples": 9, "num_elites": 2, "max_iterations": 1, "seed": 7}
    return to_message(pb.PlanRequest, plan_payload(planner=small) | changes).SerializeToString()


def path_of(method: str) -> str:
    return method if method.startswith("/") else f"/{PLANNER.full_name}/{method}"


def status_of(channel: grpc.Channel, method: str, *messages: bytes, **options: Any) -> str:
    """How a call with these messages ended. A refusal says why, in a form that programs read, and nothing of us."""
    try:
        for _ in channel.stream_stream(path_of(method))(iter(messages), timeout=20, **options):
            pass
    except grpc.RpcError as error:
        _check_refusal(error)
        return error.code().name  # type: ignore[attr-defined]
    return "OK"


def _check_refusal(error: Any) -> None:
    text = str(error.details())
    assert "Traceback" not in text and ".py" not in text and "Exception" not in text, text
    rich = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if rich is not None:
        status = status_pb2.Status.FromString(rich)
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info) and info.reason and len(rich) < 8000


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("method", [*UNARY, *STREAMS, *OTHERS])
def test_random_bytes(channel: grpc.Channel, method: str, cases: int) -> None:
    dice = random.Random(method)
    for _ in range(cases):
        data = b"\xff" + dice.randbytes(dice.randrange(0, 300))  # no message begins like this
        assert status_of(channel, method, data) in REFUSED, data


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("method", UNARY)
def test_flipped_bits(channel: grpc.Channel, method: str, cases: int) -> None:
    dice = random.Random(method)
    whole = GOOD[method]()
    for _ in range(cases):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        assert status_of(channel, method, bytes(data)) in FITTING, bytes(data)


GOOD: dict[str, Callable[[], bytes]] = dict.fromkeys(UNARY, good_plan) | {
    "ScoreAnomaly": lambda: to_message(pb.AnomalyRequest, anomaly_payload()).SerializeToString(),
    "Encode": lambda: to_message(
        pb.EncodeRequest, {"model": {"name": MODEL}, "observations": plan_payload()["context"][:1]}
    ).SerializeToString(),
}


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize("method", [*UNARY, *STREAMS])
def test_messages_of_extremes(channel: grpc.Channel, method: str, cases: int) -> None:
    """Right by the proto, wrong by everything else: also of fields that this test knows nothing of."""
    dice = random.Random(method)
    for _ in range(cases):
        data = extreme((UNARY | STREAMS)[method].input_type, dice, 4).SerializeToString()
        assert status_of(channel, method, data) in FITTING, data


def extreme(kind: Descriptor, dice: random.Random, depth: int) -> Message:
    message = kind._concrete_class()
    for field in kind.fields:
        if dice.random() < 0.4 or (field.message_type is not None and depth == 0):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(getattr(message, field.name), field.message_type.fields_by_name["value"], dice, depth)
        elif field.is_repeated:
            getattr(message, field.name).extend([_extreme_value(field, dice, depth) for _ in range(dice.randrange(3))])
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(_extreme_value(field, dice, depth))
        else:
            setattr(message, field.name, _extreme_value(field, dice, depth))
    return message


def _fill_map(entries: Any, of_value: FieldDescriptor, dice: random.Random, depth: int) -> None:
    for name in dice.sample(["", "top", "\0", "a/../b", "ﷺ" * 99, "x" * 10_000], dice.randrange(3)):
        if of_value.message_type is not None:
            entries[name].CopyFrom(extreme(of_value.message_type, dice, depth - 1))
        else:
            entries[name] = _extreme_value(of_value, dice, depth)


def _extreme_value(field: FieldDescriptor, dice: random.Random, depth: int) -> Any:
    if field.message_type is not None:
        return extreme(field.message_type, dice, depth - 1)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return dice.randbytes(dice.randrange(99))
    if field.name == "name" and dice.random() < 0.7:
        return MODEL  # to get past the first question
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return dice.choice(["", "x", "default", MODEL, "\0", "a/../b", "ﷺ" * 99, "x" * 10_000])
        case FieldDescriptor.CPPTYPE_BOOL:
            return dice.random() < 0.5
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return dice.choice([math.nan, math.inf, -math.inf, 5e-324, 1e308, -1e308, -0.0, 0.5])
        case FieldDescriptor.CPPTYPE_FLOAT:
            return dice.choice([math.nan, math.inf, -math.inf, 1e-45, 3e38, -0.0, 0.5])
        case FieldDescriptor.CPPTYPE_INT32:
            return dice.choice([0, 1, -1, 2**31 - 1, -(2**31)])
        case FieldDescriptor.CPPTYPE_INT64:
            return dice.choice([0, 1, -1, 2**53, 2**63 - 1, -(2**63)])
        case FieldDescriptor.CPPTYPE_UINT32:
            return dice.choice([0, 1, 2**32 - 1])
        case FieldDescriptor.CPPTYPE_UINT64:
            return dice.choice([0, 1, 2**53, 2**64 - 1])
        case FieldDescriptor.CPPTYPE_ENUM:
            return dice.choice([0, 1, 2, 999, -1])
    raise AssertionError(f"no extremes are known for {field.full_name}")


TENSORS: dict[str, dict[str, Any]] = {
    "a product that overflows": {"datatype": "FP64", "shape": [2**62, 2**62, 4], "data": b""},
    "a product that is right by overflow": {"datatype": "FP64", "shape": [2**32, 2**32], "data": b""},
    "negative sides": {"datatype": "FP64", "shape": [-5, -2], "data": bytes(80)},
    "another type": {"datatype": "BYTES", "shape": [5, 2], "data": bytes(80)},
    "not a number": {"datatype": "FP64", "shape": [5, 2], "data": struct.pack("<10d", *[math.nan] * 10)},
    "a million axes": {"datatype": "FP64", "shape": [1] * 10**6, "data": bytes(8)},
}


@pytest.mark.parametrize("tensor", TENSORS)
def test_shapes_that_lie(channel: grpc.Channel, tensor: str) -> None:
    assert status_of(channel, "Plan", good_plan(action_history=[TENSORS[tensor]])) == "INVALID_ARGUMENT"


@pytest.mark.parametrize("method", [*UNARY, *STREAMS])
@pytest.mark.parametrize("depth", [200, 100_000])
def test_nesting(channel: grpc.Channel, method: str, depth: int) -> None:
    groups = b"\x93\x4e" * depth + b"\x94\x4e" * depth  # of field 1250, which no message has
    assert status_of(channel, method, groups) in REFUSED


@pytest.mark.parametrize("method", [*UNARY, *STREAMS, *OTHERS])
def test_a_message_of_17_mebibytes(server: ServerProcess, channel: grpc.Channel, method: str, measure: Measure) -> None:
    before = server.rss_bytes()
    assert status_of(channel, method, bytes(17 * 2**20)) == "RESOURCE_EXHAUSTED"
    measure(f"memory after 17 MiB to {method}", (server.rss_bytes() - before) / 2**20, at_most=24, unit="MiB")


def test_what_is_compressed_is_not_inflated(server: ServerProcess, channel: grpc.Channel) -> None:
    """1 MiB of gzip can be 1 GiB of zeros; the limit on messages is of what comes in."""
    assert len(gzip.compress(bytes(2**24))) < 20_000
    before = server.rss_bytes()
    status = status_of(channel, "Plan", bytes(2**24 - 99), compression=grpc.Compression.Gzip)
    assert status == "UNIMPLEMENTED"
    assert server.rss_bytes() - before < 12 * 2**20


@pytest.mark.parametrize("method", UNARY)
def test_no_message_at_all(channel: grpc.Channel, method: str) -> None:
    assert status_of(channel, method) == "INVALID_ARGUMENT"


def test_a_message_that_never_comes(channel: grpc.Channel, measure: Measure) -> None:
    never = threading.Event()

    def silence() -> Iterator[bytes]:
        never.wait(30)
        yield b""

    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.stream_stream(path_of("Plan"))(silence(), timeout=20))
    never.set()
    assert caught.value.code().name == "DEADLINE_EXCEEDED" and "did not arrive" in caught.value.details()
    measure("a gRPC message that never comes is given up", time.monotonic() - began, at_most=10, unit="s")


@pytest.mark.parametrize("method", STREAMS)
def test_ten_thousand_messages_in_one_stream(channel: grpc.Channel, method: str) -> None:
    kind = STREAMS[method].input_type._concrete_class
    for message in (b"", kind().SerializeToString(), good_plan()):
        assert status_of(channel, method, *[message] * 10_000) in FITTING - {"OK"}


def test_bytes_that_are_no_http2(server: ServerProcess) -> None:
    dice = random.Random(0)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for index in range(100):
        with socket.create_connection(("127.0.0.1", server.grpc_port), timeout=5) as connection:
            frames = dice.randbytes(dice.randrange(1, 2000))
            connection.sendall(preface * (index % 2) + frames)


def test_connections_that_say_nothing_are_closed(server: ServerProcess, measure: Measure) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.grpc_port), timeout=5) for _ in range(50)]
    names = {connection.getsockname() for connection in silent}
    began = time.monotonic()
    while names & server.peers(server.grpc_port) and time.monotonic() - began < 20:
        time.sleep(0.1)
    took_s = time.monotonic() - began
    for connection in silent:
        connection.close()
    measure("gRPC connections without a handshake closed", took_s, at_most=10, unit="s")
