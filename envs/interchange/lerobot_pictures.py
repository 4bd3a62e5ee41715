"""The pictures of one camera of a LeRobotDataset v3: in video files, or as image files inside the data files."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from envs.interchange.lerobot_layout import EpisodeEntry
from envs.interchange.lerobot_rows import RowCursor
from envs.interchange.source import Frame
from envs.interchange.video import LARGEST_SIDE_PX, VideoReader


class Videos:
    """One camera's pictures in video files."""

    def __init__(self, camera: str, fps: float) -> None:
        self._camera, self._reader = camera, VideoReader(fps)

    def frames(self, entry: EpisodeEntry) -> Iterator[Frame]:
        """The pictures of an episode; ask for episodes in ascending order. Raises ValueError."""
        clip = entry.clips[self._camera]
        return self._reader.clip(clip.path, clip.start_s, entry.frames)


class ParquetPictures:
    """One camera's pictures as image files inside the data files."""

    def __init__(self, camera: str, episodes: list[EpisodeEntry]) -> None:
        self._camera, self._episodes = camera, iter(episodes)
        self._cursor = RowCursor(["episode_index", camera], batch_rows=64)

    def frames(self, entry: EpisodeEntry) -> Iterator[Frame]:
        """The pictures of an episode; ask for episodes in ascending order. Raises ValueError."""
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
