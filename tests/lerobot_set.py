"""Writes small LeRobotDataset v3 sets, from the format's description alone: nothing of envs.interchange is used.

What LeRobot's recorder writes, in its names: many episodes to a file, videos concatenated, one row an episode in
meta/episodes with its files and its times in the video.
"""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CAMERA, WRIST = "observation.images.top", "observation.images.wrist"


@dataclass
class Recorded:
    """One episode as a recorder has it: as many actions as frames."""

    frames: np.ndarray
    actions: np.ndarray
    state: np.ndarray
    task: str = "push the dot"
    wrist: np.ndarray | None = None
    """What a second camera saw, in pictures of another size."""

    @property
    def views(self) -> dict[str, np.ndarray]:
        """Pictures by the camera's key."""
        return {CAMERA: self.frames} if self.wrist is None else {CAMERA: self.frames, WRIST: self.wrist}


@dataclass
class LeRobotSet:
    """What is written; tests change a part of it to break the set."""

    episodes: list[Recorded]
    fps: int = 10
    per_file: int = 2
    video: bool = True
    codec: str = "libsvtav1"
    action_names: Any = field(default_factory=lambda: {"motors": ["x", "y"]})
    info: dict[str, Any] = field(default_factory=dict)
    """Entries of info.json in the place of the right ones."""
    entries: dict[str, Any] = field(default_factory=dict)
    """Columns of meta/episodes: a function of the episode's number each."""
    rows: dict[str, Any] = field(default_factory=dict)
    """Columns of the data: a function of (the episode's number, the right values) each."""

    def write(self, root: Path) -> Path:
        """Returns `root`."""
        index, entries = 0, []
        for file, first in enumerate(range(0, len(self.episodes), self.per_file)):
            numbers = range(first, min(first + self.per_file, len(self.episodes)))
            tables, start_s = [], 0.0
            for number in numbers:
                episode = self.episodes[number]
                tables.append(self._rows(number, episode, index))
                end_s = start_s + len(episode.frames) / self.fps
                entries.append(self._entry(number, episode, file, index, start_s, end_s))
                index, start_s = index + len(episode.frames), end_s
            path = root / f"data/chunk-000/file-{file:03d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.concat_tables(tables), path)
            for camera in self.episodes[0].views if self.video else ():
                views = [self.episodes[n].views[camera] for n in numbers]
                self._encode(root / f"videos/{camera}/chunk-000/file-{file:03d}.mp4", views)
        path = root / "meta/episodes/chunk-000/file-000.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(entries), path)
        pq.write_table(pa.table({"task_index": [0], "task": [self.episodes[0].task]}), root / "meta/tasks.parquet")
        (root / "meta/info.json").write_text(json.dumps({**self._info(index), **self.info}))
        return root

    def _rows(self, number: int, episode: Recorded, first: int) -> pa.Table:
        count = len(episode.frames)
        columns: dict[str, Any] = {
            "action": list(episode.actions.astype(np.float32)),
            "observation.state": list(episode.state.astype(np.float32)),
            "timestamp": (np.arange(count) / self.fps).astype(np.float32),
            "frame_index": np.arange(count),
            "episode_index": np.full(count, number),
            "index": np.arange(first, first + count),
            "task_index": np.zeros(count, np.int64),
        }
        if not self.video:
            for camera, frames in episode.views.items():
                columns[camera] = [{"bytes": png(frame), "path": None} for frame in frames]
        for name, change in self.rows.items():
            columns[name] = change(number, columns[name])
        return pa.table(columns)

    def _entry(
        self, number: int, episode: Recorded, file: int, first: int, start_s: float, end_s: float
    ) -> dict[str, Any]:
        videos = {"chunk_index": 0, "file_index": file, "from_timestamp": start_s, "to_timestamp": end_s}
        right = {
            "episode_index": number,
            "tasks": [episode.task],
            "length": len(episode.frames),
            "data/chunk_index": 0,
            "data/file_index": file,
            "dataset_from_index": first,
            "dataset_to_index": first + len(episode.frames),
            **{
                f"videos/{camera}/{name}": value
                for camera in (episode.views if self.video else ())
                for name, value in videos.items()
            },
        }
        return {**right, **{name: value(number) for name, value in self.entries.items()}}

    def _encode(self, path: Path, views: list[np.ndarray]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = views[0].shape[1:3]
        with av.open(str(path), "w") as container:
            stream = container.add_stream(self.codec, rate=self.fps, options={"g": "2", "crf": "20"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            if self.codec == "mpeg4":  # which has no `crf`
                stream.bit_rate = 4_000_000
            for frames in views:
                for frame in frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())

    def _info(self, frames: int) -> dict[str, Any]:
        counters = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"}
        state_width = self.episodes[0].state.shape[1]
        return {
            "codebase_version": "v3.0",
            "robot_type": "dot",
            "total_episodes": len(self.episodes),
            "total_frames": frames,
            "total_tasks": 1,
            "chunks_size": 1000,
            "fps": self.fps,
            "splits": {"train": f"0:{len(self.episodes)}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
            "features": {
                "action": {
                    "dtype": "float32",
                    "shape": [self.episodes[0].actions.shape[1]],
                    "names": self.action_names,
                },
                "observation.state": {"dtype": "float32", "shape": [state_width], "names": None},
                **{
                    camera: {
                        "dtype": "video" if self.video else "image",
                        "shape": list(frames.shape[1:]),
                        "names": ["height", "width", "channels"],
                    }
                    for camera, frames in self.episodes[0].views.items()
                },
                **{name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in counters.items()},
            },
        }


def recorded_dot(seed: int, steps: int = 30, image_px: int = 96, wrist: bool = False) -> Recorded:
    """A bright square that goes where it is pushed; the last action leads nowhere, as a recorder has it.

    A camera of the wrist sees the square mirrored through the centre, in pictures 32 px larger.
    """
    rng = np.random.default_rng(seed)
    pushes = np.repeat(rng.uniform(-1, 1, (steps // 5 + 1, 2)), 5, axis=0)[:steps]
    places = [rng.uniform(0.2, 0.8, 2)]
    for push in pushes:
        places.append(np.clip(places[-1] + 0.06 * push, 0.1, 0.9))
    state = np.stack(places)
    last = pushes[-1:] if steps else np.zeros((1, 2))
    actions = np.concatenate([pushes, last]) * 2 + (0, 2)
    frames = np.stack([_square(place, image_px) for place in state])
    close = np.stack([_square(1 - place, image_px + 32) for place in state]) if wrist else None
    return Recorded(frames, actions, state, wrist=close)


def _square(place: np.ndarray, image_px: int) -> np.ndarray:
    grid = (np.arange(image_px) + 0.5) / image_px
    inside = (np.abs(grid[:, None] - place[1]) < 0.1) & (np.abs(grid[None, :] - place[0]) < 0.1)
    return np.where(inside[..., None], [230, 80, 30], [40, 60, 90]).astype(np.uint8)


def png(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="png")
    return file.getvalue()
