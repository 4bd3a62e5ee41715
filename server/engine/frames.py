"""Turns untrusted observations into latents. A known frame is neither decoded nor encoded again."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from server import schemas
from server.engine.images import CheckedImage, check_images, decode_image
from server.engine.observations import check_sensors, content_key, images_of, to_observation
from server.settings import Settings
from server.validation import pointer_to
from worldmodel import Checkpoint, Latents, ObservationBatch


@dataclass(frozen=True)
class Frame:
    """A checked observation: its latents if they are known, else the readings to encode."""

    key: bytes
    observation: ObservationBatch | None = None
    latents: Latents | None = None
    """[n d]"""


class FrameReader:
    """Latents of one model by the readings of all sensors, with the least recently used forgotten first."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
        action = checkpoint.manifest.action
        self._checkpoint = checkpoint
        self._sensors = checkpoint.manifest.sensors
        self._dt_s = None if action is None else action.dt_s
        self._settings = settings
        self._latents: OrderedDict[bytes, Latents] = OrderedDict()
        self._lock = threading.Lock()  # decoder threads read it, the torch thread writes it

    def open(self, observations: Mapping[str, schemas.Observation]) -> tuple[Frame, ...]:
        """Frames of one request, by the pointers of its observations. Runs on a decoder thread.

        All frames pass every check before the first image is decoded. Raises ServiceError that names the sensor.
        """
        for pointer, given in observations.items():
            check_sensors(given, self._sensors, pointer, self._dt_s)
        opened = [images_of(given, self._sensors, pointer) for pointer, given in observations.items()]
        checked = check_images({at: image for images in opened for at, image in images.items()}, self._settings)
        return tuple(self._frame(given, pointer, checked) for pointer, given in observations.items())

    def _frame(self, given: schemas.Observation, pointer: str, checked: Mapping[str, CheckedImage]) -> Frame:
        key = content_key(given, self._sensors)
        if (known := self._recall(key)) is not None:
            return Frame(key, latents=known)
        pixels = {name: decode_image(checked[pointer + pointer_to("images", name)]) for name in given.images}
        return Frame(key, to_observation(given, self._sensors, pixels))

    def clip(self, frames: Sequence[Frame]) -> Latents:
        """Latents of one robot's frames, [1 t n d]. Runs on the torch thread."""
        each = [self.latents(frame) for frame in frames]
        states = [latents.state for latents in each if latents.state is not None]
        return Latents(
            torch.stack([latents.tokens for latents in each])[None], torch.stack(states)[None] if states else None
        )

    def latents(self, frame: Frame) -> Latents:
        """Latents of one frame, [n d]. Runs on the torch thread, frame by frame: a batch would change the rounding."""
        known = frame.latents if frame.latents is not None else self._recall(frame.key)
        if known is not None:
            return known
        assert frame.observation is not None  # a frame has either latents or readings
        assert self._checkpoint.encoder is not None  # a model without an encoder is never served
        encoded = self._checkpoint.encoder.encode(frame.observation.to(self._checkpoint.device))
        latents = Latents(encoded.tokens[0], None if encoded.state is None else encoded.state[0])
        with self._lock:
            self._latents[frame.key] = latents
            if len(self._latents) > self._settings.latent_cache_frames:
                self._latents.popitem(last=False)
        return latents

    def _recall(self, key: bytes) -> Latents | None:
        with self._lock:
            if key in self._latents:
                self._latents.move_to_end(key)
            return self._latents.get(key)
