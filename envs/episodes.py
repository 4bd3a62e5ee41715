"""Writes shards of the episode store; the format is in EPISODE_FORMAT.md."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from envs.sensors import Sensor

Readings = NDArray[Any] | Iterable[NDArray[Any]]
"""One sensor's readings of an episode, in one array, or in blocks in order, so that they need not fit in memory."""
FORMAT = 2
# Measured on 64 px frames: gzip 1 reads as fast as lzf and takes 0.3 to 0.9 of its space; gzip 4 reads slower for 0.05.
COMPRESSION, COMPRESSION_LEVEL = "gzip", 1
_TEMPORARY_SUFFIX = ".tmp"


def shard_path(directory: Path, shard: int) -> Path:
    """Path of shard number `shard` of the store in `directory`, once complete."""
    return directory / f"shard-{shard:05d}.h5"


def write_atomically(path: Path, content: str) -> None:
    """Write a text file so that readers see it whole or not at all, even after a power cut."""
    temporary = _temporary_path(path)
    temporary.write_text(content, encoding="utf-8")
    _publish(temporary, path)


def remove_leftovers(directory: Path) -> None:
    """Remove temporary files of killed collections; call only while no other collection writes to `directory`."""
    for leftover in directory.glob(f"*{_TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def only_writer(directory: Path) -> Iterator[None]:
    """Hold the store's lock, which the kernel releases when this process dies. Raises RuntimeError when it is held."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(
                f"another process is writing to {directory}; wait for it, or choose another folder"
            ) from error
        yield
    finally:
        os.close(descriptor)


def write_description(directory: Path, wanted: dict[str, Any]) -> None:
    """Write dataset.json, or check that the present one says the same. Raises ValueError when it does not."""
    path = directory / "dataset.json"
    if not path.exists():
        if any(directory.glob("shard-*.h5")):
            raise ValueError(f"{directory} has shards but no dataset.json; choose an empty folder")
        write_atomically(path, json.dumps(wanted, indent=2) + "\n")
        return
    present = json.loads(path.read_text(encoding="utf-8"))
    differing = sorted(key for key in wanted | present if wanted.get(key) != present.get(key))
    if differing:
        details = "; ".join(f"{key}: {present.get(key)!r} there, {wanted.get(key)!r} asked for" for key in differing)
        raise ValueError(f"{directory} holds another data set ({details}); choose another folder, or ask for the same")


class EpisodeWriter:
    """Writes one shard under a temporary name and publishes it, complete, at the end of a `with` block without error.

    Args:
        path: the shard's final path.
        sensors: sensors of every frame.
        action_width, state_width, feature_width: numbers per row.
        twins: whether every camera's frame comes with a second picture of the same state.
    """

    def __init__(
        self,
        path: Path,
        *,
        sensors: Sequence[Sensor],
        action_width: int,
        state_width: int,
        feature_width: int,
        twins: bool = False,
    ) -> None:
        self._path = path
        self._temporary = _temporary_path(path)
        self._sensors = [sensor.name for sensor in sensors]
        self._twins = [sensor.name for sensor in sensors if sensor.is_camera] if twins else []
        self._file = h5py.File(self._temporary, "w")
        for sensor in sensors:
            self._create_sensor(sensor)
        self._create_rows("actions", action_width, np.float32)
        self._create_rows("state", state_width, np.float64)
        self._create_rows("features", feature_width, np.float32)
        text = h5py.string_dtype()
        for name, dtype in (("lengths", np.int64), ("episode_id", np.int64), ("policy", text), ("task", text)):
            self._file.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(256,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            _publish(self._temporary, self._path)
        else:
            self._temporary.unlink(missing_ok=True)

    def add(
        self,
        *,
        sensors: Mapping[str, Readings],
        actions: NDArray[np.float32],
        state: NDArray[np.float64],
        features: NDArray[np.floating[Any]],
        episode_id: int,
        policy: str,
        task: str = "",
        twins: Mapping[str, Readings] | None = None,
    ) -> None:
        """Append one episode of L control steps.

        Args:
            sensors: L+1 readings of each sensor: a camera's uint8 [L+1, H, W, 3] RGB, a vector's float32 [L+1, k].
            actions: float32 [L, A], physical units; a row of NaN is added for the last frame, which has none.
            state: float64 [L+1, S].
            features: float [L+1, F], stored as float32.
            episode_id: unique in the whole store.
            policy: name of the policy that acted.
            task: the task in words; empty if unknown.
            twins: for a store with twins, L+1 pictures of each camera that show the same states in other worlds.

        Raises:
            ValueError: readings of other sensors, or not L+1 of each.
        """
        frames = len(actions) + 1
        no_action = np.full((1, actions.shape[1]), np.nan, np.float32)
        self._append_readings("sensors", self._sensors, sensors, frames)
        self._append_readings("twins", self._twins, twins or {}, frames)
        self._append("actions", np.concatenate([actions, no_action]))
        self._append("state", state)
        self._append("features", features)
        self._append("lengths", np.array([frames]))
        self._append("episode_id", np.array([episode_id]))
        self._append("policy", np.array([policy], dtype=object))
        self._append("task", np.array([task], dtype=object))

    def _create_sensor(self, sensor: Sensor) -> None:
        if not sensor.is_camera:
            self._create_rows(f"sensors/{sensor.name}", sensor.shape[0], np.float32)
            return
        for group in ("sensors", "twins") if sensor.name in self._twins else ("sensors",):
            self._file.create_dataset(
                f"{group}/{sensor.name}",
                (0, *sensor.shape),
                np.uint8,
                maxshape=(None, *sensor.shape),
                chunks=(1, *sensor.shape),
                compression=COMPRESSION,
                compression_opts=COMPRESSION_LEVEL,
            )

    def _create_rows(self, name: str, width: int, dtype: type[np.floating[Any]]) -> None:
        chunks = (1024, width) if width else True
        self._file.create_dataset(name, (0, width), dtype, maxshape=(None, width), chunks=chunks)

    def _append_readings(self, group: str, wanted: list[str], given: Mapping[str, Readings], frames: int) -> None:
        if sorted(given) != sorted(wanted):
            raise ValueError(
                f"{group} of the episode are {sorted(given)}; the shard holds {sorted(wanted)}: give those"
            )
        for name, readings in given.items():
            blocks = [readings] if isinstance(readings, np.ndarray) else readings
            rows = sum(self._append(f"{group}/{name}", block) for block in blocks)
            if rows != frames:
                raise ValueError(f"{group}/{name} of an episode has {rows} rows; give {frames}, one more than actions")

    def _append(self, name: str, rows: NDArray[Any]) -> int:
        """Append rows to a data set of the shard; returns their number."""
        dataset = self._file[name]
        assert isinstance(dataset, h5py.Dataset)
        start = len(dataset)
        dataset.resize(start + len(rows), axis=0)
        dataset[start:] = rows
        return len(rows)


def _temporary_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY_SUFFIX}")


def _publish(temporary: Path, path: Path) -> None:
    _fsync(temporary)
    os.replace(temporary, path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
