"""Writes shards of the episode store; the format is in EPISODE_FORMAT.md."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

FORMAT = 1
# Measured on 64 px frames: gzip 1 reads as fast as lzf and takes 0.3 to 0.9 of its space; gzip 4 reads slower for 0.05.
COMPRESSION, COMPRESSION_LEVEL = "gzip", 1
_TEMPORARY_SUFFIX = ".tmp"


def shard_path(directory: Path, shard: int) -> Path:
    """Where shard number `shard` of the store in `directory` is, once complete."""
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
                f"another collection is writing to {directory}; wait for it or choose another"
            ) from error
        yield
    finally:
        os.close(descriptor)


def write_description(directory: Path, wanted: dict[str, Any]) -> None:
    """Write dataset.json, or check that the present one says the same. Raises ValueError when it does not."""
    path = directory / "dataset.json"
    if not path.exists():
        if any(directory.glob("shard-*.h5")):
            raise ValueError(f"{directory} has shards but no dataset.json; choose an empty directory")
        write_atomically(path, json.dumps(wanted, indent=2) + "\n")
        return
    present = json.loads(path.read_text(encoding="utf-8"))
    differing = sorted(key for key in wanted | present if wanted.get(key) != present.get(key))
    if differing:
        details = "; ".join(f"{key}: there {present.get(key)!r}, asked {wanted.get(key)!r}" for key in differing)
        raise ValueError(f"{directory} holds another dataset ({details}); choose another directory or ask for the same")


class EpisodeWriter:
    """Writes one shard under a temporary name and publishes it, complete, at the end of a `with` block without error.

    Args:
        path: the shard's final path.
        image_size_px: height and width of the frames.
        action_width, state_width, feature_width: numbers per row.
        twins: whether every frame comes with a second picture of the same state.
    """

    def __init__(
        self,
        path: Path,
        *,
        image_size_px: int,
        action_width: int,
        state_width: int,
        feature_width: int,
        twins: bool = False,
    ) -> None:
        self._path = path
        self._temporary = _temporary_path(path)
        self._file = h5py.File(self._temporary, "w")
        frame = (image_size_px, image_size_px, 3)
        for name in ("frames", "twins") if twins else ("frames",):
            self._file.create_dataset(
                name,
                (0, *frame),
                np.uint8,
                maxshape=(None, *frame),
                chunks=(1, *frame),
                compression=COMPRESSION,
                compression_opts=COMPRESSION_LEVEL,
            )
        widths = {"actions": action_width, "state": state_width, "features": feature_width}
        types = {"actions": np.float32, "state": np.float64, "features": np.float32}
        for name, width in widths.items():
            chunks = (1024, width) if width else True
            self._file.create_dataset(name, (0, width), types[name], maxshape=(None, width), chunks=chunks)
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
        frames: NDArray[np.uint8] | Iterable[NDArray[np.uint8]],
        actions: NDArray[np.float32],
        state: NDArray[np.float64],
        features: NDArray[np.floating[Any]],
        episode_id: int,
        policy: str,
        task: str = "",
        twins: Sequence[NDArray[np.uint8]] | None = None,
    ) -> None:
        """Append one episode of L control steps.

        Args:
            frames: uint8 [L+1, H, W, 3] RGB, or blocks of it in order, so that an episode need not fit in memory.
            actions: float32 [L, A], physical units; a row of NaN is added for the last frame, which has none.
            state: float64 [L+1, S].
            features: float [L+1, F], stored as float32.
            episode_id: unique in the whole store.
            policy: name of the policy that acted.
            task: what it was asked to do, in words; empty where nobody said.
            twins: L+1 images uint8 [H, W, 3] of the same states in other worlds; of stores with twins.
        """
        no_action = np.full((1, actions.shape[1]), np.nan, np.float32)
        for block in [frames] if isinstance(frames, np.ndarray) else frames:
            self._append("frames", block)
        if twins is not None:
            self._append("twins", np.stack(twins))
        self._append("actions", np.concatenate([actions, no_action]))
        self._append("state", state)
        self._append("features", features)
        self._append("lengths", np.array([len(actions) + 1]))
        self._append("episode_id", np.array([episode_id]))
        self._append("policy", np.array([policy], dtype=object))
        self._append("task", np.array([task], dtype=object))

    def _append(self, name: str, rows: NDArray[np.generic]) -> None:
        dataset = self._file[name]
        assert isinstance(dataset, h5py.Dataset)
        start = len(dataset)
        dataset.resize(start + len(rows), axis=0)
        dataset[start:] = rows


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
