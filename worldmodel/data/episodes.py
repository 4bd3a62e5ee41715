"""Reads episode stores (the format is written down in envs/EPISODE_FORMAT.md) and cuts training clips from them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from jaxtyping import Float

from worldmodel.clips import Clips, StepTiming
from worldmodel.data.description import (
    check_alike,
    chosen_sensors,
    described_sensors,
    read_description,
    twin_factors,
)
from worldmodel.errors import DatasetError
from worldmodel.observation import SensorSpec

STD_FLOOR_SHARE = 0.01
"""Least standard deviation of a vector's entry, as a share of its range; a smaller one counts as this much."""


@dataclass(frozen=True)
class Episode:
    """The place of an episode: its shard, its first row there, and its number of frames."""

    shard: int
    start: int
    frames: int
    id: int


class _Shard:
    """One open file. Its datasets are looked up once, since a lookup costs more than reading a row."""

    def __init__(self, path: Path, row_shapes: dict[str, tuple[int, ...]]) -> None:
        try:
            file = h5py.File(path, "r")
            self.lengths, self.ids = (np.asarray(_dataset(file, name)) for name in ("lengths", "episode_id"))
            rows = {name: _dataset(file, name) for name in row_shapes}
        except (OSError, KeyError) as error:
            raise DatasetError(f"{path} is not a readable shard: {error}; delete it and collect again") from error
        count = int(self.lengths.sum())
        for name, shape in row_shapes.items():
            if rows[name].shape != (count, *shape):
                given, wanted = list(rows[name].shape), [count, *shape]
                raise DatasetError(f"{path}: {name} is {given}; {wanted} follows from dataset.json and its lengths")
        self.rows = rows


