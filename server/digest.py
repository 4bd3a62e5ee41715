"""Digests of values, to compare the contents of two requests."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def digest(value: Any) -> bytes:
    """16 bytes, equal for equal values only. Takes dictionaries, lists, arrays, bytes and plain values."""
    hasher = hashlib.blake2b(digest_size=16)
    _add(hasher, value)
    return hasher.digest()


def _add(hasher: "hashlib.blake2b", value: Any) -> None:
    if isinstance(value, Mapping):
        hasher.update(b"{%d" % len(value))
        for key in sorted(value):
            _add(hasher, key)
            _add(hasher, value[key])
    elif isinstance(value, list | tuple):
        hasher.update(b"[%d" % len(value))
        for item in value:
            _add(hasher, item)
    elif isinstance(value, np.ndarray):
        _add(hasher, [value.dtype.str, *value.shape])
        _add(hasher, value.tobytes())
    elif isinstance(value, bytes):
        hasher.update(b"b%d:" % len(value))
        hasher.update(value)
    else:
        _add(hasher, f"{type(value).__name__} {value!r}".encode())
