"""Reads a LeRobotDataset v3 with pyarrow and PyAV: forward through its files, with one batch of rows in memory."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.interchange.lerobot_layout import DESCRIPTION, INFO, Column, EpisodeEntry, Layout, read_json
from envs.interchange.lerobot_pictures import ParquetPictures, Videos
from envs.interchange.lerobot_rows import RowCursor, check_times, matrix
from envs.interchange.picking import NONE, in_order, pick_cameras, pick_vectors
from envs.interchange.source import UNSTATED, DescribedVector, Description, Frame, Rows, episode_rows, numbered

ACTION, STATE, TRUTH = "action", "observation.state", "observation.environment_state"
"""LeRobot's names: a robot's own readings, and a simulator's truth."""
CAMERAS, OBSERVATION = "observation.images.", "observation."
_COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


class LeRobotDataset:
    """The episodes of the set in `root`, as some of its sensors saw them.

    Sensors are named as their columns, without `observation.images.` or `observation.` before it.

    Args:
        root: folder of the data set.
        cameras: which cameras, the main one first; None is every one.
        vectors: columns that are vector sensors, ["none"] for none of them; None takes those that an export of Telos
            describes.
        state: column of the state, "none" for none of it; None takes `observation.environment_state` or
            `observation.state`, the first that is there.

    Raises:
        ValueError: it is not a LeRobotDataset of version 3, or lacks what is asked for.
    """

    def __init__(
        self,
        root: Path,
        *,
        cameras: Sequence[str] | None = None,
        vectors: Sequence[str] | None = None,
        state: str | None = None,
    ) -> None:
        self._root = root
        self._layout = Layout(root)
        self._said = self._read_description()
        self._cameras = pick_cameras(self._known_cameras(), cameras, root)
        self._action = self._layout.vector(ACTION)
        self._vectors = pick_vectors(self._known_vectors(), self._described_vectors(), vectors, root)
        self._state = self._pick_state(state)
        self._episodes = self._layout.episodes(self._cameras.values())
        self._pictures = {name: self._picture_reader(key) for name, key in self._cameras.items()}
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
            "cameras": list(self._cameras.values()),
            "vectors": list(self._vectors.values()),
            "state": self._state.key if self._state else None,
        }

    def rows(self) -> Iterator[Rows]:
        keys = {ACTION, *self._vectors.values(), *([self._state.key] if self._state else [])}
        cursor = RowCursor(["episode_index", "frame_index", "timestamp", *sorted(keys)])
        for entry in self._episodes:
            yield self._episode(entry, cursor)
        cursor.finish()

    def frames(self, episode: int, camera: str) -> Iterator[Frame]:
        return self._pictures[camera].frames(self._episodes[episode])

    def _episode(self, entry: EpisodeEntry, cursor: RowCursor) -> Rows:
        where = f"episode {entry.index} of {self._root}"
        table = cursor.take(entry)
        check_times(table, entry, self._layout.fps, where)
        columns = {name: self._layout.vector(key) for name, key in self._vectors.items()}
        vectors = {name: matrix(table[column.key], column, where) for name, column in columns.items()}
        state = matrix(table[self._state.key], self._state, where) if self._state else np.zeros((entry.frames, 0))
        return episode_rows(where, matrix(table[ACTION], self._action, where), state, None, vectors)

    def _picture_reader(self, camera: str) -> Videos | ParquetPictures:
        if self._layout.columns[camera].dtype == "video":
            return Videos(camera, self._layout.fps)
        return ParquetPictures(camera, self._episodes)

    def _known_cameras(self) -> dict[str, str]:
        """The cameras of an export of Telos, the main one first."""
        known = {key.removeprefix(CAMERAS): key for key in self._layout.cameras}
        return in_order(known, self._said.cameras if self._said else [])

    def _known_vectors(self) -> dict[str, str]:
        keys = [key for key in self._layout.vectors if key not in (ACTION, *_COUNTERS)]
        return {key.removeprefix(OBSERVATION): key for key in keys}

    def _described_vectors(self) -> list[str]:
        """The vectors of an export of Telos; other data sets do not say which of their columns a robot will send."""
        return [] if self._said is None else [vector.name for vector in self._said.vectors]

    def _pick_state(self, state: str | None) -> Column | None:
        if state is None:
            state = next((key for key in (TRUTH, STATE) if key in self._layout.columns), NONE)
        return None if state == NONE else self._layout.vector(state)

    def _read_description(self) -> Description | None:
        path = self._root / DESCRIPTION
        return Description.from_json(read_json(path), str(path)) if path.exists() else None

    def _describe(self) -> Description:
        names = _names(self._action, "action")
        state_names = _names(self._state, "state") if self._state else []
        plain = Description(
            cameras=list(self._cameras),
            vectors=[_vector(name, self._layout.vector(key)) for name, key in self._vectors.items()],
            dt_s=1 / self._layout.fps,
            action_names=names,
            action_units=[UNSTATED] * len(names),
            action_low=None,
            action_high=None,
            state_names=state_names,
            state_units=[UNSTATED] * len(state_names),
            feature_names=state_names,
            aspect_ratios={name: self._layout.columns[key].aspect_ratio for name, key in self._cameras.items()},
        )
        said = self._said
        if said is None or len(said.action_names) != len(names) or said.state_names != state_names:
            return plain
        described = said.with_sensors(plain.cameras, plain.vectors)
        return dataclasses.replace(described, feature_names=state_names)


def _vector(name: str, column: Column) -> DescribedVector:
    names = _names(column, name)
    return DescribedVector(name=name, names=names, units=[UNSTATED] * len(names))


def _names(column: Column, prefix: str) -> list[str]:
    return column.names or numbered(prefix, column.shape[0])
