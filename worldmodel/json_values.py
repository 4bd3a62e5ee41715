"""Checks JSON values against the types of a dataclass's fields, before anything is built from them."""

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from worldmodel.errors import CheckpointError

LARGEST = 2**53
"""Largest magnitude of a number: beyond it, JSON readers disagree about integers."""


def field_values(cls: type, data: dict[str, Any], where: str) -> dict[str, Any]:
    """`data` with its lists as tuples, ready for `cls(**values)`.

    Raises CheckpointError for unknown keys, and when a value has another type than its field, is not finite, or holds
    control characters.
    """
    hints = get_type_hints(cls)
    if unknown := sorted(set(data) - set(hints)):
        raise CheckpointError(f"{where} has unknown keys {shown(unknown)}; this build knows {sorted(hints)}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    for key, value in values.items():
        if not _fits(value, hints[key]):
            raise CheckpointError(f"{where}: {key} is {shown(value)}; wanted {_named(hints[key])}")
    return {key: _widened(value, hints[key]) for key, value in values.items()}


def _fits(value: Any, wanted: Any) -> bool:
    origin, parts = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return True
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple and isinstance(value, tuple):
        kinds = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if wanted is float:
        return type(value) in (int, float) and -LARGEST <= value <= LARGEST  # false for NaN
    if wanted is int:
        return type(value) is int and -LARGEST <= value <= LARGEST
    if wanted is str:
        return isinstance(value, str) and value.isprintable()
    return isinstance(value, origin or wanted)


def _named(wanted: Any) -> str:
    """A field's type, for an error message."""
    if get_origin(wanted) is Literal:
        return " or ".join(map(repr, get_args(wanted)))
    return wanted.__name__ if isinstance(wanted, type) else str(wanted)


def _widened(value: Any, wanted: Any) -> Any:
    """The value with integers as floats where floats are wanted: JSON may write 1.0 as 1."""
    if wanted is float:
        return float(value)
    if get_origin(wanted) is tuple and float in get_args(wanted):
        return tuple(map(float, value))
    return value


def shown(value: Any) -> str:
    """The value escaped and short, since an error message goes to a terminal and a log."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
