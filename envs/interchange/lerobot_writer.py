"""Writes a LeRobotDataset v3: Parquet rows, H.264 pictures, and the metadata that LeRobot's readers want.

Parquet keeps actions, state and vector sensors exactly, in float32; a video keeps pictures nearly. The state is
`observation.state`, or `observation.environment_state` where a sensor is called `state`. The last frame of an episode
has no action in Telos. LeRobot wants one, so the last action is repeated; an import drops it again.
"""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from envs.interchange.lerobot_layout import (
    DATA_PATH,
    DESCRIPTION,
    EPISODES_PATH,
    INFO,
    STATS,
    TASKS,
    VERSION,
    VIDEO_PATH,
    expand,
)
from envs.interchange.lerobot_reader import ACTION, CAMERAS, OBSERVATION, STATE, TRUTH
from envs.interchange.running_statistics import RunningStatistics
from envs.interchange.source import UNSTATED, Description, Frame, Rows, Source
from envs.interchange.video import PIXEL_FORMAT, VideoWriter

EPISODES_PER_FILE = 50
FILES_PER_CHUNK = 1000
_COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def write_lerobot(source: Source, out: Path, *, episodes_per_file: int = EPISODES_PER_FILE) -> None:
    """Write all episodes of `source` into the folder `out`, which appears when it is complete.

    Raises ValueError when `out` is there already, or the layout cannot express what `source` holds.
    """
    if out.exists():
        raise ValueError(f"{out} is there already; choose another folder, or remove this one")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # of an export that was killed
    try:
        writer = _Writer(source.description, unfinished)
        rows = enumerate(source.rows())
        for file, first in enumerate(range(0, len(source.lengths), episodes_per_file)):
            count = min(episodes_per_file, len(source.lengths) - first)
            writer.add_file(file, source, [next(rows) for _ in range(count)])
        writer.finish()
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class _Writer:
    def __init__(self, said: Description, folder: Path) -> None:
        self._said, self._folder = said, folder
        self._fps = _whole_frame_rate(said.dt_s)
        self._cameras = {name: CAMERAS + name for name in said.cameras}
        self._vectors = {vector.name: OBSERVATION + vector.name for vector in said.vectors}
        self._state = TRUTH if STATE in self._vectors.values() else STATE
        self._tasks: dict[str, int] = {}
        self._entries: list[dict[str, Any]] = []
        self._frames = 0
        self._sizes_px: dict[str, tuple[int, int]] = {}
        self._columns = self._column_names()
        self._statistics = {key: RunningStatistics() for key in (*self._columns, *self._cameras.values())}

    def add_file(self, file: int, source: Source, episodes: list[tuple[int, Rows]]) -> None:
        """One Parquet file, and one video a camera, of some episodes."""
        numbers = {"chunk_index": file // FILES_PER_CHUNK, "file_index": file % FILES_PER_CHUNK}
        first = self._frames
        with pq.ParquetWriter(self._path(DATA_PATH, numbers), self._schema()) as parquet:
            for episode, rows in episodes:
                self._enter(episode, len(rows.state), source.tasks[episode], numbers, first)
                parquet.write_table(self._table(episode, rows))
        for camera, key in self._cameras.items():
            frames = (frame for episode, _ in episodes for frame in source.frames(episode, camera))
            self._write_video(self._path(VIDEO_PATH, numbers, key), key, frames)

    def finish(self) -> None:
        """The metadata."""
        pq.write_table(
            pa.Table.from_pylist(self._entries), self._path(EPISODES_PATH, {"chunk_index": 0, "file_index": 0})
        )
        pq.write_table(_tasks_table(self._tasks), self._folder / TASKS)
        pictures = self._cameras.values()
        statistics = {key: each.to_json(key in pictures) for key, each in self._statistics.items() if each.count}
        for name, content in ((INFO, self._info()), (STATS, statistics), (DESCRIPTION, self._said.to_json())):
            (self._folder / name).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")

    def _column_names(self) -> dict[str, list[str]]:
        """Names of the numbers of each column of vectors that has any, by its key."""
        vectors = {self._vectors[vector.name]: vector.names for vector in self._said.vectors}
        columns = {ACTION: self._said.action_names, self._state: self._said.state_names, **vectors}
        return {key: names for key, names in columns.items() if names}

    def _path(self, template: str, numbers: dict[str, int], camera: str = "") -> Path:
        path = self._folder / expand(template, camera, **numbers)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _enter(self, episode: int, length: int, task: str, numbers: dict[str, int], first_of_file: int) -> None:
        if length < 2:
            raise ValueError(
                f"episode {episode} has one frame and no action, which LeRobot's format cannot hold; leave it out"
            )
        start = self._frames
        task = task or self._said.env_id or UNSTATED
        self._tasks.setdefault(task, len(self._tasks))
        self._entries.append(
            {
                "episode_index": episode,
                "tasks": [task],
                "length": length,
                "dataset_from_index": start,
                "dataset_to_index": start + length,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
                **{f"data/{name}": number for name, number in numbers.items()},
                **{
                    f"videos/{camera}/{name}": value
                    for camera in self._cameras.values()
                    for name, value in {**numbers, **self._times(start - first_of_file, length)}.items()
                },
            }
        )
        self._frames += length

    def _times(self, first: int, length: int) -> dict[str, float]:
        """Start and end in its video of an episode of `length` frames that begins at frame `first`."""
        return {"from_timestamp": first / self._fps, "to_timestamp": (first + length) / self._fps}

    def _table(self, episode: int, rows: Rows) -> pa.Table:
        entry = self._entries[-1]
        length = entry["length"]
        actions = np.concatenate([rows.actions, rows.actions[-1:]])
        readings = {key: rows.vectors[name] for name, key in self._vectors.items()}
        vectors = {ACTION: actions, self._state: rows.state.astype(np.float32), **readings}
        for key in self._columns:
            self._statistics[key].add(vectors[key])
        columns: dict[str, Any] = {
            **{key: _vectors(vectors[key]) for key in self._columns},
            "timestamp": np.arange(length, dtype=np.float32) / np.float32(self._fps),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, episode),
            "index": np.arange(entry["dataset_from_index"], entry["dataset_to_index"]),
            "task_index": np.full(length, self._tasks[entry["tasks"][0]]),
        }
        return pa.table(columns, schema=self._schema())

    def _schema(self) -> pa.Schema:
        fields = [(key, pa.list_(pa.float32(), len(names))) for key, names in self._columns.items()]
        return pa.schema(fields + [(key, pa.from_numpy_dtype(dtype)) for key, dtype in _COUNTERS.items()])

    def _write_video(self, path: Path, camera: str, frames: Iterator[Frame]) -> None:
        first = next(frames)
        self._sizes_px[camera] = _even_size(first)
        with VideoWriter(path, self._fps, *self._sizes_px[camera]) as video:
            for frame in itertools.chain([first], frames):
                video.add(frame)
                self._statistics[camera].add(frame.reshape(-1, 3) / 255)

    def _video_feature(self, camera: str) -> dict[str, Any]:
        width, height = self._sizes_px[camera]
        return {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": "h264",
                "video.pix_fmt": PIXEL_FORMAT,
                "video.fps": self._fps,
                "video.channels": 3,
                "is_depth_map": False,
                "has_audio": False,
            },
        }

    def _info(self) -> dict[str, Any]:
        features: dict[str, Any] = {
            key: {"dtype": "float32", "shape": [len(names)], "names": names} for key, names in self._columns.items()
        }
        features |= {camera: self._video_feature(camera) for camera in self._cameras.values()}
        features |= {key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in _COUNTERS.items()}
        return {
            "codebase_version": VERSION,
            "robot_type": self._said.env_id or None,
            "total_episodes": len(self._entries),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {"train": f"0:{len(self._entries)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": features,
        }


def _whole_frame_rate(dt_s: float) -> int:
    fps = round(1 / dt_s)
    if fps < 1 or abs(fps * dt_s - 1) > 1e-6:
        raise ValueError(f"dt_s is {dt_s}, {1 / dt_s:g} frames a second; LeRobot's format wants a whole number of them")
    return fps


def _even_size(frame: Frame) -> tuple[int, int]:
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"frames are {width} x {height} px; H.264 with {PIXEL_FORMAT} wants even sides")
    return width, height


def _vectors(values: NDArray[np.float32]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), values.shape[1])


def _tasks_table(tasks: dict[str, int]) -> pa.Table:
    """With pandas' own note that `task` is the index: LeRobot's readers look tasks up by it."""
    table = pa.table({"task_index": pa.array(tasks.values(), pa.int64()), "task": pa.array(tasks, pa.string())})
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    note = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(note)})
