"""From untrusted images to latents. A frame that was seen before is neither decoded nor encoded again."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from server import schemas
from server.engine.images import check_images, decode_image
from server.errors import Code, refuse
from server.settings import Settings
from server.validation import shorten
from worldmodel.checkpoint import Checkpoint
from worldmodel.data.preprocessing import fit_image


@dataclass(frozen=True)
class Frame:
    """An accepted image: its latents when they are known, else its pixels at the model's size."""

    key: bytes
    pixels: np.ndarray | None = None
    latents: Tensor | None = None


class FrameReader:
    """The frames of one model, by the content of their files. Least recently used ones are forgotten first."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
        self._model = checkpoint.world_model
        self._spec = checkpoint.manifest.observation
        self._settings = settings
        self._latents: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = threading.Lock()  # decoder threads look up, the torch thread fills

    def open(self, observations: Mapping[str, schemas.Observation]) -> tuple[Frame, ...]:
        """All of one request, by their pointers: for a decoder thread. Raises ServiceError that names the field."""
        camera = self._spec.camera
        images = {f"{at}/images/{camera}": self._image(each, at) for at, each in observations.items()}
        check_images(images, self._settings)
        return tuple(self._frame(image, pointer) for pointer, image in images.items())

    def _image(self, observation: schemas.Observation, pointer: str) -> schemas.Image:
        camera = self._spec.camera
        if list(observation.images) != [camera]:
            given = ", ".join(repr(shorten(name)) for name in list(observation.images)[:4]) or "none"
            reason = f"given cameras {given}; wanted exactly '{camera}'"
            raise refuse(Code.VALIDATION_FAILED, f"{pointer}/images", reason)
        return observation.images[camera]

    def _frame(self, image: schemas.Image, pointer: str) -> Frame:
        key = hashlib.blake2b(image.encoded, digest_size=16, person=image.format.encode()).digest()
        if (known := self._recall(key)) is not None:
            return Frame(key, latents=known)
        pixels = decode_image(image.encoded, image.format, pointer, self._settings)
        return Frame(key, fit_image(pixels, self._spec))

    def latents(self, frame: Frame) -> Tensor:
        """[n d]. For the torch thread. One by one, so that a frame's latents never depend on what it came with."""
        known = frame.latents if frame.latents is not None else self._recall(frame.key)
        if known is not None:
            return known
        assert frame.pixels is not None  # a frame was opened with one or the other
        latents = self._model.encode(torch.tensor(frame.pixels, device=self._model.device)[None])[0]
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
