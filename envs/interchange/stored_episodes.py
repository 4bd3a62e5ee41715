"""Reads an episode store (EPISODE_FORMAT.md), for exports and previews."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from envs.episodes import FORMAT
from envs.interchange.source import Description, Frame, Rows
from envs.sensors import Sensor

_FRAMES_AT_ONCE = 64


class StoredEpisodes:
    """The episodes of the store in `folder`. Raises ValueError when it is not a readable one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards = sorted(folder.glob("shard-*.h5"))
        if not self._shards:
            raise ValueError(f"{folder} holds no finished shard (shard-*.h5); collect or import episodes first")
        self._said = _read_description(folder / "dataset.json")
        self.description = _describe(self._said, folder)

    @property
    def lengths(self) -> Sequence[int]:
        return [place.stop - place.start for place in self._places]

    @property
    def tasks(self) -> Sequence[str]:
        return [place.task for place in self._places]

    @property
    def origin(self) -> dict[str, Any]:
        return {"format": "telos", "name": self._folder.name}

    def rows(self) -> Iterator[Rows]:
        for path in self._shards:
            with _opened(path) as shard:
                lengths, policies = shard["lengths"][:], shard["policy"].asstr()[:]
                for index, (start, length) in enumerate(zip(np.cumsum(lengths) - lengths, lengths, strict=True)):
                    yield Rows(
                        actions=shard["actions"][start : start + length - 1],
                        state=shard["state"][start : start + length],
                        features=shard["features"][start : start + length],
                        vectors={
                            vector.name: _sensor(shard, vector.name)[start : start + length]
                            for vector in self.description.vectors
                        },
                        policy=policies[index],
                    )

    def frames(self, episode: int, camera: str) -> Iterator[Frame]:
        place = self._places[episode]
        with _opened(place.shard) as shard:
            for first in range(place.start, place.stop, _FRAMES_AT_ONCE):
                yield from _sensor(shard, camera)[first : min(first + _FRAMES_AT_ONCE, place.stop)]

    @cached_property
    def _places(self) -> list["_Place"]:
        places = []
        for path in self._shards:
            with _opened(path) as shard:
                lengths = shard["lengths"][:]
                tasks = shard["task"].asstr()[:]
                for stop, length, task in zip(np.cumsum(lengths), lengths, tasks, strict=True):
                    places.append(_Place(path, int(stop - length), int(stop), task))
        return places


@dataclass(frozen=True)
class _Place:
    """Shard and rows of an episode."""

    shard: Path
    start: int
    stop: int
    task: str


def _opened(path: Path) -> Any:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is not a readable shard: {error}; delete it and collect or import again") from error


def _sensor(shard: h5py.File, name: str) -> Any:
    dataset = shard.get(f"sensors/{name}")
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{shard.filename} lacks sensors/{name}, which dataset.json names; collect or import again")
    return dataset


def _read_description(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}; wanted an episode store") from error
    given = said.get("format") if isinstance(said, dict) else type(said).__name__
    if given != FORMAT:
        raise ValueError(f"{path} says format {given!r}; this build reads format {FORMAT}")
    return said


def _describe(said: dict[str, Any], folder: Path) -> Description:
    try:
        sensors = [Sensor.from_json(entry) for entry in said["sensors"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'dataset.json'} does not say its sensors as Telos does: {error!r}") from error
    action, state = said.get("action", {}), said.get("state", {})
    words = {
        "cameras": [sensor.name for sensor in sensors if sensor.is_camera],
        "vectors": [sensor.to_json() for sensor in sensors if not sensor.is_camera],
        "dt_s": said.get("dt_s"),
        **{f"action_{key}": action.get(key) for key in ("names", "units", "low", "high")},
        **{f"state_{key}": state.get(key) for key in ("names", "units")},
        "feature_names": said.get("features", {}).get("names"),
        "policy": said.get("policy", ""),
        "env_id": said.get("env_id", ""),
        "aspect_ratios": {each.name: each.aspect_ratio for each in sensors if each.aspect_ratio is not None},
    }
    return Description.from_json(words, str(folder / "dataset.json"))
