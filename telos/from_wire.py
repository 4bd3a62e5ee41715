"""From dictionaries of the wire to dataclasses and arrays."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from telos.errors import TelosError
from telos.wire.tensors import unpack

T = TypeVar("T")
R = TypeVar("R", covariant=True)


class FromPayload(Protocol[R]):
    """A class that is made from a dictionary of the wire."""

    def from_payload(self, data: Mapping[str, Any], /) -> R:
        """Raises KeyError, TypeError, ValueError or AttributeError for a dictionary of something else."""
        ...


def read(kind: FromPayload[R], payload: Mapping[str, Any]) -> R:
    """Raises TelosError (`unreadable-reply`) when what came is not what was asked for."""
    try:
        return kind.from_payload(payload)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TelosError("unreadable-reply", f"the reply lacks something or has it wrong: {error!r}") from error


def known(kind: type[T], data: Mapping[str, Any]) -> T:
    """Only the fields that this client knows: a newer server may say more."""
    names = (field.name for field in dataclasses.fields(kind))  # type: ignore[arg-type]
    return kind(**{n: tuple(data[n]) if isinstance(data[n], list) else data[n] for n in names if n in data})


def array(value: Any) -> np.ndarray:
    """A Tensor's fields, or nested lists of numbers."""
    return unpack(value) if isinstance(value, Mapping) else np.asarray(value, dtype=np.float64)