class EpisodeStore:
    """One or more folders of HDF5 shards. Unfinished shards, left by an interrupted collection, are ignored."""

    def __init__(self, *folders: Path, sensors: Sequence[str] | None = None) -> None:
        """Open the folders; of all sensors, or only `sensors`, in this order.

        Raises DatasetError when a folder is not a readable store, lacks a sensor, or they are not of the same robot.
        """
        self.folders = folders
        self._chosen = sensors
        self.descriptions = [read_description(folder) for folder in folders]
        for folder, description in zip(folders, self.descriptions, strict=True):
            check_alike(folders[0], self.description, folder, description)
        self.sensors = chosen_sensors(described_sensors(folders[0], self.description), sensors)
        """Sensors in the order of an observation."""
        row_shapes: dict[str, tuple[int, ...]] = {
            "actions": (len(self.description["action"]["names"]),),
            "features": (len(self.description["features"]["names"]),),
            **{f"sensors/{sensor.name}": sensor.shape for sensor in self.sensors},
        }
        if self.has_twins:
            row_shapes |= {f"twins/{sensor.name}": sensor.shape for sensor in self.sensors if sensor.kind == "camera"}
        self._shards = [_Shard(path, row_shapes) for folder in folders for path in _shard_paths(folder)]
        self.episodes: list[Episode] = []
        for index, shard in enumerate(self._shards):
            starts = np.cumsum(shard.lengths) - shard.lengths
            self.episodes += [
                Episode(index, int(start), int(length), int(id_))
                for start, length, id_ in zip(starts, shard.lengths, shard.ids, strict=True)
            ]

    def __reduce__(self) -> tuple[Callable[..., "EpisodeStore"], tuple[Any, ...]]:
        """Open files cannot be pickled: another process reopens the store."""
        return _reopened, (self.folders, self._chosen)

    @property
    def name(self) -> str:
        """The folders, for people."""
        return " + ".join(map(str, self.folders))

    @property
    def description(self) -> dict[str, Any]:
        """The description that the folders share, as the first one's dataset.json has it."""
        return self.descriptions[0]

    @property
    def has_twins(self) -> bool:
        """True where every camera frame has a second picture of the same state, drawn with other looks."""
        return all(twin_factors(description) for description in self.descriptions)

    @cached_property
    def action_limits(self) -> Float[np.ndarray, "2 x"]:
        """Lowest and highest action, in physical units."""
        action = self.description["action"]
        return np.asarray([action["low"], action["high"]], dtype=np.float32)

    def observations(self, episode: Episode, start: int, count: int, skip: int) -> dict[str, np.ndarray]:
        """Readings [count ...] by sensor of frames start, start + skip, …. Raises IndexError beyond the end."""
        first = _first_row(episode, start, start + (count - 1) * skip)
        rows = self._shards[episode.shard].rows
        return {sensor.name: _readings(rows, "sensors", sensor, first, count, skip) for sensor in self.sensors}

    def twins(self, episode: Episode, start: int, count: int, skip: int) -> dict[str, np.ndarray]:
        """The same as `observations`, with the cameras' second pictures; for a store that `has_twins`."""
        first = _first_row(episode, start, start + (count - 1) * skip)
        rows = self._shards[episode.shard].rows
        pictures = self.twin_pictures(episode, start, count, skip)
        return {
            sensor.name: pictures[sensor.name]
            if sensor.kind == "camera"
            else _readings(rows, "sensors", sensor, first, count, skip)
            for sensor in self.sensors
        }

    def twin_pictures(self, episode: Episode, start: int, count: int, skip: int) -> dict[str, np.ndarray]:
        """The cameras' second pictures alone, of the same rows as `observations`."""
        first = _first_row(episode, start, start + (count - 1) * skip)
        rows, cameras = self._shards[episode.shard].rows, [each for each in self.sensors if each.kind == "camera"]
        return {camera.name: _readings(rows, "twins", camera, first, count, skip) for camera in cameras}

    def actions(self, episode: Episode, start: int, count: int) -> Float[np.ndarray, "count x"]:
        """Actions of control steps start..start+count-1, scaled to [-1, 1] by the limits. The last frame has none."""
        first = _first_row(episode, start, start + count)
        low, high = self.action_limits
        raw = self._shards[episode.shard].rows["actions"][first : first + count]
        return (2 * (raw - low) / (high - low) - 1).astype(np.float32)

    def features(self, episode: Episode, start: int, count: int, skip: int) -> np.ndarray:
        """Recorded features, which probes regress, float32 [count f]."""
        first = _first_row(episode, start, start + (count - 1) * skip)
        return np.asarray(self._shards[episode.shard].rows["features"][first : first + (count - 1) * skip + 1])[::skip]

    def standardised(self, sensor: SensorSpec, episodes: list[Episode]) -> SensorSpec:
        """A vector sensor with the mean and the standard deviation of these episodes; a camera is returned unchanged.

        The deviation is at least a hundredth of the entry's range: otherwise, where an entry hardly moved in the
        recordings, a slightly misplaced sensor would give readings far from all training data.
        """
        if sensor.kind == "camera":
            return sensor
        rows = np.concatenate([self._vectors(sensor, episode) for episode in episodes]).astype(np.float64)
        least = STD_FLOOR_SHARE * (np.asarray(sensor.high) - np.asarray(sensor.low))
        std = np.maximum(rows.std(axis=0), least)
        return dataclasses.replace(sensor, mean=tuple(rows.mean(axis=0).tolist()), std=tuple(std.tolist()))

    def _vectors(self, sensor: SensorSpec, episode: Episode) -> np.ndarray:
        return _readings(self._shards[episode.shard].rows, "sensors", sensor, episode.start, episode.frames, 1)

    def split(self, held_out: float, seed: int) -> tuple[list[Episode], list[Episode]]:
        """Training and held-out episodes, drawn by episode. The same seed gives the same split."""
        order = np.random.default_rng(seed).permutation(len(self.episodes))
        count = max(1, round(held_out * len(order)))
        if count >= len(order):
            raise DatasetError(f"{self.name} holds {len(order)} episode(s); two or more are needed to hold one out")
        return [self.episodes[i] for i in sorted(order[count:])], [self.episodes[i] for i in sorted(order[:count])]


