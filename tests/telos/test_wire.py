"""The contract itself: generated code fits the .proto, the .proto fits the schemas, arrays survive."""

import filecmp
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from server import schemas
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message, to_payload
from telos.wire.tensors import pack, unpack
from tests.server.live import plan_payload

ROOT = Path(__file__).parents[2]
PROTOS = ("telos/wire/telos.proto", "server/engine/wire/engine.proto")
STUBS = (
    "telos/wire/telos_pb2.py",
    "telos/wire/telos_pb2_grpc.py",
    "telos/wire/telos_pb2.pyi",
    "server/engine/wire/engine_pb2.py",
    "server/engine/wire/engine_pb2.pyi",
)
MESSAGES: dict[str, Descriptor] = {
    name: descriptor for name, descriptor in pb.DESCRIPTOR.message_types_by_name.items() if name != "ListModelsRequest"
}


def test_the_stubs_were_generated_from_the_protos(tmp_path: Path) -> None:
    out = [f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python", "pyi")]
    command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", "-I.", *out, *PROTOS]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    for name in STUBS:
        assert filecmp.cmp(ROOT / name, tmp_path / name, shallow=False), f"{name} is not of its .proto: make stubs"


@pytest.mark.parametrize("name", sorted(MESSAGES.keys() - {"Tensor"}))
def test_both_transports_have_the_same_fields(name: str) -> None:
    fields = {field.name: field for field in MESSAGES[name].fields}
    schema = getattr(schemas, name).model_fields
    assert set(schema) == set(fields)
    for field_name, field in schema.items():
        proto = fields[field_name]
        if not field.is_required():
            assert proto.has_presence or proto.is_repeated, f"{name}.{field_name} may be left out: make it optional"


def test_maps_survive() -> None:
    observation = {"arrays": {"joints": np.arange(3.0)}, "capture_time_us": 5, "capture_times_us": {"joints": -(2**53)}}
    again = to_payload(to_message(pb.Observation, observation))
    np.testing.assert_array_equal(unpack(again["arrays"]["joints"]), np.arange(3.0))
    assert again["capture_times_us"] == observation["capture_times_us"] and again["images"] == {}


def test_a_message_and_its_dictionary_say_the_same() -> None:
    message = to_message(pb.PlanRequest, plan_payload(warm_start=False, session_id="a", planning_budget_ms=None))
    assert to_message(pb.PlanRequest, to_payload(message)) == message
    assert not message.HasField("planning_budget_ms") and message.HasField("warm_start")


@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_arrays_survive_to_the_bit(array: np.ndarray) -> None:
    again = unpack(pack(array))
    assert again.dtype == array.dtype and again.shape == array.shape
    assert again.tobytes() == array.tobytes()


@pytest.mark.parametrize("array", [np.zeros(2, np.int64), np.zeros(2, np.float16), np.array(["a"]), np.array([None])])
def test_arrays_that_are_not_floats_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="float32 and float64"):
        pack(array)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"datatype": "FP64", "shape": [1]},
        {"datatype": "FP64", "shape": [1], "data": bytes(8), "more": 1},
        {"datatype": None, "shape": [1], "data": bytes(8)},
        {"datatype": "FP64", "shape": [True], "data": bytes(8)},
        {"datatype": "FP64", "shape": "1", "data": bytes(8)},
        {"datatype": "FP64", "shape": [1.0], "data": bytes(8)},
        {"datatype": "FP64", "shape": [1], "data": "AAA"},
        {"datatype": "FP64", "shape": [1], "data": [0] * 8},
    ],
)
def test_tensors_that_are_none_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        unpack(fields)
