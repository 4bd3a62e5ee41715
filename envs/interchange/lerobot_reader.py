"""Reads a LeRobotDataset v3 with pyarrow and PyAV: forward through its files, with one batch of rows in memory."""

import dataclasses
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from envs.interchange.lerobot_layout import DESCRIPTION, INFO, Column, EpisodeEntry, Layout, batches, read_json
from envs.interchange.source import UNSTATED, Description, Frame, Rows, episode_rows, numbered
from envs.interchange.video import LARGEST_SIDE_PX, TOLERANCE, VideoReader

ACTION, STATE = "action", "observation.state"
CAMERAS = "observation.images."


class LeRobotDataset:
    """The episodes of the set in `root`, as one of its cameras saw them.

    Args:
        root: folder of the data set.
        camera: key of the pictures; None when there is but one camera.
        state: key of the robot's state, "none" for none of it; None takes `observation.state` where there is one.

    Raises:
        ValueError: it is not a LeRobotDataset of version 3, or lacks what is asked for.
    """

    def __init__(self, root: Path, *, camera: str | None = None, state: str | None = None) -> None:
        self._root = root
        self._layout = Layout(root)
        self._camera = _pick_camera(self._layout, camera)
        self._action = _vector(self._layout, ACTION)
        self._state = _pick_state(self._layout, state)
        self._episodes = self._layout.episodes(self._camera)
        self._pictures = self._picture_reader()
        self.description = self._describe()

    @property
    def lengths(self) -> Sequence[int]:
        return [entry.frames for entry in self._episodes]

    @property
    def tasks(self) -> Sequence[str]:
        return [entry.task for entry in self._episodes]

    @property
    def origin(self) -> dict[str, Any]:
        digest = hashlib.sha256((self._root / INFO).read_bytes())
        for path in sorted((self._root / "meta" / "episodes").glob("*/*.parquet")):
            digest.update(path.read_bytes())
        return {
            "format": "LeRobotDataset v3",
            "name": self._root.name,
            "meta_sha256": digest.hexdigest(),
            "camera": self._camera,
            "state": self._state.key if self._state else None,
        }

    def rows(self) -> Iterator[Rows]:
        keys = ["episode_index", "frame_index", "timestamp", ACTION] + ([self._state.key] if self._state else [])
        cursor = _RowCursor(keys)
        for entry in self._episodes:
            where = f"episode {entry.index} of {self._root}"
            table = cursor.take(entry)
            _check_times(table, entry, self._layout.fps, where)
            state = matrix(table[self._state.key], self._state, where) if self._state else np.zeros((entry.frames, 0))
            yield episode_rows(where, matrix(table[ACTION], self._action, where), state)
        cursor.finish()

    def frames(self, episode: int) -> Iterator[Frame]:
        return self._pictures.frames(self._episodes[episode])

    def _picture_reader(self) -> "_Videos | _ParquetPictures":
        if self._layout.columns[self._camera].dtype == "video":
            return _Videos(self._layout.fps)
        return _ParquetPictures(self._camera, self._episodes)

    def _describe(self) -> Description:
        names = self._action.names or numbered("action", self._action.shape[0])
        state_names = (self._state.names or numbered("state", self._state.shape[0])) if self._state else []
        if (self._root / DESCRIPTION).exists():
            said = Description.from_json(read_json(self._root / DESCRIPTION), str(self._root / DESCRIPTION))
            if len(said.action_names) == len(names) and said.state_names == state_names:
                return dataclasses.replace(said, feature_names=state_names)
        return Description(
            camera=self._camera.removeprefix(CAMERAS),
            dt_s=1 / self._layout.fps,
            action_names=names,
            action_units=[UNSTATED] * len(names),
            action_low=None,
            action_high=None,
            state_names=state_names,
            state_units=[UNSTATED] * len(state_names),
            feature_names=state_names,
        )


class _RowCursor:
    """Takes the rows of one episode after another out of the data files."""

    def __init__(self, columns: list[str], batch_rows: int = 4096) -> None:
        self._columns, self._batch_rows = columns, batch_rows
        self._path: Path | None = None
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._left: pa.RecordBatch | None = None

    def take(self, entry: EpisodeEntry) -> pa.Table:
        """The entry's rows. Raises ValueError when other ones stand there."""
        return pa.Table.from_batches(list(self.parts(entry)))

    def parts(self, entry: EpisodeEntry) -> Iterator[pa.RecordBatch]:
        if entry.data != self._path:
            self.finish()
            self._path, self._batches, self._left = (
                entry.data,
                batches(entry.data, self._columns, self._batch_rows),
                None,
            )
        missing = entry.frames
        while missing:
            if self._left is None:
                self._left = next(self._batches, None)
            if self._left is None:
                raise ValueError(f"{self._path} ends {missing} rows before episode {entry.index} does; fetch it again")
            part, rest = self._left.slice(0, missing), self._left.slice(missing)
            self._left = rest if len(rest) else None
            missing -= len(part)
            if not _all_equal(part["episode_index"], entry.index):
                raise ValueError(
                    f"{self._path} does not hold the {entry.frames} rows of episode {entry.index} where meta/episodes "
                    "says: the lengths differ; fetch the data set again"
                )
            yield part

    def finish(self) -> None:
        """Raises ValueError when the file has rows left."""
        left = self._left or next(self._batches, None)
        if left is not None and len(left):
            raise ValueError(f"{self._path} has more rows than meta/episodes says; fetch the data set again")


