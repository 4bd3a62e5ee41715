"""The rows of a LeRobotDataset v3: taken forward out of its Parquet files, an episode at a time, and checked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from envs.interchange.lerobot_layout import Column, EpisodeEntry, batches
from envs.interchange.video import TOLERANCE


class RowCursor:
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
        """`take`, a batch at a time."""
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


def check_times(table: pa.Table, entry: EpisodeEntry, fps: float, where: str) -> None:
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
