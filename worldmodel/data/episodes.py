"""Reads episode stores (the format is written down in envs/EPISODE_FORMAT.md) and cuts training windows from them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from jaxtyping import Float

from worldmodel.clips import Windows, frames_spanned
from worldmodel.errors import DatasetError

FORMAT = 1
DESCRIPTION = {
    "image": ("height_px", "width_px", "camera"),
    "action": ("names", "units", "low", "high"),
    "features": ("names",),
}
"""What is read of dataset.json, besides `dt_s` and `env_id`."""


@dataclass(frozen=True)
class Episode:
    """Where one episode lies: its shard, its first row there, and its number of frames."""

    shard: int
    start: int
    frames: int
    id: int


class _Shard:
    """One open file; its datasets are looked up once, which costs more than reading a row."""

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
        self.frames, self.actions, self.features = rows["frames"], rows["actions"], rows["features"]
        self.twins = rows.get("twins")


class EpisodeStore:
    """One or more folders of HDF5 shards. Unfinished shards, left by a killed collection, are not seen."""

    def __init__(self, *folders: Path) -> None:
        """Raises DatasetError when a folder is not a readable store, or they are not of the same robot and camera."""
        self.folders = folders
        self.descriptions = [_read_description(folder) for folder in folders]
        for folder, description in zip(folders, self.descriptions, strict=True):
            _check_alike(folders[0], self.description, folder, description)
        row_shapes = {
            "frames": (self.image_px, self.image_px, 3),
            "actions": (len(self.description["action"]["names"]),),
            "features": (len(self.description["features"]["names"]),),
        }
        if self.has_twins:
            row_shapes["twins"] = row_shapes["frames"]
        self._shards = [_Shard(path, row_shapes) for folder in folders for path in _shard_paths(folder)]
        self.episodes: list[Episode] = []
        for index, shard in enumerate(self._shards):
            starts = np.cumsum(shard.lengths) - shard.lengths
            self.episodes += [
                Episode(index, int(start), int(length), int(id_))
                for start, length, id_ in zip(starts, shard.lengths, shard.ids, strict=True)
            ]

    def __reduce__(self) -> tuple[type["EpisodeStore"], tuple[Path, ...]]:
        """Open files do not travel: a process that is given a store opens it for itself."""
        return EpisodeStore, self.folders

    @property
    def name(self) -> str:
        """The folders, for people."""
        return " + ".join(map(str, self.folders))

    @property
    def description(self) -> dict[str, Any]:
        """What the folders agree on, as the first one's dataset.json has it."""
        return self.descriptions[0]

    @property
    def image_px(self) -> int:
        """Pixels a side of the square frames."""
        return int(self.description["image"]["height_px"])

    @property
    def has_twins(self) -> bool:
        """Whether there is a second picture of every frame, of the same state in another world."""
        return all(_twin_factors(description) for description in self.descriptions)

    @cached_property
    def action_limits(self) -> Float[np.ndarray, "2 x"]:
        """Lowest and highest action, in physical units."""
        action = self.description["action"]
        return np.asarray([action["low"], action["high"]], dtype=np.float32)

    def frames(self, episode: Episode, start: int, count: int, skip: int) -> np.ndarray:
        """RGB uint8 [count h w 3]: rows start, start + skip, … of the episode. Raises IndexError beyond its end."""
        first = _first_row(episode, start, start + (count - 1) * skip)
        return _images(self._shards[episode.shard].frames, first, count, skip)

    def twins(self, episode: Episode, start: int, count: int, skip: int) -> np.ndarray:
        """The second pictures of `frames`, alike; of a store that `has_twins`."""
        first = _first_row(episode, start, start + (count - 1) * skip)
        twins = self._shards[episode.shard].twins
        assert twins is not None
        return _images(twins, first, count, skip)

    def actions(self, episode: Episode, start: int, count: int) -> Float[np.ndarray, "count x"]:
        """Actions of control steps start..start+count-1, scaled to [-1, 1] by the limits. The last frame has none."""
        first = _first_row(episode, start, start + count)
        low, high = self.action_limits
        raw = self._shards[episode.shard].actions[first : first + count]
        return (2 * (raw - low) / (high - low) - 1).astype(np.float32)

    def features(self, episode: Episode, start: int, count: int, skip: int) -> np.ndarray:
        """Simulator truth that probes regress, float32 [count f]."""
        first = _first_row(episode, start, start + (count - 1) * skip)
        return np.asarray(self._shards[episode.shard].features[first : first + (count - 1) * skip + 1])[::skip]

    def split(self, held_out: float, seed: int) -> tuple[list[Episode], list[Episode]]:
        """Training and held-out episodes, drawn by episode. The same seed gives the same split."""
        order = np.random.default_rng(seed).permutation(len(self.episodes))
        count = max(1, round(held_out * len(order)))
        if count >= len(order):
            raise DatasetError(f"{self.name} holds {len(order)} episode(s); two or more are needed to hold one out")
        return [self.episodes[i] for i in sorted(order[count:])], [self.episodes[i] for i in sorted(order[:count])]


