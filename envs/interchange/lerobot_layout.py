"""The metadata of a LeRobotDataset v3: its columns, and the place of each episode.

    meta/info.json                                   columns ("features"), frame rate, templates of the paths below
    meta/episodes/chunk-000/file-000.parquet         one row an episode: length, tasks, files, times in the videos
    data/chunk-000/file-000.parquet                  one row a frame: action, observation.state, timestamp, ...
    videos/<camera>/chunk-000/file-000.mp4           the pictures of many episodes, one after another

LeRobot's documentation describes it (lerobot-dataset-v3). A set is not trusted: its paths
must stay inside it.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

VERSION = "v3.0"
INFO, EPISODES, TASKS, STATS = "meta/info.json", "meta/episodes", "meta/tasks.parquet", "meta/stats.json"
DESCRIPTION = "meta/telos.json"
"""File for what the layout cannot express (limits, units): Telos writes and reads it, other readers ignore it."""
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = EPISODES + "/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
LARGEST_JSON_BYTES = 16 * 2**20
_CONVERTER = "python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=NAME"
_PLACE = re.compile(r"\{(chunk_index|file_index|video_key)(?::0([1-9])d)?\}")


@dataclass(frozen=True)
class Column:
    """One entry of `features` in info.json."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    names: list[str] | None

    @property
    def is_vector(self) -> bool:
        return len(self.shape) == 1 and self.dtype.startswith(("float", "int", "uint"))

    @property
    def aspect_ratio(self) -> float:
        """Width over height of a camera's pictures, of shape [height, width, 3] or, in some sets, [3, height, width].

        Raises ValueError for another shape.
        """
        sides = self.shape[1:] if self.shape[:1] == (3,) else self.shape[:2]
        if len(self.shape) != 3 or min(sides) < 1:
            raise ValueError(f"feature {self.key!r} has shape {list(self.shape)}; wanted [height, width, 3]")
        return sides[1] / sides[0]


@dataclass(frozen=True)
class Clip:
    """Place of an episode's pictures in a video file."""

    path: Path
    start_s: float


@dataclass(frozen=True)
class EpisodeEntry:
    """One row of meta/episodes."""

    index: int
    frames: int
    task: str
    data: Path
    clips: dict[str, Clip]
    """Place of the pictures by camera; cameras whose pictures are in the data file have none."""


class Layout:
    """The metadata of the set in `root`. Raises ValueError when it is not one of version 3."""

    def __init__(self, root: Path) -> None:
        self.root = root
        info = read_json(root / INFO)
        version = info.get("codebase_version")
        if not (isinstance(version, str) and version.startswith("v3.")):
            raise ValueError(
                f"{root} is a LeRobot dataset of version {version!r}; wanted v3; convert it with {_CONVERTER}"
            )
        self.fps = _frame_rate(info.get("fps"), root)
        self.columns = {key: _column(key, value, root) for key, value in _object(info, "features", root).items()}
        self._data_path = _template(info.get("data_path"), DATA_PATH)
        self._video_path = _template(info.get("video_path"), VIDEO_PATH)
        self._episodes = info.get("total_episodes")

    @property
    def cameras(self) -> list[str]:
        """Keys of the columns that hold colour pictures."""
        return [key for key, column in self.columns.items() if column.dtype in ("video", "image")]

    @property
    def vectors(self) -> list[str]:
        """Keys of the columns that hold a list of numbers a frame."""
        return [key for key, column in self.columns.items() if column.is_vector]

    def vector(self, key: str) -> Column:
        """A column of vectors. Raises ValueError when it is not there, or its names are not one for each number."""
        column = self.columns.get(key)
        if column is None:
            raise ValueError(f"{self.root} has no column {key!r}; it has {sorted(self.columns)}")
        if not column.is_vector or (column.names is not None and len(column.names) != column.shape[0]):
            raise ValueError(
                f"{key} is {column.dtype} of shape {list(column.shape)} with names {column.names}; wanted numbers, "
                "and one name for each"
            )
        return column

    def episodes(self, cameras: Iterable[str]) -> list[EpisodeEntry]:
        """Every episode, by its index, with the places of the pictures of `cameras`."""
        filmed = [camera for camera in cameras if self.columns[camera].dtype == "video"]
        entries = sorted((self._entry(row, filmed) for row in self._rows(filmed)), key=_index)
        if [entry.index for entry in entries] != list(range(len(entries))) or len(entries) != self._episodes:
            raise ValueError(
                f"{self.root / EPISODES} lists {len(entries)} episodes, {INFO} says {self._episodes}; wanted each "
                "from 0 on once: fetch the data set again, whole"
            )
        if not entries:
            raise ValueError(f"{self.root} has no episode; record some first")
        return entries

    def _rows(self, filmed: list[str]) -> Iterator[dict[str, Any]]:
        wanted = ["episode_index", "length", "tasks", "data/chunk_index", "data/file_index"]
        places = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        wanted += [f"videos/{camera}/{name}" for camera in filmed for name in places]
        for path in sorted((self.root / EPISODES).glob("chunk-*/file-*.parquet")):
            for batch in batches(path, wanted):
                yield from batch.to_pylist()

    def _entry(self, row: dict[str, Any], filmed: list[str]) -> EpisodeEntry:
        index = _whole(row, "episode_index", self.root)
        frames = _whole(row, "length", self.root)
        if frames < 1:
            raise ValueError(f"episode {index} of {self.root} has length {frames}; wanted 1 or more")
        clips = {camera: self._clip(row, index, frames, camera) for camera in filmed}
        return EpisodeEntry(index, frames, _task(row["tasks"]), self._place(self._data_path, row, "data"), clips)

    def _clip(self, row: dict[str, Any], index: int, frames: int, camera: str) -> Clip:
        start_s, end_s = (row[f"videos/{camera}/{name}"] for name in ("from_timestamp", "to_timestamp"))
        if not all(isinstance(time, float) and math.isfinite(time) and time >= 0 for time in (start_s, end_s)):
            raise ValueError(f"episode {index} of {self.root} lies from {start_s} to {end_s} s; wanted seconds from 0")
        if abs((end_s - start_s) * self.fps - frames) > 0.5:
            raise ValueError(
                f"episode {index} of {self.root} has {frames} rows, and {(end_s - start_s) * self.fps:.1f} pictures "
                f"of {camera} at {self.fps:g} frames a second; wanted the same number: leave the episode out"
            )
        return Clip(self._place(self._video_path, row, f"videos/{camera}", camera), start_s)

    def _place(self, template: str, row: dict[str, Any], prefix: str, camera: str = "") -> Path:
        numbers = {name: _whole(row, f"{prefix}/{name}", self.root) for name in ("chunk_index", "file_index")}
        return inside(self.root, expand(template, camera, **numbers))