class _Videos:
    """The camera's pictures in video files."""

    def __init__(self, fps: float) -> None:
        self._reader = VideoReader(fps)

    def frames(self, entry: EpisodeEntry) -> Iterator[Frame]:
        assert entry.clip is not None
        return self._reader.clip(entry.clip.path, entry.clip.start_s, entry.frames)


class _ParquetPictures:
    """The camera's pictures as image files inside the data files."""

    def __init__(self, camera: str, episodes: list[EpisodeEntry]) -> None:
        self._camera, self._episodes = camera, iter(episodes)
        self._cursor = _RowCursor(["episode_index", camera], batch_rows=64)

    def frames(self, entry: EpisodeEntry) -> Iterator[Frame]:
        for passed in self._episodes:
            parts = self._cursor.parts(passed)
            if passed.index == entry.index:
                break
            for _ in parts:
                pass
        else:
            raise ValueError(f"episode {entry.index} was read before; read the episodes in ascending order")
        for part in parts:
            for value in part[self._camera].to_pylist():
                yield self._decode(value, entry)

    def _decode(self, value: Any, entry: EpisodeEntry) -> Frame:
        where = f"a picture of {self._camera} in episode {entry.index}"
        data = value.get("bytes") if isinstance(value, dict) else None
        if not isinstance(data, bytes):
            raise ValueError(f"{where} is not in {entry.data}; only pictures inside the data files are read")
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                if max(image.size) > LARGEST_SIDE_PX:
                    raise ValueError(f"{image.size} px is more than {LARGEST_SIDE_PX} a side")
                return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"{where} cannot be decoded: {error}") from error


def matrix(values: pa.ChunkedArray, column: Column, where: str) -> NDArray[Any]:
    """A column of vectors, or of numbers, as [n, width]. Raises ValueError when it has another form."""
    array = values.combine_chunks()
    width = column.shape[0]
    vectors = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
    if vectors or pa.types.is_fixed_size_list(array.type):
        if array.null_count or not _all_equal(array.value_lengths(), width):
            raise ValueError(f"{where}: {column.key} has rows that are not {width} numbers, as meta/info.json says")
        flat = array.flatten()
    else:
        flat = array
    numbers = pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)
    if not numbers or flat.null_count or len(flat) != len(array) * width:
        raise ValueError(
            f"{where}: {column.key} is {array.type} with {flat.null_count} gaps; wanted {width} numbers a row"
        )
    return flat.to_numpy(zero_copy_only=False).reshape(len(array), width)


def _check_times(table: pa.Table, entry: EpisodeEntry, fps: float, where: str) -> None:
    """A world model's step has one length."""
    count = np.arange(entry.frames)
    if not np.array_equal(table["frame_index"].to_numpy(), count):
        raise ValueError(f"{where}: frame_index does not count from 0 to {entry.frames - 1}; leave the episode out")
    late = np.abs(table["timestamp"].to_numpy().astype(np.float64) * fps - count)
    if not (late <= TOLERANCE).all():
        row = int(np.argmax(~(late <= TOLERANCE)))
        raise ValueError(
            f"{where}: frame {row} has timestamp {table['timestamp'][row].as_py()} s; {fps:g} frames a second want "
            f"{row / fps:.4f} s. Only a constant frame rate can be read: resample the episode"
        )


def _all_equal(values: Any, wanted: int) -> bool:
    return bool((values.to_numpy(zero_copy_only=False) == wanted).all())


def _pick_camera(layout: Layout, camera: str | None) -> str:
    cameras = layout.cameras
    if camera is None and len(cameras) == 1:
        camera = cameras[0]
    if camera not in cameras:
        given = "no camera was chosen" if camera is None else f"there is no camera {camera!r}"
        raise ValueError(f"{given}; {layout.root} has {cameras}: choose one with --camera")
    return camera


def _pick_state(layout: Layout, state: str | None) -> Column | None:
    if state == "none" or (state is None and STATE not in layout.columns):
        return None
    return _vector(layout, state or STATE)


def _vector(layout: Layout, key: str) -> Column:
    column = layout.columns.get(key)
    if column is None:
        raise ValueError(f"{layout.root} has no column {key!r}; it has {sorted(layout.columns)}")
    if len(column.shape) != 1 or (column.names is not None and len(column.names) != column.shape[0]):
        raise ValueError(f"{key} has shape {list(column.shape)} and names {column.names}; wanted one name a column")
    return column
