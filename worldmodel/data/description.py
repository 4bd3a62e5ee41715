"""dataset.json of an episode store, checked (envs/EPISODE_FORMAT.md): what the numbers in its shards mean."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.errors import CheckpointError, DatasetError
from worldmodel.json_values import field_values
from worldmodel.observation import SensorSpec

FORMAT = 2
DESCRIPTION = {"action": ("names", "units", "low", "high"), "features": ("names",)}
"""Objects of dataset.json, with the keys that are read from each, besides `sensors`, `dt_s` and `env_id`."""


def read_description(folder: Path) -> dict[str, Any]:
    """The store's dataset.json. Raises DatasetError when it is missing, of another format or not complete."""
    path = folder / "dataset.json"
    if (folder / "meta" / "info.json").is_file():
        raise DatasetError(
            f"{folder} is a LeRobot data set; import it first: telos data import {folder} --out data/{folder.name}"
        )
    if not path.is_file():
        raise DatasetError(
            f"{folder} has no dataset.json; wanted an episode store made by telos collect or telos data import"
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}; collect again") from error
    given = description.get("format") if isinstance(description, dict) else type(description).__name__
    if given != FORMAT:
        raise DatasetError(f"{path} says format {given!r}; this build reads format {FORMAT}")
    for part, keys in DESCRIPTION.items():
        found = description.get(part)
        if missing := [key for key in keys if not isinstance(found, dict) or key not in found]:
            raise DatasetError(f"{path} lacks {part}.{missing[0]}; collect again with this build")
    if not isinstance(description.get("sensors"), list) or not description["sensors"]:
        raise DatasetError(f"{path} lacks sensors; collect again with this build")
    _check_numbers(path, description)
    return description


def _check_numbers(path: Path, description: dict[str, Any]) -> None:
    action = description["action"]
    try:
        limits = np.asarray([action["low"], action["high"]], np.float64)
        float(description["dt_s"])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: action.low, action.high and dt_s must be numbers: {error}") from error
    columns = len(action["names"])
    if limits.shape != (2, columns) or not np.isfinite(limits).all() or not (limits[0] < limits[1]).all():
        raise DatasetError(f"{path}: action wants finite limits with low < high for each column; given {action}")


def check_alike(first: Path, wanted: dict[str, Any], folder: Path, given: dict[str, Any]) -> None:
    """Raises DatasetError when a model could not learn from both stores."""
    for key in (*DESCRIPTION, "sensors", "dt_s", "env_id"):
        if given.get(key) != wanted.get(key):
            raise DatasetError(
                f"{folder} has {key} {given.get(key)}, {first} has {wanted.get(key)}; give stores of the same robot, "
                "sensors and control rate"
            )


def described_sensors(folder: Path, description: dict[str, Any]) -> tuple[SensorSpec, ...]:
    """Every sensor of the store. Raises DatasetError when one is not complete, or two have the same name."""
    sensors = tuple(_sensor(each, f"sensors[{index}]", folder) for index, each in enumerate(description["sensors"]))
    _check_once([sensor.name for sensor in sensors], f"{folder}/dataset.json: sensors")
    return sensors


def chosen_sensors(known: tuple[SensorSpec, ...], names: Sequence[str] | None) -> tuple[SensorSpec, ...]:
    """The sensors called `names`, in that order; all of them for None.

    Raises DatasetError for a name that the store lacks or that is given twice.
    """
    if names is None:
        return known
    by_name = {sensor.name: sensor for sensor in known}
    if missing := [name for name in names if name not in by_name]:
        raise DatasetError(f"the store has no sensor {missing[0]!r}; it has {', '.join(by_name)}")
    _check_once(names, "chosen sensors")
    return tuple(by_name[name] for name in names)


def twin_factors(description: dict[str, Any]) -> Sequence[str]:
    """Factors in which the twins of the store's frames may differ; empty for a store without twins."""
    collection = description.get("collection")
    return collection.get("twin_factors", ()) if isinstance(collection, dict) else ()


def _check_once(names: Sequence[str], where: str) -> None:
    if not names or max(Counter(names).values()) > 1:
        raise DatasetError(f"{where} are {list(names)}; wanted one or more, each once")


def _sensor(data: Any, where: str, folder: Path) -> SensorSpec:
    if not isinstance(data, dict):
        raise DatasetError(f"{folder}/dataset.json: {where} is {type(data).__name__}; wanted an object")
    try:
        return SensorSpec(**field_values(SensorSpec, data, where))
    except (CheckpointError, TypeError) as error:
        raise DatasetError(f"{folder}/dataset.json: {error}; collect again with this build") from error
