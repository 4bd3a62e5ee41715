"""Observations, checked against a model's sensors before anything is sent."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from telos.images import ImageLike, checked_image, described
from telos.replies import ModelInfo, SensorInfo
from telos.requests import Observation, ObservationLike


def observed(seen: ObservationLike, model: ModelInfo) -> Observation:
    """`seen` with its images by camera and its vectors as float64, all copied because cameras reuse their memory.

    Raises ValueError that names the sensor that is missing, surplus, not an image, or of another shape.
    """
    given = seen if isinstance(seen, Observation) else Observation(seen)
    images = _by_camera(given.images, model)
    _check_names(model, images, given.arrays)
    return replace(
        given,
        images={name: _image(image, name) for name, image in images.items()},
        arrays={sensor.name: _vector(given.arrays[sensor.name], sensor) for sensor in _vectors(model)},
    )


@contextmanager
def errors_at(place: str) -> Iterator[None]:
    """Put `place`, such as `context[0]`, in front of the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _image(image: ImageLike, camera: str) -> ImageLike:
    with errors_at(f"camera {camera}"):
        checked = checked_image(image)
    return checked if isinstance(checked, bytes) else checked.copy()


def _by_camera(images: ImageLike | Mapping[str, ImageLike], model: ModelInfo) -> Mapping[str, ImageLike]:
    if isinstance(images, Mapping):
        return images
    if len(model.cameras) != 1:
        sensors = _listed(sensor.name for sensor in model.sensors)
        given = "one image" if isinstance(images, np.ndarray | bytes) else described(images)
        raise ValueError(f"given {given}; {model.name} has {sensors}: give an Observation with all of them")
    return {model.cameras[0].name: images}


def _check_names(model: ModelInfo, images: Mapping[str, object], arrays: Mapping[str, object]) -> None:
    if not isinstance(arrays, Mapping):
        raise ValueError(f"arrays is {described(arrays)}; wanted a dictionary of readings by sensor name")
    cameras, vectors = ({sensor.name for sensor in kind} for kind in (model.cameras, _vectors(model)))
    missing = [*(cameras - images.keys()), *(vectors - arrays.keys())]
    surplus = [*(images.keys() - cameras), *(arrays.keys() - vectors)]
    if missing or surplus:
        wrong = [f"{noun} {_listed(names)}" for noun, names in (("missing", missing), ("surplus", surplus)) if names]
        wanted = f"{model.name} wants the images {_listed(cameras)} and the arrays {_listed(vectors)}"
        raise ValueError(f"sensors are {' and '.join(wrong)}; {wanted}, all of them and no other")


def _vector(value: ArrayLike, sensor: SensorInfo) -> np.ndarray:
    wanted = f"wanted {list(sensor.shape)}: {', '.join(sensor.names)}"
    try:
        reading = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sensor {sensor.name} is {described(value)}: {error}; {wanted}") from error
    if reading.shape != sensor.shape:
        given = "is None" if value is None else f"has shape {list(reading.shape)}"
        raise ValueError(f"sensor {sensor.name} {given}; {wanted}")
    return reading


def _vectors(model: ModelInfo) -> list[SensorInfo]:
    return [sensor for sensor in model.sensors if sensor.kind != "camera"]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
