"""From untrusted observations to latents. A frame that was seen before is neither decoded nor encoded again."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from server import schemas
from server.engine.images import check_images, decode_image
from server.engine.observations import check_sensors, content_key, images_of, to_observation
from server.settings import Settings
from server.validation import pointer_to
from worldmodel.checkpoint import Checkpoint
from worldmodel.observation import Observation, SensorSpec


@dataclass(frozen=True)
class Frame:
    """An accepted observation: its latents when they are known, else what the model makes them of."""

    key: bytes
    observation: Observation | None = None
    latents: Tensor | None = None


class FrameReader:
    """The frames of one model, by what its sensors gave. Least recently used ones are forgotten first."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
        self._model = checkpoint.world_model
        self.sensors = sensors_of(checkpoint)
        self._dt_s = checkpoint.manifest.action.dt_s
        self._settings = settings
        self._latents: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = threading.Lock()  # decoder threads look up, the torch thread fills

    def open(self, observations: Mapping[str, schemas.Observation]) -> tuple[Frame, ...]:
        """All of one request, by their pointers: for a decoder thread. Raises ServiceError that names the field."""
        for at, each in observations.items():
            check_sensors(each, self.sensors, at, self._dt_s)
        opened = [images_of(each, self.sensors, at) for at, each in observations.items()]
        check_images({pointer: image for images in opened for pointer, image in images.items()}, self._settings)
        return tuple(self._frame(each, at) for at, each in observations.items())

    def _frame(self, given: schemas.Observation, pointer: str) -> Frame:
        key = content_key(given, self.sensors)
        if (known := self._recall(key)) is not None:
            return Frame(key, latents=known)
        pixels = {
            name: decode_image(image.encoded, image.format, pointer + pointer_to("images", name), self._settings)
            for name, image in given.images.items()
        }
        return Frame(key, to_observation(given, self.sensors, pixels))

    def latents(self, frame: Frame) -> Tensor:
        """[n d]. For the torch thread. One by one, so that a frame's latents never depend on what it came with."""
        known = frame.latents if frame.latents is not None else self._recall(frame.key)
        if known is not None:
            return known
        assert frame.observation is not None  # a frame was opened with one or the other
        (pixels,) = frame.observation.to(self._model.device).values.values()
        latents = self._model.encode(pixels)[0]
        with self._lock:
            self._latents[frame.key] = latents
            if len(self._latents) > self._settings.latent_cache_frames:
                self._latents.popitem(last=False)
        return latents

    def _recall(self, key: bytes) -> Tensor | None:
        with self._lock:
            if key in self._latents:
                self._latents.move_to_end(key)
            return self._latents.get(key)


def sensors_of(checkpoint: Checkpoint) -> tuple[SensorSpec, ...]:
    """The one camera of a manifest of format 1."""
    seen = checkpoint.manifest.observation
    resize = "area" if seen.resize == "area" else "bilinear"
    return (SensorSpec(name=seen.camera, kind="camera", shape=(seen.height_px, seen.width_px, 3), resize=resize),)
