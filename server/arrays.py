"""Arrays as fields of the wire schemas: nested lists where people read them, base64 where they are large."""

import base64
import math
from typing import Annotated, Any

import numpy as np
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from telos.wire.tensors import pack, unpack

MOST_READING_NUMBERS = 4096
"""Most numbers in one sensor's reading, the same as in a model's specification of a sensor."""

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
_VECTOR_SCHEMA = {"type": "array", "items": {"type": "number"}, "maxItems": MOST_READING_NUMBERS}


class NonFiniteError(ValueError):
    """An array holds NaN or Infinity."""


def _read_array(value: Any) -> np.ndarray:
    """Array from the fields of a Tensor or nested lists of numbers. Raises ValueError; all numbers must be finite."""
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


def _read_reading(value: Any) -> np.ndarray:
    """Array of one sensor's reading, refused before it is parsed when it is too large. Raises ValueError."""
    if _is_beyond(value, MOST_READING_NUMBERS):
        raise ValueError(f"holds more than {MOST_READING_NUMBERS} numbers; no sensor of a model has so many")
    return _read_array(value)


def _is_beyond(value: Any, most: int) -> bool:
    """True if an array, a Tensor's fields or nested lists have more than `most` entries."""
    if isinstance(value, np.ndarray):
        return value.size > most
    if isinstance(value, dict):
        shape = value.get("shape")
        return isinstance(shape, list) and all(type(n) is int for n in shape[:8]) and math.prod(shape[:8]) > most
    waiting, entries = [value], 0
    while waiting and entries <= most:
        if isinstance(item := waiting.pop(), list):
            entries += len(item)
            waiting.extend(item[: most + 1])
    return entries > most


def _from_lists(value: list[Any]) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise ValueError("lists are nested unevenly; every row needs the same length") from None
    if array.dtype.kind not in "if":
        raise ValueError("holds something other than numbers")
    return array.astype(np.float64)


def _to_tensor(array: np.ndarray) -> dict[str, Any]:
    fields = pack(array)
    return fields | {"data": base64.b64encode(fields["data"]).decode("ascii")}


ArrayIn = Annotated[np.ndarray, PlainValidator(_read_array), WithJsonSchema({"anyOf": [_ROWS_SCHEMA, _TENSOR_SCHEMA]})]
"""Array in a request: nested lists, or the fields of a Tensor."""

ReadingIn = Annotated[
    np.ndarray, PlainValidator(_read_reading), WithJsonSchema({"anyOf": [_VECTOR_SCHEMA, _TENSOR_SCHEMA]})
]
"""Reading of one sensor in a request: the same forms, with at most MOST_READING_NUMBERS numbers."""

RowsOut = Annotated[
    np.ndarray,
    PlainValidator(_read_array),
    PlainSerializer(lambda array: array.tolist(), when_used="json"),
    WithJsonSchema(_ROWS_SCHEMA),
]
"""Array in a response, as nested lists in JSON."""

TensorOut = Annotated[
    np.ndarray,
    PlainValidator(_read_array),
    PlainSerializer(_to_tensor, when_used="json"),
    WithJsonSchema(_TENSOR_SCHEMA),
]
"""Array in a response, as datatype, shape and base64 in JSON."""
