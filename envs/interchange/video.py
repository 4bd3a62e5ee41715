"""Video files read and written frame after frame, never sought in: with PyAV, FFmpeg's libraries."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from envs.interchange.source import Frame

TOLERANCE = 0.1
"""Largest error of a frame's time, in frame intervals."""
LARGEST_SIDE_PX = 8192
# H.264 with a key frame at every second picture: readers that jump to random frames, as policies' trainers do, decode
# at most two. At quality 10 what is lost is mostly chroma's half resolution: 32 dB or more on simulated 64 px pictures.
_REENCODE = "write it anew with ffmpeg and -c:v libx264"
CODEC, PIXEL_FORMAT, OPTIONS = "libx264", "yuv420p", {"crf": "10", "g": "2"}


class VideoReader:
    """Clips of video files, decoded forward: ask for them in the order in which they lie."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._path: Path | None = None
        self._container: Any = None
        self._decoded: Iterator[VideoFrame] = iter(())
        self._next: VideoFrame | None = None

    def clip(self, path: Path, start_s: float, frames: int) -> Iterator[Frame]:
        """`frames` pictures from `start_s` on, one every 1/fps s; what lies before is decoded and left out.

        Raises ValueError when they are not there, not at those times, or cannot be decoded.
        """
        if path != self._path:
            self._open(path)
        for index in range(frames):
            wanted_s = start_s + index / self._fps
            yield np.asarray(self._frame_at(wanted_s, may_skip=index == 0).to_ndarray(format="rgb24"), np.uint8)
            self._next = None

    def close(self) -> None:
        if self._container is not None:
            self._container.close()

    def _open(self, path: Path) -> None:
        self.close()
        self._path, self._next = path, None
        try:
            self._container = av.open(str(path), metadata_errors="replace")
            stream = self._container.streams.video[0]
            if stream.codec_context is None:
                raise ValueError(f"the pictures of {path} are in a code that this PyAV cannot decode; {_REENCODE}")
            stream.thread_type = "AUTO"
            width, height = stream.width, stream.height
            self._decoded = self._container.decode(stream)
        except (FFmpegError, IndexError) as error:
            raise ValueError(f"{path} is not a readable video: {error}") from error
        if max(width, height) > LARGEST_SIDE_PX:
            raise ValueError(f"{path} is {width} x {height} px; wanted at most {LARGEST_SIDE_PX} a side")

    def _frame_at(self, wanted_s: float, *, may_skip: bool) -> VideoFrame:
        slack_s = TOLERANCE / self._fps
        while True:
            frame = self._advance(wanted_s)
            time_s = frame.time
            if time_s is None:
                raise ValueError(f"{self._path} has frames without a time; write the video again with one for each")
            if abs(time_s - wanted_s) <= slack_s:
                return frame
            if time_s > wanted_s or not may_skip:
                raise ValueError(
                    f"{self._path} has a frame at {time_s:.4f} s where {self._fps:g} frames a second want one at "
                    f"{wanted_s:.4f} s; only a constant frame rate, and episodes one after another, can be read"
                )
            self._next = None

    def _advance(self, wanted_s: float) -> VideoFrame:
        if self._next is None:
            try:
                self._next = next(self._decoded)
            except StopIteration as error:
                raise ValueError(f"{self._path} ends before the frame at {wanted_s:.4f} s; fetch it again") from error
            except FFmpegError as error:
                codec = self._container.streams.video[0].codec_context.name
                raise ValueError(
                    f"{self._path}: the frame at {wanted_s:.4f} s ({codec}) cannot be decoded: {error}; fetch the file "
                    f"again, or {_REENCODE}"
                ) from error
        return self._next


class VideoWriter:
    """One video file of frames at a constant rate; complete at the end of a `with` block."""

    def __init__(self, path: Path, fps: int, width_px: int, height_px: int) -> None:
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream(CODEC, rate=Fraction(fps), options=OPTIONS)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width_px, height_px, PIXEL_FORMAT

    def add(self, frame: Frame) -> None:
        """Append one RGB picture."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self._container.mux(self._stream.encode(picture))

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())
        self._container.close()
