"""Parts of all schemas: the strict base class, and the ranges of single values."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from telos.wire.tensors import unbase64

MAX_SAFE_INTEGER = 2**53 - 1
"""Largest whole number that JSON readers with doubles read exactly."""

MOST_SENSORS = 16
"""Most sensors of one observation."""

V = TypeVar("V")


def _few(value: Any) -> Any:
    """Refuse too many sensors before any entry is read. Raises ValueError."""
    if isinstance(value, Mapping) and len(value) > MOST_SENSORS:
        raise ValueError(f"holds {len(value)} sensors; at most {MOST_SENSORS} are taken")
    return value


Name = Annotated[str, Field(min_length=1, max_length=128)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Index = Annotated[int, Field(ge=0, le=2**31 - 1)]
Counter = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]
Microseconds = Annotated[int, Field(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
LatentDistance = Annotated[float, Field(ge=0, le=1e3)]
"""Latent distance; 1 is the distance of unrelated frames."""
BySensor = Annotated[dict[str, V], Field(max_length=MOST_SENSORS), BeforeValidator(_few)]
"""Values by sensor name. A later check compares the names with the model's sensors."""
Encoded = Annotated[
    bytes,
    BeforeValidator(unbase64),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


class Wire(BaseModel):
    """Strict: unknown fields, wrong types and numbers that are not finite are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
    )
