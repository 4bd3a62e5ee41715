"""Checks an observation of a request against a model's sensors, and translates it.

`check_sensors` runs before any image of the request is decoded, `to_observation` afterwards.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from server import schemas
from server.digest import digest
from server.errors import Code, ServiceError, refuse
from server.validation import pointer_to
from telos import FieldError
from worldmodel import ObservationBatch, SensorError, SensorSpec, observe


def check_sensors(given: schemas.Observation, sensors: Sequence[SensorSpec], pointer: str, dt_s: float | None) -> None:
    """Check that `given`, at `pointer` in its request, has exactly the model's sensors and valid readings.

    `dt_s`, a control step, is the largest difference between the sensors' times; None, for a model without actions, is
    no limit. Raises ServiceError (validation-failed, non-finite-input, observation-stale) that names the sensors.
    """
    _check_names(given, sensors, pointer)
    for spec in sensors:
        if spec.kind != "camera":
            _check_reading(given.arrays[spec.name], spec, pointer + pointer_to("arrays", spec.name))
    _check_times(given, sensors, pointer, dt_s)


def images_of(given: schemas.Observation, sensors: Sequence[SensorSpec], pointer: str) -> dict[str, schemas.Image]:
    """The images of a checked observation by their pointers, in the order of the sensors."""
    return {pointer + pointer_to("images", name): given.images[name] for name in _names(sensors, camera=True)}


def content_key(given: schemas.Observation, sensors: Sequence[SensorSpec]) -> bytes:
    """Digest of 16 bytes, equal for observations with equal readings, at whatever time."""
    images = [[given.images[name].format, given.images[name].encoded] for name in _names(sensors, camera=True)]
    return digest([images, [given.arrays[name] for name in _names(sensors, camera=False)]])


def to_observation(
    given: schemas.Observation, sensors: Sequence[SensorSpec], pixels: Mapping[str, np.ndarray]
) -> ObservationBatch:
    """Observation of one robot (b = 1), with `pixels` by camera: uint8 [height width 3] of any size."""
    return observe(sensors, {**pixels, **given.arrays})


def _names(sensors: Sequence[SensorSpec], *, camera: bool) -> list[str]:
    return [spec.name for spec in sensors if (spec.kind == "camera") is camera]


def _check_names(given: schemas.Observation, sensors: Sequence[SensorSpec], pointer: str) -> None:
    """Raises ServiceError that names every missing and surplus sensor at once."""
    problems = [
        *_wrong_names(given.images, _names(sensors, camera=True), pointer, "images"),
        *_wrong_names(given.arrays, _names(sensors, camera=False), pointer, "arrays"),
    ]
    if problems:
        first = problems[0]
        raise ServiceError(Code.VALIDATION_FAILED, f"{first.pointer}: {first.reason}", problems)


def _wrong_names(given: Mapping[str, object], wanted: Sequence[str], pointer: str, field: str) -> Iterator[FieldError]:
    all_wanted = f"this model wants {', '.join(wanted) or 'none'} in {field}"
    for name in given:
        if name not in wanted:
            yield FieldError(pointer + pointer_to(field, name), f"is not asked for; {all_wanted}: remove it")
    for name in wanted:
        if name not in given:
            yield FieldError(pointer + pointer_to(field, name), f"is missing; {all_wanted}: send it")


def _check_reading(value: np.ndarray, spec: SensorSpec, pointer: str) -> None:
    try:
        spec.reading(value)
    except SensorError as error:
        code = Code.VALIDATION_FAILED if np.isfinite(value).all() else Code.NON_FINITE_INPUT
        raise refuse(code, pointer, error.reason) from None


def _check_times(given: schemas.Observation, sensors: Sequence[SensorSpec], pointer: str, dt_s: float | None) -> None:
    known = {spec.name for spec in sensors}
    for name, captured_us in given.capture_times_us.items():
        at = pointer + pointer_to("capture_times_us", name)
        if name not in known:
            raise refuse(Code.VALIDATION_FAILED, at, f"is of no sensor; this model has {', '.join(sorted(known))}")
        assert given.capture_time_us is not None  # the schema refused any other
        apart_us = abs(captured_us - given.capture_time_us)
        if dt_s is not None and apart_us > dt_s * 1e6:
            most = f"a control step of this model, {dt_s * 1e3:g} ms, is the most"
            reason = f"is {apart_us / 1e3:g} ms away from capture_time_us; {most}: send readings of one time"
            raise refuse(Code.OBSERVATION_STALE, at, reason)
