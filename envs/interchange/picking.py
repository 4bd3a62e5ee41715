"""Chooses the sensors to read from a data set: the named ones, or a default."""

from collections.abc import Mapping, Sequence
from pathlib import Path

NONE = "none"


def pick_cameras(known: Mapping[str, str], asked: Sequence[str] | None, root: Path) -> dict[str, str]:
    """The columns of the cameras that are asked for, by sensor name; None is every camera.

    Args:
        known: column of each camera that the data set has, by sensor name.
        asked: sensor names or columns.
        root: the data set, for messages.

    Raises:
        ValueError: no camera, one that is not there, or one that comes twice.
    """
    if not known:
        raise ValueError(f"{root} has no camera, that is no column of colour pictures; a store needs at least one")
    return dict(known) if asked is None else _picked("camera", known, asked, root)


def pick_vectors(
    known: Mapping[str, str], described: Sequence[str], asked: Sequence[str] | None, root: Path
) -> dict[str, str]:
    """The columns of the vector sensors that are asked for, by sensor name; None is the `described` ones, "none" none.

    Raises ValueError as `pick_cameras` does.
    """
    if asked is not None and list(asked) == [NONE]:
        return {}
    return _picked("vector", known, described if asked is None else asked, root)


def in_order(known: Mapping[str, str], first: Sequence[str]) -> dict[str, str]:
    """`known` with the names of `first` before the others."""
    return {name: known[name] for name in dict.fromkeys([*first, *known]) if name in known}


def _picked(kind: str, known: Mapping[str, str], asked: Sequence[str], root: Path) -> dict[str, str]:
    names = {column: name for name, column in known.items()}
    if unknown := [each for each in asked if each not in known and each not in names]:
        has = sorted(set(known.values()))
        raise ValueError(f"there is no {kind} {unknown[0]!r} in {root}; choose from {has} with --{kind}s")
    picked = [each if each in known else names[each] for each in asked]
    if len(set(picked)) < len(picked):
        raise ValueError(f"--{kind}s names {list(asked)}; name each {kind} once")
    return {name: known[name] for name in picked}
