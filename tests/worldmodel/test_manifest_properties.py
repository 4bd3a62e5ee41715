"""Properties of every manifest, and of any data in the place of any of its values."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.worldmodel.test_manifest import data, read
from worldmodel.errors import CheckpointError
from worldmodel.manifest import Manifest

CASES = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORDS = st.text(st.characters(codec="ascii", categories=("Lu", "Ll", "Nd")), min_size=1, max_size=8)
NUMBERS = st.floats(-1e6, 1e6)
COUNTS = st.integers(1, 64)
LENGTHS = st.floats(1e-3, 1e6)
NO_VECTOR: dict[str, Any] = {key: [] for key in ("names", "units", "low", "high", "mean", "std")}


@st.composite
def vectors(draw: st.DrawFn) -> dict[str, Any]:
    """A vector sensor; every other one has statistics."""
    entries = draw(st.lists(st.tuples(WORDS, NUMBERS, LENGTHS), min_size=1, max_size=5))
    names, low, wide = (list(each) for each in zip(*entries, strict=True))
    measured = draw(st.booleans())
    return {
        "name": draw(WORDS),
        "kind": "vector",
        "shape": [len(names)],
        "names": names,
        "units": ["rad"] * len(names),
        "low": low,
        "high": [least + width for least, width in zip(low, wide, strict=True)],
        "mean": low if measured else [],
        "std": wide if measured else [],
        "resize": "area",
        "aspect_ratio": None,
    }


CAMERAS = st.fixed_dictionaries(
    {
        "name": WORDS,
        "kind": st.just("camera"),
        "shape": st.tuples(st.integers(16, 4096), st.integers(16, 4096), st.just(3)).map(list),
        "resize": st.sampled_from(["area", "bilinear"]),
        "aspect_ratio": st.none() | st.floats(0.5, 2.0),
    }
).map(lambda camera: NO_VECTOR | camera)
MANIFESTS = st.fixed_dictionaries(
    {
        "name": WORDS,
        "version": WORDS,
        "recipe": WORDS,
        "config": st.dictionaries(WORDS, st.none() | NUMBERS | WORDS | st.lists(NUMBERS), max_size=3),
        "sensors": st.lists(CAMERAS | vectors(), min_size=1, max_size=4, unique_by=lambda sensor: sensor["name"]),
        "latent": st.fixed_dictionaries({"tokens": st.integers(1, 65536), "width": st.integers(1, 65536)}),
        "weights": st.fixed_dictionaries(
            {"sha256": WORDS, "bytes": st.integers(0, 2**53), "file": st.just("model.safetensors")}
        ),
        "action": st.just(data()["action"]),
        "planning": st.none()
        | st.fixed_dictionaries({"context_frames": COUNTS, "horizon": COUNTS, "goal_distance_scale": LENGTHS}),
        "calibration": st.none()
        | st.fixed_dictionaries(
            {
                "quantiles": st.lists(NUMBERS, min_size=2, max_size=9).map(sorted),
                "transitions": COUNTS,
                "threshold": NUMBERS,
            }
        ),
        "novelty": st.none()
        | st.fixed_dictionaries(
            {
                "sha256": WORDS,
                "bytes": st.integers(0, 2**53),
                "false_alarm_rate": st.floats(1e-3, 1.0),
                "episodes": COUNTS,
                "frames": COUNTS,
                "file": st.just("novelty.safetensors"),
            }
        ),
        "heads": st.dictionaries(
            st.from_regex("[a-v][a-z0-9_]{0,9}", fullmatch=True),
            st.fixed_dictionaries({"type": WORDS, "config": st.dictionaries(WORDS, NUMBERS, max_size=2)}),
            max_size=3,
        ),
        "parents": st.lists(st.fixed_dictionaries({"name": WORDS, "sha256": WORDS}), max_size=2),
        "task": WORDS | st.just(""),
        "training": st.dictionaries(WORDS, st.lists(NUMBERS, max_size=3), max_size=3),
        "format": st.just(2),
    }
)
# Strategies make plain data: under pytest, making a manifest draws random numbers, to look into its tuples.


@CASES
@given(MANIFESTS)
def test_any_manifest_comes_back_as_it_went(went: dict[str, Any]) -> None:
    came = read(went)
    assert json.loads(came.to_json()) == went
    assert Manifest.from_json(came.to_json()) == came


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of JSON data is, but for what is inside `config` and `training`, which are anybody's."""
    if path:
        yield path
    if path and path[-1] in ("config", "training"):
        return
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from places(value[key], (*path, key))


def changed_at(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = data()
    part: Any = changed
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return changed


EVERYWHERE = list(places(data()))
OTHER_KINDS = (None, True, 3.5, "other", [], {})
MAY_BE_NULL = ("action", "planning", "calibration", "novelty", "aspect_ratio")
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def own_kind(sensor: tuple[Any, ...]) -> str:
    """The kind of the sensor at this place."""
    return data()["sensors"][sensor[-1]]["kind"]


def kind_of(value: Any) -> str:
    """Integers are numbers: another program may write 1.0 as 1."""
    return "number" if type(value) in (int, float) else type(value).__name__


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: ".".join(map(str, path)))
def test_a_value_of_another_kind_is_refused_wherever_it_is(path: tuple[Any, ...]) -> None:
    """The message names the key, or the list that the value is in."""
    own: Any = data()
    for key in path:
        own = own[key]
    named = next(str(key) for key in reversed(path) if isinstance(key, str))
    for other in OTHER_KINDS:
        if kind_of(other) == kind_of(own) or (other is None and path[-1] in MAY_BE_NULL):
            continue
        if kind_of(other) == "number" and path[-1] == "aspect_ratio" and own_kind(path[:-1]) == "camera":
            continue
        with pytest.raises(CheckpointError, match=named):
            read(changed_at(path, other))


@CASES
@given(st.sampled_from(EVERYWHERE), JSON_VALUES)
def test_anything_anywhere_is_refused_or_comes_back(path: tuple[Any, ...], value: Any) -> None:
    """Nothing but a CheckpointError leaves the reader, and its message is fit for a terminal."""
    try:
        came = read(changed_at(path, value))
    except CheckpointError as error:
        assert str(error).isprintable() and len(str(error)) < 600, error
    else:
        assert Manifest.from_json(came.to_json()).to_json() == came.to_json()


HAVE_DEFAULTS = {"action", "planning", "calibration", "novelty", "heads", "parents", "task", "training"}
SENSORS_HAVE_DEFAULTS = {"names", "units", "low", "high", "mean", "std", "resize", "aspect_ratio"}


def may_be_left_out(path: tuple[Any, ...]) -> bool:
    in_sensor = path[0] == "sensors" and path[-1] in SENSORS_HAVE_DEFAULTS
    return path in {(key,) for key in HAVE_DEFAULTS} or in_sensor or path == ("weights", "file")


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in EVERYWHERE
        if isinstance(path[-1], str) and not may_be_left_out(path) and path[:-1] != ("heads",)
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_a_missing_key_is_named(path: tuple[Any, ...]) -> None:
    changed = data()
    part: Any = changed
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    with pytest.raises(CheckpointError, match=str(path[-1])):
        read(changed)