def expand(template: str, camera: str, chunk_index: int, file_index: int) -> str:
    """The path that a template of info.json means; not by str.format, which would do more than the set's author may."""
    values: dict[str, Any] = {"chunk_index": chunk_index, "file_index": file_index, "video_key": camera}

    def value(match: re.Match[str]) -> str:
        return str(values[match[1]]).zfill(int(match[2] or 0))

    path = _PLACE.sub(value, template)
    if "{" in _PLACE.sub("", template) or "}" in _PLACE.sub("", template):
        raise ValueError(f"path template {template!r} has other fields than {DATA_PATH!r} or {VIDEO_PATH!r}")
    return path


def inside(root: Path, relative: str) -> Path:
    """`relative` under `root`. Raises ValueError when its words lead out of it."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\\" in relative or "\0" in relative:
        raise ValueError(f"{root} names the file {relative!r}, outside of itself; do not trust this data set")
    return root / path


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a sane size. Raises ValueError."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_JSON_BYTES + 1)
        if len(data) > LARGEST_JSON_BYTES:
            raise ValueError(f"it is over {LARGEST_JSON_BYTES // 2**20} MiB")
        value = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}; fetch the data set again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is {type(value).__name__}; wanted an object")
    return value


def batches(path: Path, columns: list[str], size: int = 4096) -> Iterator[pa.RecordBatch]:
    """The columns of a Parquet file, some rows at a time. Raises ValueError."""
    try:
        with pq.ParquetFile(path) as file:
            if missing := [name for name in columns if name not in file.schema_arrow.names]:
                raise ValueError(f"{path} lacks the column {missing[0]!r}; it has {file.schema_arrow.names}")
            yield from (batch.select(columns) for batch in file.iter_batches(size, columns=columns))
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read: {error}; fetch the data set again") from error


def _index(entry: EpisodeEntry) -> int:
    return entry.index


def _frame_rate(value: Any, root: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise ValueError(f"{root / INFO} says fps {value!r}; wanted frames a second, above 0")
    return float(value)


def _object(info: dict[str, Any], key: str, root: Path) -> dict[str, Any]:
    if not isinstance(info.get(key), dict):
        raise ValueError(f"{root / INFO} lacks {key!r}; fetch the data set again")
    return info[key]


def _column(key: str, value: Any, root: Path) -> Column:
    shape = value.get("shape") if isinstance(value, dict) else None
    if not isinstance(shape, list) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError(f"{root / INFO}: feature {key!r} is {value!r}; wanted dtype, shape and names")
    depth = _is_depth(value.get("info")) or _is_depth(value.get("video_info"))
    return Column(key, "depth" if depth else str(value.get("dtype")), tuple(shape), _names(value.get("names")))


def _is_depth(info: Any) -> bool:
    """Depth maps are stored like pictures, with a mark."""
    return isinstance(info, dict) and bool(info.get("is_depth_map") or info.get("video.is_depth_map"))


def _names(value: Any) -> list[str] | None:
    """Names of a vector's entries: a list, or one list for each group of them."""
    if isinstance(value, dict):
        groups = list(value.values())
        value = [name for group in groups for name in group] if all(isinstance(g, list) for g in groups) else None
    return [str(name) for name in value] if isinstance(value, list) else None


def _template(value: Any, standard: str) -> str:
    return value if isinstance(value, str) else standard


def _whole(row: dict[str, Any], key: str, root: Path) -> int:
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{root / EPISODES}: {key} is {value!r}; wanted a whole number from 0")
    return value


def _task(value: Any) -> str:
    return ", ".join(str(task) for task in value) if isinstance(value, list) else ""
