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

from tests.episodes import dot_episode

CAMERA = "observation.images.top"


@dataclass
class Recorded:
    """One episode as a recorder has it: as many actions as frames."""

    frames: np.ndarray
    actions: np.ndarray
    state: np.ndarray
    task: str = "push the dot"


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
            if self.video:
                self._encode(
                    root / f"videos/{CAMERA}/chunk-000/file-{file:03d}.mp4", [self.episodes[n] for n in numbers]
                )
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
            columns[CAMERA] = [{"bytes": png(frame), "path": None} for frame in episode.frames]
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
            **({f"videos/{CAMERA}/{name}": value for name, value in videos.items()} if self.video else {}),
        }
        return {**right, **{name: value(number) for name, value in self.entries.items()}}

    def _encode(self, path: Path, episodes: list[Recorded]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = episodes[0].frames.shape[1:3]
        with av.open(str(path), "w") as container:
            stream = container.add_stream(self.codec, rate=self.fps, options={"g": "2", "crf": "20"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            if self.codec == "mpeg4":  # which has no `crf`
                stream.bit_rate = 4_000_000
            for episode in episodes:
                for frame in episode.frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())

    def _info(self, frames: int) -> dict[str, Any]:
        height, width = self.episodes[0].frames.shape[1:3]
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
                CAMERA: {
                    "dtype": "video" if self.video else "image",
                    "shape": [height, width, 3],
                    "names": ["height", "width", "channels"],
                },
                **{name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in counters.items()},
            },
        }


def recorded_dot(seed: int, steps: int = 30, image_px: int = 96) -> Recorded:
    """A dot that goes where it is pushed; the last action leads nowhere, as a recorder has it."""
    dot = dot_episode(seed, steps, image_px)
    last = dot.actions[-1:] if steps else np.zeros((1, 2))
    return Recorded(dot.frames, np.concatenate([dot.actions, last]), dot.state)


def png(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="png")
    return file.getvalue()
