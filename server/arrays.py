"""Arrays as fields of the wire schemas: nested lists where people read them, base64 where they are large."""

import base64
from typing import Annotated, Any

import numpy as np
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from telos.wire.tensors import pack, unpack

_TENSOR_SCHEMA = {
    "type": "object",
    "properties": {
        "datatype": {"enum": ["FP32", "FP64"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "data": {"type": "string", "description": "row-major little-endian bytes, base64"},
    },
    "required": ["datatype", "shape", "data"],
    "additionalProperties": False,
}
_ROWS_SCHEMA = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}


class NonFiniteError(ValueError):
    """An array holds NaN or Infinity."""


def _read_array(value: Any) -> np.ndarray:
    """A Tensor's fields or nested lists of numbers; finite. Raises ValueError."""
    if isinstance(value, np.ndarray):
        array = value
    elif isinstance(value, dict):
        array = unpack(value)
    elif isinstance(value, list):
        array = _from_lists(value)
    else:
        raise ValueError("wanted nested lists of numbers, or an object with datatype, shape and data")
    if not np.isfinite(array).all():
        raise NonFiniteError("holds a number that is not finite; every number must be")
    return array


def _from_lists(value: list[Any]) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise ValueError("lists are nested unevenly; every row needs the same length") from None
    if array.dtype.kind not in "if":
        raise ValueError("holds something else than numbers")
    return array.astype(np.float64)


def _to_tensor(array: np.ndarray) -> dict[str, Any]:
    fields = pack(array)
    return fields | {"data": base64.b64encode(fields["data"]).decode("ascii")}


ArrayIn = Annotated[np.ndarray, PlainValidator(_read_array), WithJsonSchema({"anyOf": [_ROWS_SCHEMA, _TENSOR_SCHEMA]})]
"""Accepts both forms, and arrays."""

RowsOut = Annotated[
    np.ndarray,
    PlainValidator(_read_array),
    PlainSerializer(lambda array: array.tolist(), when_used="json"),
    WithJsonSchema(_ROWS_SCHEMA),
]
"""Nested lists in JSON."""

TensorOut = Annotated[
    np.ndarray,
    PlainValidator(_read_array),
    PlainSerializer(_to_tensor, when_used="json"),
    WithJsonSchema(_TENSOR_SCHEMA),
]
"""Datatype, shape and base64 in JSON."""