class WindowSampler:
    """Uniform random windows over episodes: a pure function of (seed, step), so a resumed training sees the same."""

    def __init__(
        self,
        store: EpisodeStore,
        episodes: list[Episode],
        *,
        clip_frames: int,
        control_steps: int,
        twins: bool = False,
    ) -> None:
        """Raises DatasetError where no episode is long enough, or `twins` are wanted of a store that has none."""
        if twins and not store.has_twins:
            raise DatasetError(
                f"{store.name} has no twins of some frames, which twin_weight wants; collect with --twins looks,camera"
            )
        self.store = store
        self.twins = twins
        self.clip_frames = clip_frames
        self.control_steps = control_steps
        span = frames_spanned(clip_frames, control_steps)
        self.episodes = [episode for episode in episodes if episode.frames >= span]
        if not self.episodes:
            raise DatasetError(f"no episode has {span} frames, the length of one window of {clip_frames} model steps")
        self._ends = np.cumsum([episode.frames - span + 1 for episode in self.episodes])

    def __len__(self) -> int:
        """Different windows there are."""
        return int(self._ends[-1])

    def sample(self, size: int, seed: int, step: int, part: tuple[int, int] = (0, 1)) -> Windows:
        """`size` windows for training step `step`; with `part` (k, n) only the k-th of n equal shares of them."""
        picks = np.sort(np.random.default_rng((seed, step)).integers(len(self), size=size))
        return self.collate([self._locate(int(pick)) for pick in np.split(picks, part[1])[part[0]]])

    def collate(self, places: list[tuple[Episode, int]]) -> Windows:
        """The windows that begin at these places: an episode, and a frame of it."""
        frames = np.stack([self.store.frames(e, start, self.clip_frames, self.control_steps) for e, start in places])
        steps = self.clip_frames - 1
        actions = np.stack([self.store.actions(e, start, steps * self.control_steps) for e, start in places])
        twins = None
        if self.twins:
            drawn = [self.store.twins(e, start, self.clip_frames, self.control_steps) for e, start in places]
            twins = torch.from_numpy(np.stack(drawn))
        return Windows(torch.from_numpy(frames), torch.from_numpy(actions.reshape(len(places), steps, -1)), twins)

    def _locate(self, pick: int) -> tuple[Episode, int]:
        index = int(np.searchsorted(self._ends, pick, side="right"))
        return self.episodes[index], pick - (int(self._ends[index - 1]) if index else 0)


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not path.is_file():
        raise DatasetError(f"{folder} has no dataset.json; wanted an episode store as made by: telos collect")
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
    image, action = description["image"], description["action"]
    if image["height_px"] != image["width_px"]:
        raise DatasetError(f"{path}: images are {image['height_px']} x {image['width_px']} px; wanted square ones")
    try:
        limits = np.asarray([action["low"], action["high"]], np.float64)
        float(description["dt_s"])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: action.low, action.high and dt_s must be numbers: {error}") from error
    columns = len(action["names"])
    if limits.shape != (2, columns) or not np.isfinite(limits).all() or not (limits[0] < limits[1]).all():
        raise DatasetError(f"{path}: action wants finite limits with low < high for each column; given {action}")
    return description


def _check_alike(first: Path, wanted: dict[str, Any], folder: Path, given: dict[str, Any]) -> None:
    """Raises DatasetError when a model could not learn from both."""
    for key in (*DESCRIPTION, "dt_s", "env_id"):
        if given.get(key) != wanted.get(key):
            raise DatasetError(
                f"{folder} has {key} {given.get(key)}, {first} has {wanted.get(key)}; give stores of the same robot, "
                "camera and control rate"
            )


def _shard_paths(folder: Path) -> list[Path]:
    if paths := sorted(folder.glob("shard-*.h5")):
        return paths
    raise DatasetError(f"{folder} holds no finished shard (shard-*.h5); collect episodes first: telos collect --help")


def _twin_factors(description: dict[str, Any]) -> Sequence[str]:
    collection = description.get("collection")
    return collection.get("twin_factors", ()) if isinstance(collection, dict) else ()


def _first_row(episode: Episode, start: int, last: int) -> int:
    if start < 0 or last >= episode.frames:
        raise IndexError(f"frames {start}..{last} are not all in episode {episode.id} of {episode.frames} frames")
    return episode.start + start


def _images(rows: h5py.Dataset, first: int, count: int, skip: int) -> np.ndarray:
    """One chunk an image: reading one by one is a hundred times faster than HDF5's strided selection."""
    return np.stack([rows[row] for row in range(first, first + count * skip, skip)])


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise KeyError(f"{name} is a group; wanted a dataset")
    return dataset
