"""The HDF5 layout of stable-worldmodel, read and written.

One file, one dataset a column, all episodes one after another: `pixels` uint8 [N, H, W, 3], `action` [N, A] whose row i
is applied after frame i and whose last row of an episode is NaN, other columns [N, ...], `ep_len` and `ep_offset` [E].
Further cameras are `pixels.<name>`, as its wrapper for several views calls them; `proprio` is the robot's own state.
The layout has no fields for the time of a step, names, units and limits; an export of Telos adds them as the attribute
`telos`, and calls its second and later vector sensors `proprio.<name>`.
(github.com/galilai-group/stable-worldmodel, docs/api/dataset.md, stable_worldmodel/wrapper.py)
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the compressions that published files use)
import numpy as np
from numpy.typing import NDArray

from envs.interchange.picking import in_order, pick_cameras, pick_vectors
from envs.interchange.source import UNSTATED, DescribedVector, Description, Frame, Rows, Source, episode_rows, numbered

PIXELS, PROPRIO, ACTION, FEATURES, LENGTH, OFFSET = "pixels", "proprio", "action", "features", "ep_len", "ep_offset"
STATES = ("state", PROPRIO)
"""Columns that may be the state, if none is named: the first that is there."""
DESCRIPTION = "telos"
_NO_SENSORS = (ACTION, FEATURES, LENGTH, OFFSET, "step_idx")
_FRAMES_AT_ONCE = 64


class WorldModelHdf5:
    """The episodes of one file, as some of its sensors saw them.

    Sensors are named as their columns, without `pixels.` or `proprio.` before it.

    Args:
        path: the file.
        cameras: which cameras, the main one first; None is every one, `pixels` first.
        vectors: columns that are vector sensors, ["none"] for none of them; None takes `proprio` and `proprio.<name>`.
        state: the column with the state, "none" for none of it; None takes `state` or `proprio` where there is one.
        dt_s: seconds between two frames; None when the file says so itself.

    Raises:
        ValueError: it is not such a file, or lacks what is asked for.
    """

    def __init__(
        self,
        path: Path,
        *,
        cameras: Sequence[str] | None = None,
        vectors: Sequence[str] | None = None,
        state: str | None = None,
        dt_s: float | None = None,
    ) -> None:
        self._path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise ValueError(f"{path} is not a readable HDF5 file: {error}; fetch it again") from error
        self._said = self._read_description()
        self._cameras = self._pick_cameras(cameras)
        self._action = self._column(ACTION)
        self._vectors = self._pick_vectors(vectors)
        self._state = self._pick_state(state)
        self._features = self._column(FEATURES) if FEATURES in self._file and self._said is not None else None
        self._frames = len(next(iter(self._cameras.values())))
        self._spans = self._read_spans()
        self._check_shapes()
        self.description = self._describe(dt_s)

    @property
    def lengths(self) -> Sequence[int]:
        return [stop - start for start, stop in self._spans]

    @property
    def tasks(self) -> Sequence[str]:
        return [""] * len(self._spans)

    @property
    def origin(self) -> dict[str, Any]:
        spans = np.asarray(self._spans, np.int64).tobytes()
        actions = np.ascontiguousarray(self._read(self._action, slice(None)))
        return {
            "format": "stable-worldmodel HDF5",
            "name": self._path.name,
            "bytes": self._path.stat().st_size,
            "actions_sha256": hashlib.sha256(spans + actions.tobytes()).hexdigest(),
            "cameras": [_name(column) for column in self._cameras.values()],
            "vectors": [_name(column) for column in self._vectors.values()],
            "state": None if self._state is None else _name(self._state),
        }

    def rows(self) -> Iterator[Rows]:
        for episode, (start, stop) in enumerate(self._spans):
            span = slice(start, stop)
            state = np.zeros((stop - start, 0)) if self._state is None else self._matrix(self._state, span)
            features = None if self._features is None else self._matrix(self._features, span)
            vectors = {name: self._matrix(column, span) for name, column in self._vectors.items()}
            where = f"episode {episode} of {self._path}"
            yield episode_rows(where, self._matrix(self._action, span), state, features, vectors)

    def frames(self, episode: int, camera: str) -> Iterator[Frame]:
        start, stop = self._spans[episode]
        for first in range(start, stop, _FRAMES_AT_ONCE):
            yield from self._read(self._cameras[camera], slice(first, min(first + _FRAMES_AT_ONCE, stop)))

    def _read(self, column: h5py.Dataset, rows: slice) -> NDArray[Any]:
        try:
            return column[rows]
        except OSError as error:
            raise ValueError(f"{column.name} of {self._path} cannot be read: {error}; fetch the file again") from error

    def _matrix(self, column: h5py.Dataset, rows: slice) -> NDArray[Any]:
        values = self._read(column, rows)
        return values.reshape(len(values), -1)

    def _column(self, name: str) -> h5py.Dataset:
        """A column whose numbers are in this very file: HDF5 can also point at any other file of the machine."""
        link = self._file.get(name, getlink=True)
        if link is None:
            raise ValueError(f"{self._path} has no column {name!r}; it has {sorted(self._file)}")
        column = self._file[name] if isinstance(link, h5py.HardLink) else None
        if not isinstance(column, h5py.Dataset) or column.is_virtual or column.external:
            raise ValueError(f"{name!r} of {self._path} is not a dataset of its own; wanted its numbers in this file")
        return column

    def _pick_cameras(self, asked: Sequence[str] | None) -> dict[str, h5py.Dataset]:
        said = self._said.cameras if self._said is not None else []
        picked = pick_cameras(self._sensor_columns(PIXELS, said), asked, self._path)
        return {name: self._column(column) for name, column in picked.items()}

    def _pick_vectors(self, asked: Sequence[str] | None) -> dict[str, h5py.Dataset]:
        said = [vector.name for vector in self._said.vectors] if self._said is not None else []
        usual = self._sensor_columns(PROPRIO, said)
        taken = {*usual.values(), *self._sensor_columns(PIXELS, []).values(), *_NO_SENSORS}
        known = {**{name: name for name in map(str, self._file) if name not in taken}, **usual}
        picked = pick_vectors(known, list(usual) if said else [], asked, self._path)
        return {name: self._column(column) for name, column in picked.items()}

    def _sensor_columns(self, base: str, said: Sequence[str]) -> dict[str, str]:
        """Columns `base` and `base.<name>` by sensor name, in the order of `said`, whose first one is in `base`."""
        further = {name.removeprefix(f"{base}."): name for name in map(str, self._file) if name.startswith(f"{base}.")}
        main = {said[0] if said else base: base} if base in self._file else {}
        return in_order({**main, **further}, said)

    def _pick_state(self, state: str | None) -> h5py.Dataset | None:
        if state is None:
            state = next((name for name in STATES if name in self._file), "none")
        return None if state == "none" else self._column(state)

    def _read_spans(self) -> list[tuple[int, int]]:
        """First and last row + 1 of each episode; no row belongs to two, or training would see held-out episodes."""
        lengths, offsets = (self._read(self._column(name), slice(None)) for name in (LENGTH, OFFSET))
        counted = all(values.ndim == 1 and values.dtype.kind in "iu" for values in (lengths, offsets))
        if not counted or len(lengths) != len(offsets) or len(lengths) == 0:
            raise ValueError(f"{LENGTH} and {OFFSET} of {self._path} must be whole numbers, one for each episode")
        spans = [(int(offset), int(offset) + int(length)) for offset, length in zip(offsets, lengths, strict=True)]
        end = 0
        for episode, (start, stop) in enumerate(spans):
            if start < end or stop <= start or stop > self._frames:
                raise ValueError(
                    f"episode {episode} of {self._path} lies in rows {start} to {stop} of {self._frames}; wanted "
                    "one or more rows, after those of the episode before"
                )
            end = stop
        return spans

    def _check_shapes(self) -> None:
        for pixels in self._cameras.values():
            pictures = pixels.dtype == np.uint8 and pixels.ndim == 4 and pixels.shape[3] == 3 and pixels.size
            if not pictures or len(pixels) != self._frames:
                given = f"{pixels.dtype} {list(pixels.shape)}"
                raise ValueError(
                    f"{_name(pixels)} of {self._path} is {given}; wanted RGB uint8 [{self._frames}, height, width, 3]"
                )
        for column in (self._action, self._state, self._features, *self._vectors.values()):
            if column is None:
                continue
            if column.dtype.kind not in "fiu" or column.ndim == 0 or len(column) != self._frames:
                raise ValueError(
                    f"{column.name} of {self._path} is {column.dtype} {list(column.shape)}; wanted numbers, one row "
                    f"for each of the {self._frames} frames"
                )

    def _describe(self, dt_s: float | None) -> Description:
        width = _width(self._action)
        state_width = 0 if self._state is None else _width(self._state)
        vectors = [_vector(name, _width(column)) for name, column in self._vectors.items()]
        if (said := self._said) is not None and self._fits(said, width, state_width):
            return said.with_sensors(list(self._cameras), vectors)
        if dt_s is None:
            raise ValueError(f"{self._path} does not say how long a control step is; give it: --dt-s 0.1")
        self._features = None
        state_names = numbered("state", state_width)
        return Description(
            cameras=list(self._cameras),
            vectors=vectors,
            dt_s=dt_s,
            action_names=numbered("action", width),
            action_units=[UNSTATED] * width,
            action_low=None,
            action_high=None,
            state_names=state_names,
            state_units=[UNSTATED] * state_width,
            feature_names=state_names,
            aspect_ratios={name: pixels.shape[2] / pixels.shape[1] for name, pixels in self._cameras.items()},
        )

    def _fits(self, said: Description, width: int, state_width: int) -> bool:
        features = 0 if self._features is None else _width(self._features)
        named = (len(said.action_names), len(said.state_names), len(said.feature_names))
        return named == (width, state_width, features)

    def _read_description(self) -> Description | None:
        if DESCRIPTION not in self._file.attrs:
            return None
        where = f"the attribute {DESCRIPTION!r} of {self._path}"
        try:
            return Description.from_json(json.loads(str(self._file.attrs[DESCRIPTION])), where)
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(f"{where} is not JSON: {error}; remove it") from error


def _vector(name: str, width: int) -> DescribedVector:
    return DescribedVector(name=name, names=numbered(name, width), units=[UNSTATED] * width)


def _width(column: h5py.Dataset) -> int:
    return int(np.prod(column.shape[1:]))


def _name(column: h5py.Dataset) -> str:
    return str(column.name).lstrip("/")


def write_world_model_hdf5(source: Source, out: Path) -> None:
    """Write all episodes of `source` into the file `out`, which appears when it is complete.

    Raises ValueError when `out` is there already.
    """
    if out.exists():
        raise ValueError(f"{out} is there already; choose another file, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.tmp")
    try:
        with h5py.File(unfinished, "w") as file:
            file.attrs[DESCRIPTION] = json.dumps(source.description.to_json())
            offset = 0
            for episode, rows in enumerate(source.rows()):
                _add_sensors(file, source, episode, rows)
                _add_rows(file, rows, offset)
                offset += len(rows.state)
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)


def _add_sensors(file: h5py.File, source: Source, episode: int, rows: Rows) -> None:
    said = source.description
    for place, camera in enumerate(said.cameras):
        _append(file, f"{PIXELS}.{camera}" if place else PIXELS, np.stack(list(source.frames(episode, camera))))
    for place, vector in enumerate(said.vectors):
        _append(file, f"{PROPRIO}.{vector.name}" if place else PROPRIO, rows.vectors[vector.name])


def _add_rows(file: h5py.File, rows: Rows, offset: int) -> None:
    frames = len(rows.state)
    no_action = np.full((1, rows.actions.shape[1]), np.nan, np.float32)
    _append(file, ACTION, np.concatenate([rows.actions, no_action]))
    _append(file, STATES[0], rows.state)
    _append(file, FEATURES, rows.features)
    _append(file, "step_idx", np.arange(frames))
    _append(file, LENGTH, np.array([frames], np.int32))
    _append(file, OFFSET, np.array([offset], np.int64))


def _append(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    if name not in file:
        width = values.shape[1:]
        chunks = (1, *width) if len(width) == 3 else True
        file.create_dataset(name, (0, *width), values.dtype, maxshape=(None, *width), chunks=chunks)
    column = file[name]
    assert isinstance(column, h5py.Dataset)
    column.resize(len(column) + len(values), axis=0)
    column[len(column) - len(values) :] = values
