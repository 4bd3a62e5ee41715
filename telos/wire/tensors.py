"""Arrays on the wire: a datatype, a shape and row-major little-endian bytes. No pickle, no numpy file format."""

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_DTYPES = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
_MAX_AXES = 8


def pack(array: np.ndarray) -> dict[str, Any]:
    """Array to the fields of a Tensor. Raises ValueError for anything but 32 or 64 bit floats."""
    for datatype, dtype in _DTYPES.items():
        if array.dtype == dtype:
            data = np.ascontiguousarray(array, dtype=dtype).tobytes()
            return {"datatype": datatype, "shape": list(array.shape), "data": data}
    raise ValueError(f"array is {array.dtype}; the wire carries float32 and float64")


def unpack(fields: Mapping[str, Any]) -> np.ndarray:
    """Fields of a Tensor to an array; `data` may be bytes or base64 text. Raises ValueError for fields that disagree."""
    if set(fields) != {"datatype", "shape", "data"}:
        raise ValueError("a tensor has exactly the fields datatype, shape and data")
    dtype = _DTYPES.get(fields["datatype"]) if isinstance(fields["datatype"], str) else None
    if dtype is None:
        raise ValueError(f"tensor datatype is not known; wanted one of {sorted(_DTYPES)}")
    shape = fields["shape"]
    if not isinstance(shape, list) or len(shape) > _MAX_AXES or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"tensor shape must be a list of at most {_MAX_AXES} whole numbers, none negative")
    data = unbase64(fields["data"])
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        raise ValueError(f"tensor data has {len(data)} bytes; its datatype and shape want {min(wanted, 2**63)}")
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def unbase64(data: bytes | str) -> bytes:
    """Bytes as they are, text as standard base64. Raises ValueError."""
    if isinstance(data, bytes):
        return data
    if not isinstance(data, str):
        raise ValueError(f"given {type(data).__name__}; wanted base64 text")
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not valid base64; wanted the standard alphabet with padding and no line breaks") from error
