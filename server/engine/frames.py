"""Turns untrusted observations into latents. A known frame is neither decoded nor encoded again."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from server import schemas
from server.engine.images import CheckedImage, check_images, decode_image
from server.engine.input_warnings import aspect_warning, novelty_warnings
from server.engine.observations import check_sensors, content_key, images_of, to_observation
from server.settings import Settings
from server.validation import pointer_to
from worldmodel import Checkpoint, Latents, ObservationBatch


@dataclass(frozen=True)
class EncodedFrame:
    """All that the model makes of one observation alone."""

    latents: Latents
    """[n d]"""
    novelty: Mapping[str, float]
    """By sensor; empty for a model whose novelty was not calibrated."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A checked observation: its encoding if that is known, else the readings to encode."""

    key: bytes
    pointer: str
    """Its place in the request."""
    observation: ObservationBatch | None = None
    known: EncodedFrame | None = None
    stretched: tuple[schemas.InputWarning, ...] = ()
    """Warnings of pictures whose aspect ratio the model does not know."""


class FrameReader:
    """Latents of one model by the readings of all sensors, with the least recently used forgotten first."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
        action = checkpoint.manifest.action
        self._checkpoint = checkpoint
        self._sensors = checkpoint.manifest.sensors
        self._dt_s = None if action is None else action.dt_s
        self._settings = settings
        self._encoded: OrderedDict[bytes, EncodedFrame] = OrderedDict()
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
        key, stretched = content_key(given, self._sensors), self._stretched(given, pointer, checked)
        if (known := self._recall(key)) is not None:
            return Frame(key=key, pointer=pointer, known=known, stretched=stretched)
        pixels = {name: decode_image(checked[pointer + pointer_to("images", name)]) for name in given.images}
        observation = to_observation(given, self._sensors, pixels)
        return Frame(key=key, pointer=pointer, observation=observation, stretched=stretched)

    def _stretched(
        self, given: schemas.Observation, pointer: str, checked: Mapping[str, CheckedImage]
    ) -> tuple[schemas.InputWarning, ...]:
        cameras = [spec for spec in self._sensors if spec.name in given.images]
        found = (aspect_warning(spec, checked[pointer + pointer_to("images", spec.name)]) for spec in cameras)
        return tuple(warning for warning in found if warning is not None)

    def clip(self, frames: Sequence[Frame]) -> Latents:
        """Latents of one robot's frames, [1 t n d]. Runs on the torch thread."""
        each = [self.latents(frame) for frame in frames]
        states = [latents.state for latents in each if latents.state is not None]
        return Latents(
            torch.stack([latents.tokens for latents in each])[None], torch.stack(states)[None] if states else None
        )

    def latents(self, frame: Frame) -> Latents:
        """Latents of one frame, [n d]. Runs on the torch thread."""
        return self._encode(frame).latents

    def novelty(self, frame: Frame) -> float | None:
        """The largest novelty of a frame's readings; None without a calibration. Runs on the torch thread."""
        return max(self._encode(frame).novelty.values(), default=None)

    def warnings(self, frame: Frame) -> tuple[schemas.InputWarning, ...]:
        """Warnings about the readings of a frame. Runs on the torch thread."""
        manifest, novelty = self._checkpoint.manifest, self._encode(frame).novelty
        if manifest.novelty is None:
            return frame.stretched
        sensors = {spec.name: spec for spec in self._sensors}
        return (*frame.stretched, *novelty_warnings(novelty, sensors, manifest.novelty, frame.pointer))

    def _encode(self, frame: Frame) -> EncodedFrame:
        """Encode one frame alone: in a batch, latents would round differently."""
        known = frame.known if frame.known is not None else self._recall(frame.key)
        if known is not None:
            return known
        assert frame.observation is not None  # a frame has either an encoding or readings
        encoded = self._encoded_anew(frame.observation.to(self._checkpoint.device))
        with self._lock:
            self._encoded[frame.key] = encoded
            if len(self._encoded) > self._settings.latent_cache_frames:
                self._encoded.popitem(last=False)
        return encoded

    def _encoded_anew(self, observation: ObservationBatch) -> EncodedFrame:
        checkpoint = self._checkpoint
        assert checkpoint.encoder is not None  # a model without one is never served
        encoded = checkpoint.encoder.encode(observation)
        latents = Latents(encoded.tokens[0], None if encoded.state is None else encoded.state[0])
        novelty = {} if checkpoint.novelty is None else checkpoint.novelty.of(observation)
        return EncodedFrame(latents, {name: float(value) for name, value in novelty.items()})

    def _recall(self, key: bytes) -> EncodedFrame | None:
        with self._lock:
            if key in self._encoded:
                self._encoded.move_to_end(key)
            return self._encoded.get(key)
