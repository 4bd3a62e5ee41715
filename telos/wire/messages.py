"""Translates messages into dictionaries, with the keys of the JSON API, and back."""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from telos.wire.tensors import pack

M = TypeVar("M", bound=Message)


def to_message(kind: type[M], payload: Mapping[str, Any]) -> M:
    """Dictionary to message. Arrays become Tensors; a key whose value is None is left unset."""
    return kind(**_wire(payload))


def to_payload(message: Message) -> dict[str, Any]:
    """Message to dictionary. Unset fields are left out; a Tensor stays a dictionary, for `tensors.unpack` to check."""
    fields = message.DESCRIPTOR.fields
    return {f.name: _plain(f, getattr(message, f.name)) for f in fields if not f.has_presence or message.HasField(f.name)}


def _wire(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return pack(value)
    if isinstance(value, Mapping):
        return {key: _wire(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_wire(item) for item in value]
    return value


def _plain(field: FieldDescriptor, value: Any) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        of_value = kind.fields_by_name["value"]
        return {key: _single(of_value, value[key]) for key in value}
    if field.is_repeated:
        return [_single(field, item) for item in value]
    return _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return to_payload(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named else value
    return value