class ClipSampler:
    """Uniform random clips over episodes: a pure function of (seed, step), so a resumed training sees the same."""

    def __init__(
        self,
        store: EpisodeStore,
        episodes: list[Episode],
        *,
        clip_frames: int,
        timing: StepTiming,
        twins: bool = False,
        actions: bool = True,
    ) -> None:
        """Without `actions`, none are read, and clips have none.

        Raises DatasetError where no episode is long enough, or `twins` are wanted of a store that has none."""
        if twins and not store.has_twins:
            raise DatasetError(
                f"{store.name} has frames without twins, which twin_weight needs; collect with --twins looks,camera"
            )
        self.store = store
        self.twins = twins
        self.actions = actions
        self.clip_frames = clip_frames
        self.timing = timing
        span = timing.frames_spanned(clip_frames)
        self.episodes = [episode for episode in episodes if episode.frames >= span]
        if not self.episodes:
            raise DatasetError(f"no episode has {span} frames, the length of one clip of {clip_frames} model steps")
        self._ends = np.cumsum([episode.frames - span + 1 for episode in self.episodes])

    def __len__(self) -> int:
        """Number of different clips."""
        return int(self._ends[-1])

    def sample(self, size: int, seed: int, step: int, part: tuple[int, int] = (0, 1)) -> Clips:
        """`size` clips for training step `step`; with `part` (k, n) only the k-th of n equal shares of them."""
        picks = np.sort(np.random.default_rng((seed, step)).integers(len(self), size=size))
        return self.collate([self._locate(int(pick)) for pick in np.split(picks, part[1])[part[0]]])

    def collate(self, places: list[tuple[Episode, int]]) -> Clips:
        """The clips that begin at these places: an episode, and a frame of it."""
        skip, frames = self.timing.control_steps, self.clip_frames
        sensors = _stacked([self.store.observations(e, start, frames, skip) for e, start in places])
        pictures = [self.store.twin_pictures(e, start, frames, skip) for e, start in places] if self.twins else []
        return Clips(
            sensors,
            self._actions(places) if self.actions else None,
            {**sensors, **_stacked(pictures)} if self.twins else None,
        )

    def _actions(self, places: list[tuple[Episode, int]]) -> Float[torch.Tensor, "b steps a"]:
        skip, steps = self.timing.control_steps, self.clip_frames - 1
        actions = np.stack([self.store.actions(e, start, steps * skip) for e, start in places])
        return torch.from_numpy(actions.reshape(len(places), steps, skip * actions.shape[-1]))

    def _locate(self, pick: int) -> tuple[Episode, int]:
        index = int(np.searchsorted(self._ends, pick, side="right"))
        return self.episodes[index], pick - (int(self._ends[index - 1]) if index else 0)


def _shard_paths(folder: Path) -> list[Path]:
    if paths := sorted(folder.glob("shard-*.h5")):
        return paths
    raise DatasetError(f"{folder} holds no finished shard (shard-*.h5); collect episodes first: telos collect --help")


def _first_row(episode: Episode, start: int, last: int) -> int:
    if start < 0 or last >= episode.frames:
        raise IndexError(f"frames {start}..{last} are not all in episode {episode.id} of {episode.frames} frames")
    return episode.start + start


def _readings(
    rows: Mapping[str, h5py.Dataset], group: str, sensor: SensorSpec, first: int, count: int, skip: int
) -> np.ndarray:
    """Rows of a sensor. Images are read one by one, since each is a chunk: HDF5's strided selection is a hundred times
    slower."""
    dataset, last = rows[f"{group}/{sensor.name}"], first + (count - 1) * skip + 1
    if sensor.kind == "camera":
        return np.stack([dataset[row] for row in range(first, last, skip)])
    return np.asarray(dataset[first:last])[::skip]


def _stacked(clips: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.stack([clip[name] for clip in clips])) for name in clips[0]}


def _reopened(folders: Sequence[Path], sensors: Sequence[str] | None) -> EpisodeStore:
    return EpisodeStore(*folders, sensors=sensors)


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise KeyError(f"{name} is a group; wanted a dataset")
    return dataset
