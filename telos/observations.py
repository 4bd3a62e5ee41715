"""What a robot saw, checked against a model's sensors before anything is sent."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from telos.images import ImageLike
from telos.replies import ModelInfo, SensorInfo
from telos.requests import Observation, ObservationLike


def observed(seen: ObservationLike, model: ModelInfo) -> Observation:
    """`seen` with its images by camera and its vectors as float64, all of it a copy: cameras reuse their memory.

    Raises ValueError that names the sensors which are missing, surplus or of another shape.
    """
    given = seen if isinstance(seen, Observation) else Observation(seen)
    images = _by_camera(given.images, model)
    _check_names(model, images, given.arrays)
    return replace(
        given,
        images={name: image if isinstance(image, bytes) else np.array(image) for name, image in images.items()},
        arrays={sensor.name: _vector(given.arrays[sensor.name], sensor) for sensor in _vectors(model)},
    )


def _by_camera(images: ImageLike | Mapping[str, ImageLike], model: ModelInfo) -> Mapping[str, ImageLike]:
    if isinstance(images, Mapping):
        return images
    if len(model.cameras) != 1:
        sensors = _listed(sensor.name for sensor in model.sensors)
        raise ValueError(f"given one image; {model.name} has {sensors}: give an Observation with all of them")
    return {model.cameras[0].name: images}


def _check_names(model: ModelInfo, images: Mapping[str, object], arrays: Mapping[str, object]) -> None:
    cameras, vectors = ({sensor.name for sensor in kind} for kind in (model.cameras, _vectors(model)))
    missing = [*(cameras - images.keys()), *(vectors - arrays.keys())]
    surplus = [*(images.keys() - cameras), *(arrays.keys() - vectors)]
    if missing or surplus:
        wrong = [f"{noun} {_listed(names)}" for noun, names in (("missing", missing), ("surplus", surplus)) if names]
        wanted = f"{model.name} wants the images {_listed(cameras)} and the arrays {_listed(vectors)}"
        raise ValueError(f"sensors are {' and '.join(wrong)}; {wanted}, all of them and no other")


def _vector(value: ArrayLike, sensor: SensorInfo) -> np.ndarray:
    reading = np.array(value, dtype=np.float64)
    if reading.shape != sensor.shape:
        wanted = f"{list(sensor.shape)}: {', '.join(sensor.names)}"
        raise ValueError(f"sensor {sensor.name} has shape {list(reading.shape)}; wanted {wanted}")
    return reading


def _vectors(model: ModelInfo) -> list[SensorInfo]:
    return [sensor for sensor in model.sensors if sensor.kind != "camera"]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
