"""Translates dictionaries of the wire into dataclasses and arrays."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from telos.errors import TelosError
from telos.wire.tensors import unpack

T = TypeVar("T")
R = TypeVar("R", covariant=True)


class FromPayload(Protocol[R]):
    """A class that can be made from a dictionary of the wire."""

    def from_payload(self, data: Mapping[str, Any], /) -> R:
        """Raises KeyError, TypeError, ValueError or AttributeError for a dictionary of another kind."""
        ...


def read(kind: FromPayload[R], payload: Mapping[str, Any]) -> R:
    """A reply as an object. Raises TelosError (`unreadable-reply`) when fields are missing or wrong."""
    try:
        return kind.from_payload(payload)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TelosError(
            "unreadable-reply",
            f"a field of the reply is missing or wrong: {error!r}; do server and client have the same version?",
        ) from error


def known(kind: type[T], data: Mapping[str, Any]) -> T:
    """An object of `kind`. Fields that this client does not know are ignored, since a newer server may send more."""
    names = (field.name for field in dataclasses.fields(kind))  # type: ignore[arg-type]
    return kind(**{n: tuple(data[n]) if isinstance(data[n], list) else data[n] for n in names if n in data})


def array(value: Any) -> np.ndarray:
    """Array from the fields of a Tensor, or from nested lists of numbers."""
    return unpack(value) if isinstance(value, Mapping) else np.asarray(value, dtype=np.float64)
